import { execFileSync } from "node:child_process";
import { randomUUID } from "node:crypto";
import { existsSync, statSync } from "node:fs";
import { basename, dirname, join, resolve } from "node:path";
import { parseSource, sourceText } from "@drover/producer/expand/source-name";
import { messageOf, SettingsError, TransferError, UnavailableError } from "@drover/shared/errors";
import { shortHash } from "@drover/shared/ids";
import { hostOf } from "@drover/shared/job";
import { makeDirectory } from "@drover/shared/make-directory";
import type { BriefError, Outcome } from "@drover/shared/outcome";
import { safeRelative } from "@drover/shared/paths";
import { hostBreakersOf } from "@drover/shared/protocol/host-breakers";
import { pruneRuns } from "@drover/shared/protocol/run-retention";
import { redactText, redactUrl } from "@drover/shared/redact";
import { findRedisServer } from "@drover/shared/redis/embedded/embedded";
import type { RunSecrets, RunSpec } from "@drover/shared/run";
import { openTree } from "@drover/shared/storage/registry";
import { isS3 } from "@drover/shared/storage/s3/name";
import { pino } from "pino";
import { carryRun } from "../carry-run.js";
import { openEngine } from "../engine.js";
import type { Settings } from "../settings/settings.js";
import { parseDecimal } from "../settings/units.js";

/** Exit codes of `drover fetch`. */
export const FETCH_EXIT = { ok: 0, missing: 42, usage: 64, failed: 70, open: 75, interrupted: 130 } as const;

export interface FetchFlags {
  sourceUrl?: string;
  destination?: string;
  lockDir?: string;
  maxRetries?: string;
  timeout?: string;
  circuitTtl?: string;
  checksum?: string;
}

type Level = "info" | "warn" | "error";

/** JSON lines, and nothing else: information on standard output, warnings and errors on standard error. */
export class FetchLog {
  attempt = 1;
  readonly #out: pino.Logger;
  readonly #err: pino.Logger;

  constructor(version: string) {
    const options: pino.LoggerOptions = {
      messageKey: "message",
      base: {
        script: process.env.SCRIPT_NAME || "drover-fetch",
        run_id: process.env.RUN_ID || randomUUID(),
        pid: process.pid,
        version: process.env.SCRIPT_VERSION || version,
      },
      timestamp: () => `,"ts":"${new Date().toISOString().replace("Z", "000Z")}"`,
      formatters: { level: (label) => ({ level: label }) },
    };
    this.#out = pino(options, pino.destination({ fd: 1, sync: true }));
    this.#err = pino(options, pino.destination({ fd: 2, sync: true }));
  }

  say(level: Level, message: string, fields: Record<string, unknown> = {}): void {
    const logger = level === "info" ? this.#out : this.#err;
    logger[level]({ attempt: String(this.attempt), ...fields }, redactText(message));
  }
}

/** REPO_ROOT: the environment's, else the top of the git checkout, else the current directory. */
function repoRoot(): string {
  if (process.env.REPO_ROOT) return resolve(process.env.REPO_ROOT);
  try {
    const top = execFileSync("git", ["rev-parse", "--show-toplevel"], {
      stdio: ["ignore", "pipe", "ignore"],
    });
    return top.toString().trim();
  } catch {
    return process.cwd(); // no git, or no checkout
  }
}

function numberFlag(
  flag: string,
  text: string | undefined,
  fallback: number,
  least: number,
  whole: boolean,
): number {
  if (text === undefined) return fallback;
  const value = parseDecimal(text);
  if (value >= least && value <= 86_400 && (!whole || Number.isInteger(value))) return value;
  throw new SettingsError(
    `${flag} must be a ${whole ? "whole " : ""}number of at least ${least}, not ${JSON.stringify(text)}`,
  );
}

interface FetchPlan {
  spec: RunSpec;
  secrets: RunSecrets;
  lockDir: string | undefined;
}

