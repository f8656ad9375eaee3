import { startLeader } from "@drover/producer/dispatch/leader";
import { planServices } from "@drover/producer/runs/plan/services";
import { atBoundedRate } from "@drover/shared/bounded-rate";
import type { Engine } from "@drover/shared/engine";
import type { MetricsExporter } from "@drover/shared/metrics/exporter";
import { dispatchPause } from "@drover/shared/protocol/dispatch-pause";
import { parseHostLimit } from "@drover/shared/protocol/host-limits";
import { aliveWorkers, type WorkerPresence } from "@drover/shared/protocol/worker-registry";
import { redactText } from "@drover/shared/redact";
import { isRedisAway } from "@drover/shared/redis/errors";
import { destinationOf } from "@drover/shared/storage/registry";
import type { Services } from "@drover/shared/storage/storage";
import { type RunningWorker, startWorker, workerId } from "@drover/worker/runtime/start-worker";
import type { Logger } from "pino";
import prettyBytes from "pretty-bytes";
import { showDuration } from "../../display/duration.js";
import { pausedText } from "../../display/paused.js";
import { EXIT } from "../../exit.js";
import { streamLogger } from "../../log/open-log.js";
import { exitWithoutRedis, untilStopped } from "../../redis-watch.js";
import { servicesRequestOf } from "../../settings/run-request.js";
import type { Resolved, Settings } from "../../settings/settings.js";
import { onStopSignal } from "../../signals.js";
import { withEngine } from "../engine.js";
import type { OutputFlags } from "../options.js";

export interface WorkerFlags {
  root: string[];
  hostLimit?: string[];
  allowAddress?: string[];
  verbose?: boolean;
}

/** `drover worker`: carries files of a fleet's runs until a signal. Logs are JSON lines on standard error. */
export async function worker(flags: WorkerFlags, resolved: Resolved): Promise<number> {
  const { values: settings } = resolved;
  const roots = flags.root.map((each) => {
    const destination = destinationOf(each);
    destination.workerRoot(each, process.cwd());
    return destination.parseRoot(each, process.cwd()); // as it was written: runs are held against that
  });
  const services = await planServices(servicesRequestOf(resolved), { read: roots });
  const hostLimits = (flags.hostLimit ?? []).map(parseHostLimit);
  for (const root of roots) await destinationOf(root).checkBackup?.(root, services);
  const log = streamLogger(2, flags.verbose ? "debug" : "info", { worker: workerId() });
  return await withEngine(settings, async (engine) => {
    const { concurrency, "health-port": healthPort, "keep-runs": keepRuns } = settings;
    const allowAddresses = flags.allowAddress ?? [];
    const work = { concurrency, roots, services, allowAddresses, healthPort, hostLimits, keepRuns };
    const running = await carryLogged(engine, work, log);
    const health = running.healthPort === undefined ? {} : { health_port: running.healthPort };
    log.info({ concurrency, roots, ...health }, "worker ready");
    const deadlineMs = settings["drain-deadline"] * 1000;
    const stop = new AbortController();
    const stopped = await untilStopped(
      engine.redis,
      drainAtSignal(running, deadlineMs, stop, log),
      stop.signal,
      {
        away: (message) => running.draining || log.warn(message),
        back: (message) => log.info(message),
        deadlineMs,
      },
    );
    if (stopped.is === "ended") return EXIT.ok;
    log.warn("stopped while Redis cannot be used: its files return to the queue when their locks run out");
    return await exitWithoutRedis(EXIT.interrupted);
  });
}

/** What a worker does and may do. */
export interface Work {
  concurrency: number;
  roots: string[];
  services: Services;
  allowAddresses: string[];
  healthPort: number | undefined;
  hostLimits: ReturnType<typeof parseHostLimit>[];
  keepRuns: number;
  /** Is to tell of this worker too; without it, its health port does. */
  metrics?: MetricsExporter;
}

/** Starts to take files of the fleet's runs, and to stand for the fleet's leader. */
export async function carryLogged(
  engine: Engine,
  { keepRuns, ...work }: Work,
  log: Logger,
): Promise<RunningWorker> {
  const say = atBoundedRate((error) => log.warn({ error }, "error"));
  const onError = (error: Error) => {
    // It is logged below, once, that Redis is away.
    if (!isRedisAway(error)) say(redactText(error.message));
  };
  return await startWorker({
    engine,
    ...work,
    events: {
      started: (job, attempt) => log.debug({ run: job.r, source: job.s, attempt }, "started"),
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
    startLeader: (id) => {
      const tell = (message: string, fields?: Record<string, unknown>) => log.info(fields ?? {}, message);
      return startLeader(engine, id, { keepRuns, log: tell, onError });
    },
  });
}

/**
 * Waits for a signal, then stops in an orderly way.
 *
 * @param deadlineMs time for files in progress.
 * @param stop aborted when the signal comes.
 */
async function drainAtSignal(
  running: RunningWorker,
  deadlineMs: number,
  stop: AbortController,
  log: Logger,
): Promise<void> {
  const signal = await new Promise<string>((resolve) => onStopSignal(resolve, EXIT.interrupted));
  log.info({ signal, deadline_s: deadlineMs / 1000, files: running.files }, "stopping");
  stop.abort();
  const stillListed = await running.drain(deadlineMs);
  if (stillListed) log.warn({ error: redactText(stillListed.message) }, "it is listed for a while yet");
  log.info("stopped");
}

/** The JSON form of a worker: times in UTC. */
function toJson({ startedMs, carrying, ...rest }: WorkerPresence) {
  return {
    ...rest,
    started: new Date(startedMs).toISOString(),
    carrying: carrying.map(({ sinceMs, ...file }) => ({ ...file, since: new Date(sinceMs).toISOString() })),
  };
}

/** `drover workers`: lists the live workers and the files that each carries. */
export async function workers(settings: Settings, flags: OutputFlags): Promise<number> {
  return await withEngine(settings, async (engine) => {
    const alive = await aliveWorkers(engine.redis, engine.keys);
    if (flags.json) {
      process.stdout.write(`${JSON.stringify(alive.map(toJson), null, 2)}\n`);
      return EXIT.ok;
    }
    const pause = await dispatchPause(engine.redis, engine.keys);
    if (pause) process.stdout.write(`${pausedText(pause)}\n`);
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
  });
}
