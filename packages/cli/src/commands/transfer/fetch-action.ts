import { execFileSync } from "node:child_process";
import { existsSync, statSync } from "node:fs";
import { basename, dirname, join, resolve } from "node:path";
import { SILENT } from "@drover/producer/runs/carry/run-handle";
import { submit } from "@drover/producer/runs/carry/submit";
import { type PlannedRun, planRun } from "@drover/producer/runs/plan/plan";
import { type Engine, openEngine } from "@drover/shared/engine";
import { messageOf, SettingsError, TransferError, UnavailableError } from "@drover/shared/errors";
import { shortHash } from "@drover/shared/ids";
import { makeDirectory } from "@drover/shared/make-directory";
import type { BriefError, Outcome } from "@drover/shared/outcome";
import { safeRelative } from "@drover/shared/paths";
import { findRedisServer } from "@drover/shared/redis/embedded/embedded";
import { hostOf, openTree, parseLocation, parseRoot, storageOf } from "@drover/shared/storage/registry";
import { startLocalPool } from "@drover/worker/runtime/local-worker-pool";
import type { FetchLog } from "../../display/fetch-log.js";
import { FETCH_EXIT } from "../../exit.js";
import { exitWithoutRedis, untilStopped } from "../../redis-watch.js";
import { type HeaderFlags, headersOf, netrcOf } from "../../settings/run-request.js";
import type { Resolved, SettingName } from "../../settings/settings.js";
import { parseDecimal } from "../../settings/units.js";
import { onStopSignal } from "../../signals.js";

export interface FetchFlags extends HeaderFlags {
  sourceUrl?: string;
  destination?: string;
  lockDir?: string;
  maxRetries?: string;
  checksum?: string;
}

/** REPO_ROOT of the environment, else the top of the git checkout, else the current directory. */
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

/** What counts for fetch where neither a flag nor environment and settings files say anything; times in seconds. */
const DEFAULTS = { retries: 5, timeout: 30, circuitTtl: 300, backoffFactor: 2 };

/** The value of a setting, unless it is only the default that it has for other commands. */
function settingOf<Name extends SettingName, T>(
  { values, origins }: Resolved,
  name: Name,
  fallback: T,
): Resolved["values"][Name] | T {
  return origins[name] === "default" ? fallback : values[name];
}

function triesOf(text: string | undefined): number | undefined {
  if (text === undefined) return undefined;
  const value = parseDecimal(text);
  if (value >= 1 && value <= 86_400 && Number.isInteger(value)) return value;
  throw new SettingsError(`--max-retries must be a whole number of at least 1, not ${JSON.stringify(text)}`);
}

/** @throws SettingsError for an invalid flag. */
function requestOf(flags: FetchFlags, resolved: Resolved, stateDir: string): Parameters<typeof planRun>[0] {
  const root = flags.sourceUrl === undefined || flags.destination === undefined ? repoRoot() : "";
  const headers = headersOf(flags);
  const netrc = netrcOf(flags, headers);
  const sourceUrl = flags.sourceUrl && netrc ? netrc.addTo(flags.sourceUrl) : flags.sourceUrl;
  const { storage, text } = parseLocation(sourceUrl ?? `file://${encodeURI(join(root, "sample.csv"))}`, {
    directory: process.cwd(),
  });
  if (storage.settings !== undefined)
    throw new SettingsError(`--source-url ${text}: fetch takes http(s) URLs and files; use drover sync`);
  if (storageOf(flags.destination ?? "").settings !== undefined)
    throw new SettingsError("--destination must be a local file: use drover sync for S3");
  if (flags.destination === "") throw new SettingsError("--destination must be a file's path");
  const destination = parseRoot(
    flags.destination ?? join(root, "reports/resilient-sync/sample.csv"),
    process.cwd(),
  );
  if (flags.lockDir === "") throw new SettingsError("--lock-dir must be a directory's path");
  if (flags.destination?.endsWith("/") || (existsSync(destination) && statSync(destination).isDirectory())) {
    throw new SettingsError(`--destination ${destination} is a directory: name the file`);
  }
  if (storage.isTree(text))
    throw new SettingsError(`--source-url ${text} is a directory: drover sync copies directories`);
  try {
    safeRelative(basename(destination));
  } catch (error) {
    throw new SettingsError(`--destination: ${messageOf(error)}`);
  }
  const checksum = flags.checksum?.toLowerCase();
  if (checksum !== undefined && !/^[0-9a-f]{64}$/.test(checksum)) {
    throw new SettingsError("--checksum must be a SHA-256: 64 hexadecimal digits");
  }
  const { values } = resolved;
  return {
    kind: "fetch",
    directory: process.cwd(),
    stateDir,
    keepOutcomes: { most: values["keep-outcomes"], ms: values["keep-outcomes-for"] * 1000 },
    selection: {
      sources: [text],
      checksums: checksum === undefined ? [] : [{ source: text, sha256: checksum }],
      headers,
    },
    destination: {
      root: dirname(destination),
      name: basename(destination),
      durability: values.durability,
    },
    terms: {
      retries: triesOf(flags.maxRetries) ?? settingOf(resolved, "retries", DEFAULTS.retries),
      timeoutMs: settingOf(resolved, "timeout", DEFAULTS.timeout) * 1000,
      backoffFactor: settingOf(resolved, "backoff-factor", DEFAULTS.backoffFactor),
      jitter: "near",
      maxFileSizeBytes: values["max-file-size"],
      bytesPerSecond: values.bwlimit,
      resume: values.resume,
      ...(values["user-agent"] === undefined ? {} : { userAgent: values["user-agent"] }),
      maxWorkers: 1,
      whenBusy: "skip-same-source",
      backlogHighWater: 1,
    },
    // The breaker opens when one fetch has used up its attempts, not before.
    breaker: {
      threshold: Number.MAX_SAFE_INTEGER,
      ttlMs: settingOf(resolved, "circuit-ttl", DEFAULTS.circuitTtl) * 1000,
      waitMs: 0,
      openWhenSpent: true,
    },
  };
}

