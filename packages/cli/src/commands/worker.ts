import { accessSync, constants, realpathSync, statSync } from "node:fs";
import { hostname } from "node:os";
import { resolve } from "node:path";
import { Leader } from "@drover/producer/dispatch/leader";
import { errnoCode, SettingsError } from "@drover/shared/errors";
import { PROCESS_NAME } from "@drover/shared/process-name";
import { parseHostLimit, setHostLimits } from "@drover/shared/protocol/host-limits";
import { aliveWorkers } from "@drover/shared/protocol/worker-registry";
import { redactText } from "@drover/shared/redact";
import { isS3, parseS3, s3Text } from "@drover/shared/storage/s3/name";
import type { S3Spec } from "@drover/shared/storage/s3/spec";
import { FleetWorker } from "@drover/worker/runtime/fleet-worker";
import { Health, type HealthChecks } from "@drover/worker/runtime/health";
import { Heartbeat } from "@drover/worker/runtime/heartbeat";
import { destination as fileDescriptor, type Logger, pino } from "pino";
import prettyBytes from "pretty-bytes";
import { showDuration } from "../display/report.js";
import { type Engine, openEngine } from "../engine.js";
import { EXIT } from "../exit.js";
import type { Resolved, Settings } from "../settings/settings.js";

export interface WorkerFlags {
  root: string[];
  hostLimit?: string[];
  verbose?: boolean;
}

/** Without any byte of any file for so long a worker is thought stuck: longer than any pace rule allows. */
const STUCK_MS = 15 * 60_000;

/** `drover worker`: carries files of a fleet's runs until a signal. Logs are JSON lines on standard error. */
export async function worker(flags: WorkerFlags, resolved: Resolved): Promise<number> {
  const settings = resolved.values;
  if (settings.redis === undefined)
    throw new SettingsError("a worker needs the fleet's Redis: name it with --redis or REDIS_URL");
  const roots = checkRoots(flags.root);
  const s3 = roots.some(isS3) ? await (await import("../settings/s3-spec.js")).s3SpecOf(resolved) : undefined;
  const limits = (flags.hostLimit ?? []).map(parseHostLimit);
  for (const root of roots)
    if (isS3(root))
      await (await import("@drover/producer/runs/check-bucket")).checkBucket(root, s3 as S3Spec);
  const engine = await openEngine(settings);
  let health: Health | undefined;
  try {
    let serving: Serving | undefined;
    // Nothing is carried before its port is had.
    health = await listen(settings["health-port"], {
      progress: () => serving?.fleetWorker.carrying.map((each) => each.receivedBytes) ?? [],
      stuckMs: STUCK_MS,
      ready: () =>
        serving !== undefined &&
        engine.redis.status === "ready" &&
        serving.fleetWorker.running &&
        !serving.draining,
    });
    await setHostLimits(engine.redis, engine.keys, limits);
    const log = logger(flags.verbose ?? false);
    serving = serve(engine, { concurrency: settings.concurrency, roots, ...(s3 ? { s3 } : {}) }, log);
    const { concurrency } = settings;
    await serving.heartbeat.tell();
    log.info({ concurrency, roots, ...(health ? { health_port: health.port } : {}) }, "worker ready");
    await drain(serving, settings["drain-deadline"], log);
    return EXIT.ok;
  } finally {
    health?.close();
    engine.close();
  }
}

interface Serving {
  fleetWorker: FleetWorker;
  leader: Leader;
  heartbeat: Heartbeat;
  draining: boolean;
}

function logger(verbose: boolean): Logger {
  return pino(
    {
      level: verbose ? "debug" : "info",
      base: { worker: workerId() },
      messageKey: "message",
      timestamp: () => `,"ts":"${new Date().toISOString()}"`,
      formatters: { level: (level) => ({ level }) },
    },
    fileDescriptor({ dest: 2, sync: true }),
  );
}