/** @throws SettingsError for whatever cannot be right. */
function planFetch(flags: FetchFlags): FetchPlan {
  const root = flags.sourceUrl === undefined || flags.destination === undefined ? repoRoot() : "";
  const source = parseSource(
    flags.sourceUrl ?? `file://${encodeURI(join(root, "sample.csv"))}`,
    process.cwd(),
  );
  if (source.is === "s3")
    throw new SettingsError(
      `--source-url ${sourceText(source)}: fetch takes http(s) URLs and files; use drover sync`,
    );
  const destination = resolve(flags.destination ?? join(root, "reports/resilient-sync/sample.csv"));
  if (flags.destination !== undefined && isS3(flags.destination))
    throw new SettingsError("--destination must be a local file: use drover sync for S3");
  if (flags.destination === "") throw new SettingsError("--destination must be a file's path");
  if (flags.lockDir === "") throw new SettingsError("--lock-dir must be a directory's path");
  if (flags.destination?.endsWith("/") || (existsSync(destination) && statSync(destination).isDirectory())) {
    throw new SettingsError(`--destination ${destination} is a directory: name the file`);
  }
  if (source.is === "path" && existsSync(source.path) && statSync(source.path).isDirectory()) {
    throw new SettingsError(`--source-url ${source.path} is a directory: drover sync copies directories`);
  }
  try {
    safeRelative(basename(destination));
  } catch (error) {
    throw new SettingsError(`--destination: ${messageOf(error)}`);
  }
  const checksum = flags.checksum?.toLowerCase();
  if (checksum !== undefined && !/^[0-9a-f]{64}$/.test(checksum)) {
    throw new SettingsError("--checksum must be a SHA-256: 64 hexadecimal digits");
  }
  const text = sourceText(source);
  const timeoutMs = numberFlag("--timeout", flags.timeout, 30, 0.1, false) * 1000;
  const circuitTtlMs = numberFlag("--circuit-ttl", flags.circuitTtl, 300, 0, false) * 1000;
  const retries = numberFlag("--max-retries", flags.maxRetries, 5, 1, true);
  return {
    lockDir: flags.lockDir === undefined ? undefined : resolve(flags.lockDir),
    secrets: { headers: {}, sources: [text] },
    spec: {
      root: dirname(destination),
      directory: process.cwd(),
      sources: [redactUrl(text)],
      listIsStdin: false,
      patterns: ["*"],
      filters: [],
      backlogHighWater: 1,
      layout: "name",
      checksums: checksum === undefined ? {} : { [redactUrl(text)]: checksum },
      destination: basename(destination),
      retries,
      timeoutMs,
      backoffFactor: 2,
      jitter: "near",
      circuitTtlMs,
      // It opens when the tries of one fetch are spent, not before.
      circuitThreshold: Number.MAX_SAFE_INTEGER,
      breakerWaitMs: 0,
      openWhenSpent: true,
      whenBusy: "skip-same-source",
      maxWorkers: 1,
      resume: true,
      durable: true,
      fleet: false,
      ownFlights: false,
    },
  };
}

/** `drover fetch`: one file, with the exit codes of {@link FETCH_EXIT} and JSON lines on both streams. */
export async function fetchFile(flags: FetchFlags, settings: Settings, log: FetchLog): Promise<number> {
  let plan: FetchPlan;
  try {
    plan = planFetch(flags);
    if (plan.lockDir !== undefined) makeLockDirectory(plan.lockDir);
  } catch (error) {
    log.say("error", messageOf(error));
    return FETCH_EXIT.usage;
  }
  const { redis } = settings;
  if (redis === undefined && findRedisServer() === undefined) {
    log.say("error", "missing required command: redis-server or valkey-server", { command: "redis-server" });
    return FETCH_EXIT.missing;
  }
  // Locks and breakers are shared by those who name the same lock directory: a Redis of its own, or a namespace.
  const namespace =
    redis !== undefined && plan.lockDir !== undefined ? `{drover-${shortHash(plan.lockDir)}}` : undefined;
  try {
    openTree(plan.spec).close(); // a directory that cannot be made is refused before a run begins
    const engine = await openEngine({ redis, "state-dir": plan.lockDir ?? settings["state-dir"] }, namespace);
    try {
      return await fetchWith(engine, plan, log);
    } finally {
      engine.close();
    }
  } catch (error) {
    if (error instanceof TransferError) return sayFailed(error, aboutOf(plan.spec), log);
    log.say("error", messageOf(error));
    const missing = error instanceof UnavailableError || (error as Error).name === "EmbeddedError";
    return missing
      ? FETCH_EXIT.missing
      : error instanceof SettingsError
        ? FETCH_EXIT.usage
        : FETCH_EXIT.failed;
  }
}