/**
 * `drover fetch`: copies one file, with the exit codes of {@link FETCH_EXIT} and JSON lines on both streams.
 */
export async function fetchFile(flags: FetchFlags, resolved: Resolved, log: FetchLog): Promise<number> {
  const { values: settings } = resolved;
  const stateDir = flags.lockDir ? resolve(flags.lockDir) : (settings["state-dir"] as string);
  let planned: PlannedRun;
  try {
    planned = await planRun(requestOf(flags, resolved, stateDir));
    if (flags.lockDir !== undefined) makeLockDirectory(stateDir);
  } catch (error) {
    log.say("error", messageOf(error));
    return FETCH_EXIT.usage;
  }
  const { redis } = settings;
  if (redis === undefined && findRedisServer() === undefined) {
    log.say("error", "missing required command: redis-server or valkey-server", { command: "redis-server" });
    return FETCH_EXIT.missing;
  }
  // Commands with the same lock directory share locks and breakers: through the Redis of that directory, or a
  // namespace.
  const namespace =
    redis !== undefined && flags.lockDir !== undefined ? `{drover-${shortHash(stateDir)}}` : undefined;
  try {
    openTree(planned.spec).close(); // refuses a directory that cannot be made before a run begins
    const engine = await openEngine({ redis, stateDir, namespace });
    try {
      const warn = (message: string) => log.say("warn", message);
      const options = { startPool: startLocalPool, stateDir, keepRuns: settings["keep-runs"], warn };
      const handle = await submit(engine, planned, options);
      return await follow(engine, handle, aboutOf(planned), log);
    } finally {
      engine.close();
    }
  } catch (error) {
    if (error instanceof TransferError) return sayFailed(error, aboutOf(planned), log);
    log.say("error", messageOf(error));
    if (error instanceof UnavailableError) return FETCH_EXIT.missing;
    return error instanceof SettingsError ? FETCH_EXIT.usage : FETCH_EXIT.failed;
  }
}

function makeLockDirectory(path: string): void {
  try {
    makeDirectory(path);
  } catch (error) {
    throw new SettingsError(`cannot use --lock-dir ${path} (${(error as NodeJS.ErrnoException).code})`);
  }
}

async function follow(
  engine: Engine,
  handle: Awaited<ReturnType<typeof submit>>,
  about: { source: string; destination: string },
  log: FetchLog,
): Promise<number> {
  const stop = new AbortController();
  const unlisten = onStopSignal(() => stop.abort(), FETCH_EXIT.interrupted);
  let outcome: Outcome | undefined;
  let lastError: string | undefined;
  const following = handle.follow(
    {
      ...SILENT,
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
    stop.signal,
  );
  const silent = { away() {}, back() {} };
  const stopped = await untilStopped(engine.redis, following, stop.signal, silent);
  unlisten();
  if (stopped.is === "without-redis") {
    log.say("warn", "interrupted while Redis cannot be used", about);
    return await exitWithoutRedis(FETCH_EXIT.interrupted);
  }
  if (stopped.value.end === "interrupted") {
    log.say("warn", "interrupted", about);
    return FETCH_EXIT.interrupted;
  }
  const blockedUntilMs = handle.breakers.blockedUntil(hostOf(about.source));
  return sayOutcome({ outcome, lastError, blockedUntilMs }, about, log);
}

interface Ended {
  outcome: Outcome | undefined;
  /** Error of the last attempt. */
  lastError: string | undefined;
  /** Unix time in ms until which the host is blocked, or 0. */
  blockedUntilMs: number;
}

function sayOutcome(
  { outcome, lastError, blockedUntilMs }: Ended,
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

function aboutOf({ spec }: PlannedRun): { source: string; destination: string } {
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