/** Takes files of the fleet's runs from here on, and leads the fleet where nobody does. */
function serve(
  { redis, keys, ledger }: Engine,
  work: { concurrency: number; roots: string[]; s3?: S3Spec },
  log: Logger,
): Serving {
  const onError = (error: Error) => {
    // That Redis is away is said once, below.
    if (errnoCode(error) !== undefined || /Connection is closed/.test(error.message)) return;
    log.warn({ error: redactText(error.message) }, "error");
  };
  let away = false;
  redis.on("close", () => {
    if (!away && !serving.draining) log.warn("Redis is away: waiting for it");
    away = true;
  });
  redis.on("ready", () => {
    if (away) log.info("Redis is back");
    away = false;
  });
  const fleetWorker = new FleetWorker({
    redis,
    keys,
    ...work,
    events: {
      started: (job, attempt) => log.debug({ run: job.r, source: job.s, attempt }, "started"),
      waiting: () => {},
      dropped: (job) => log.debug({ run: job.r, source: job.s }, "was settled before"),
      retrying: (job, attempt, error, delayMs) =>
        log.info(
          { run: job.r, source: job.s, attempt, class: error.class, error: error.message, delay_ms: delayMs },
          "will be tried again",
        ),
      settled: (outcome, job) => {
        const { source, outcome: is, bytes, durationMs, error } = outcome;
        const fields = { run: job.r, source, outcome: is, bytes, duration_ms: durationMs, ...error };
        if (error) log.warn({ ...fields, message: undefined, error: error.message }, "not synced");
        else log.debug(fields, "synced");
      },
    },
    onError,
  });
  const leader = new Leader(
    workerId(),
    { redis, keys, ledger, owner: PROCESS_NAME, log: (message, fields) => log.info(fields ?? {}, message) },
    onError,
  );
  const heartbeat = new Heartbeat(redis, keys, workerId(), () => ({
    concurrency: work.concurrency,
    roots: work.roots,
    leads: leader.leads,
    draining: serving.draining,
    carrying: fleetWorker.carrying,
  }));
  const serving: Serving = { fleetWorker, leader, heartbeat, draining: false };
  return serving;
}

/** Waits for a signal, then stops in order. */
async function drain(serving: Serving, deadlineSeconds: number, log: Logger): Promise<void> {
  const { fleetWorker, leader, heartbeat } = serving;
  const signal = await nextSignal();
  serving.draining = true;
  log.info({ signal, deadline_s: deadlineSeconds, files: fleetWorker.carrying.length }, "stopping");
  nextSignal().then(() => process.exit(EXIT.interrupted));
  await Promise.all([leader.stop(), fleetWorker.stop(deadlineSeconds * 1000)]);
  await heartbeat.end().catch((error: Error) => {
    log.warn({ error: redactText(error.message) }, "it is listed for a while yet");
  });
  log.info("stopped");
}

async function listen(port: number | undefined, checks: HealthChecks): Promise<Health | undefined> {
  if (port === undefined) return undefined;
  try {
    return await Health.listen(port, checks);
  } catch (error) {
    throw new SettingsError(`cannot listen on --health-port ${port} (${errnoCode(error)}): choose another`);
  }
}

function nextSignal(): Promise<string> {
  return new Promise((done) => {
    const heard = (signal: string) => {
      process.off("SIGINT", heard);
      process.off("SIGTERM", heard);
      done(signal);
    };
    process.on("SIGINT", heard);
    process.on("SIGTERM", heard);
  });
}

function workerId(): string {
  return `${hostname()}-${process.pid}`;
}

function checkRoots(given: string[]): string[] {
  return given.map((each) => {
    if (isS3(each)) {
      const { bucket, key } = parseS3(each);
      return s3Text({ bucket, key }).replace(/\/$/, "");
    }
    const root = resolve(each);
    try {
      accessSync(root, constants.W_OK);
      if (statSync(root).isDirectory()) {
        realpathSync(root);
        return root;
      }
    } catch (error) {
      throw new SettingsError(`cannot write to --root ${root} (${errnoCode(error)})`);
    }
    throw new SettingsError(`--root ${root} is not a directory`);
  });
}

/** `drover workers`: who is alive, and what each carries. */
export async function workers(settings: Settings, flags: { json?: boolean }): Promise<number> {
  if (settings.redis === undefined)
    throw new SettingsError("only a fleet has workers: name its Redis with --redis or REDIS_URL");
  const engine = await openEngine(settings);
  try {
    const alive = await aliveWorkers(engine.redis, engine.keys);
    if (flags.json) {
      process.stdout.write(`${JSON.stringify(alive, null, 2)}\n`);
      return EXIT.ok;
    }
    if (alive.length === 0) process.stdout.write("no worker is alive\n");
    for (const each of alive) {
      const state = [...(each.leads ? ["leads"] : []), ...(each.draining ? ["draining"] : [])].join(", ");
      process.stdout.write(
        `${each.id}  ${each.carrying.length}/${each.concurrency} files${state ? `  ${state}` : ""}  ${each.roots.join(", ")}\n`,
      );
      for (const file of each.carrying) {
        const bytes = prettyBytes(file.receivedBytes);
        const size = file.sizeBytes === undefined ? bytes : `${bytes} of ${prettyBytes(file.sizeBytes)}`;
        process.stdout.write(`  ${file.source} (${size}, ${showDuration(Date.now() - file.sinceMs)})\n`);
      }
    }
    return EXIT.ok;
  } finally {
    engine.close();
  }
}