function makeLockDirectory(path: string): void {
  try {
    makeDirectory(path);
  } catch (error) {
    throw new SettingsError(`cannot use --lock-dir ${path} (${(error as NodeJS.ErrnoException).code})`);
  }
}

async function fetchWith(
  engine: Awaited<ReturnType<typeof openEngine>>,
  plan: FetchPlan,
  log: FetchLog,
): Promise<number> {
  const { spec, secrets } = plan;
  const about = aboutOf(spec);
  await pruneRuns(engine);
  const id = await engine.ledger.create(spec, secrets);
  const run = await engine.ledger.get(id);
  const breakers = hostBreakersOf(run.spec);
  const interrupt = new AbortController();
  let signals = 0;
  for (const signal of ["SIGINT", "SIGTERM"] as const) {
    process.on(signal, () => {
      if (++signals > 1) process.exit(FETCH_EXIT.interrupted);
      interrupt.abort();
    });
  }
  let outcome: Outcome | undefined;
  let lastError: string | undefined;
  const nothing = () => {};
  const { end } = await carryRun({
    engine,
    run,
    secrets,
    stdin: undefined,
    retry: false,
    breakers,
    live: false,
    stop: interrupt.signal,
    watcher: {
      queued: nothing,
      sealed: nothing,
      receiving: nothing,
      waiting: nothing,
      dropped: nothing,
      started: (_job, attempt) => {
        log.attempt = attempt;
      },
      retrying: (_job, attempt, error, delayMs) => {
        log.attempt = attempt;
        lastError = error.message;
        const seconds = Math.round(delayMs / 100) / 10;
        log.say("warn", `download failed: ${error.message}; trying again in ${seconds} s`, {
          ...about,
          error: error.message,
          error_class: error.class,
          delay_seconds: seconds,
        });
      },
      settled: (settled) => {
        outcome = settled;
      },
      warn: (message) => log.say("warn", message),
    },
  });
  if (end === "stopped") {
    log.say("warn", "interrupted", about);
    return FETCH_EXIT.interrupted;
  }
  return sayOutcome(outcome, lastError, breakers.blockedUntil(hostOf(about.source)), about, log);
}

function sayOutcome(
  outcome: Outcome | undefined,
  lastError: string | undefined,
  blockedUntilMs: number,
  about: Record<string, unknown>,
  log: FetchLog,
): number {
  const checksum = { checksum: outcome?.checksum ?? null };
  switch (outcome?.outcome) {
    case "copied":
      log.say("info", "download successful", {
        ...about,
        ...checksum,
        bytes: outcome.bytes,
        verified_by: outcome.verifiedBy,
      });
      return FETCH_EXIT.ok;
    case "unchanged":
      log.say("info", "destination is up to date", {
        ...about,
        ...checksum,
        verified_by: outcome.verifiedBy,
      });
      return FETCH_EXIT.ok;
    case "locked":
      log.say("warn", "another fetch of this source and destination is running: skipped", about);
      return FETCH_EXIT.ok;
    case "blocked": {
      const seconds = Math.max(Math.ceil((blockedUntilMs - Date.now()) / 1000), 0);
      const fields = { ...about, seconds_until_retry: seconds };
      if (lastError !== undefined) {
        log.say(
          "error",
          `download failed: ${lastError}; circuit breaker open, seconds_until_retry=${seconds}`,
          fields,
        );
        return FETCH_EXIT.failed;
      }
      log.say("error", `circuit breaker open, seconds_until_retry=${seconds}`, fields);
      return FETCH_EXIT.open;
    }
    default:
      return sayFailed(outcome?.error ?? { class: "cancelled", message: "cancelled" }, about, log);
  }
}

function aboutOf(spec: RunSpec): { source: string; destination: string } {
  return { source: spec.sources[0] as string, destination: join(spec.root, spec.destination as string) };
}

function sayFailed(error: BriefError, about: Record<string, unknown>, log: FetchLog): number {
  log.say("error", `download failed: ${error.message}`, {
    ...about,
    error: error.message,
    error_class: error.class,
  });
  return FETCH_EXIT.failed;
}
