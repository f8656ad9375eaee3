import { createReadStream, statSync } from "node:fs";
import { setTimeout as sleep } from "node:timers/promises";
import { Queue } from "bullmq";
import { Dispatcher } from "@drover/producer/dispatcher";
import { produce } from "@drover/producer/produce";
import { requeueFailed, requeueLeft } from "@drover/producer/requeue";
import { START, type Cursor } from "@drover/producer/expand/expand";
import { SettingsError, TransferError } from "@drover/shared/errors";
import { Gates } from "@drover/shared/gates";
import { hostOf, type TransferJob } from "@drover/shared/job";
import type { Outcome } from "@drover/shared/outcome";
import { PROCESS_NAME } from "@drover/shared/process-name";
import { flightHash, Protocol, RunLostError } from "@drover/shared/protocol";
import type { Run, RunCounts, RunSecrets } from "@drover/shared/run";
import { HttpClient } from "@drover/shared/storage/http";
import { HttpSource } from "@drover/shared/storage/http-source";
import { LocalSource } from "@drover/shared/storage/local-source";
import { LocalTree } from "@drover/shared/storage/local-tree";
import { Leases } from "@drover/worker/leases";
import { Pace } from "@drover/worker/pace";
import type { Place } from "@drover/worker/place";
import { type FileEvents, Processor } from "@drover/worker/processor";
import { fileKeys, settleFailed } from "@drover/worker/transfer";
import type { Engine } from "./engine.js";
import { stampOf } from "./list-stamp.js";

/** Files that may be accepted and not settled at once; expansion waits beyond that. */
const BACKLOG_FILES = 200_000;
/** A probe of a half-open breaker is given up after so long, however patient the run is. */
const MOST_PROBE_MS = 60_000;
const CANCEL_POLL_MS = 1_000;
const LEDGER_POLL_MS = 2_000;

export interface Watcher extends FileEvents {
  /** So many files more are on their way. */
  queued(files: number): void;
  /** Every source has been expanded. */
  sealed(): void;
  receiving(job: TransferJob, part: { contiguousBytes: number; sizeBytes: number | undefined }): void;
  skipped(path: string, why: string): void;
  warn(message: string): void;
}

export interface CarryOptions {
  engine: Engine;
  run: Run;
  secrets: RunSecrets;
  /** Standard input, where the run's list is there; it is kept in the state directory while it is read. */
  stdin: NodeJS.ReadableStream | undefined;
  /** Take failed files up again. */
  retry: boolean;
  gates: Gates;
  watcher: Watcher;
  /** Aborts: stop in order, what is unfinished can be resumed. */
  stop: AbortSignal;
}

export interface CarryResult {
  counts: RunCounts;
  end: "done" | "cancelled" | "stopped";
}

export function gatesOf(run: Run): Gates {
  return new Gates(run.spec.breakerWaitMs, probeMs(run));
}

function probeMs(run: Run): number {
  return Math.min(run.spec.timeoutMs * 2, MOST_PROBE_MS);
}

/**
 * Carries a run in this process, from where it stands to its end: producer, dispatcher and worker around a queue of
 * the run's own.
 *
 * @throws RunLostError when another process has taken the run over.
 */
export async function carryRun(options: CarryOptions): Promise<CarryResult> {
  const { engine, run, gates, watcher } = options;
  const { redis, keys, ledger } = engine;
  const { spec } = run;
  const tree = new LocalTree(spec.root);
  const protocol = new Protocol(redis, keys, PROCESS_NAME, probeMs(run));
  const client = new HttpClient({ timeoutMs: spec.timeoutMs, connections: Math.max(spec.maxWorkers, 1) * 4 });
  const leases = new Leases(protocol);
  const pace = new Pace(spec.timeoutMs, spec.bytesPerSecond);
  const place: Place = {
    runId: run.id,
    protocol,
    leases,
    pace,
    tree,
    terms: {
      ...spec,
      rules: { threshold: spec.circuitThreshold, ttlMs: spec.circuitTtlMs, probeMs: probeMs(run) },
      maxFileSizeBytes: spec.maxFileSizeBytes,
    },
    receiving: (job, part) => watcher.receiving(job, part),
    source: (job) => {
      if (hostOf(job.s) === "") return new LocalSource(job.s);
      if (job.k !== 1) return new HttpSource(client, job.s, options.secrets.headers);
      return secretSource(job);
    },
  };
  const secretSource = async (job: TransferJob) => {
    const url = await ledger.secretSource(run.id, flightHash(run.id, job.s, job.d, 0));
    if (url !== undefined) return new HttpSource(client, url, options.secrets.headers);
    throw new TransferError("credentials", "the credentials of this run have expired: start a new sync", { permanent: true });
  };

  const queueName = `${keys.queue(run.id)}-${run.generation}`;
  const prefix = keys.queuePrefix();
  const queue = new Queue(queueName, { connection: redis, prefix });
  queue.on("error", () => {}); // Redis being away is told once, by the connection
  const failure = Promise.withResolvers<never>();
  failure.promise.catch(() => {}); // raced below
  const quiet = Promise.withResolvers<void>();
  let produced = false;
  let open = 0;
  const stopProducing = new AbortController();
  const settled = (outcome: Outcome) => {
    watcher.settled(outcome);
    open--;
    if (produced && open <= 0) quiet.resolve();
  };
  const dispatcher = new Dispatcher({
    runId: run.id,
    queue,
    ledger,
    gates,
    window: Math.max(spec.maxWorkers * 4, 500),
    endBlocked: async (job) => {
      const error = new TransferError("breaker", `circuit breaker open for ${hostOf(job.s)}`, { permanent: true });
      const delivery = { job, started: 0, attempt: 0, sinceMs: Date.now() };
      const carried = await settleFailed(delivery, fileKeys(job, place), undefined, "", error, place, "blocked");
      if (carried.is === "settled") settled(carried.outcome);
    },
    onError: (error) => failure.reject(error),
  });
  const offer = (chunk: string, files: number) => {
    open += files;
    watcher.queued(files);
    dispatcher.offer(chunk, chunk.slice(chunk.indexOf("|") + 1), files);
  };

  // What an earlier process left: first its queue, then what was never in one.
  const chunkSizes = await leftOver(options, protocol, prefix);
  const left = await ledger.counts(run.id);
  watcher.queued(left.settled);
  for (const [chunk, files] of chunkSizes) offer(chunk, files);

  const processor = new Processor({
    queue: queueName,
    prefix,
    redis,
    concurrency: spec.maxWorkers,
    place,
    gates,
    events: {
      started: (job, attempt) => watcher.started(job, attempt),
      waiting: (job) => watcher.waiting(job),
      retrying: (...args) => watcher.retrying(...args),
      settled: (outcome) => {
        dispatcher.settled(outcome.source);
        settled(outcome);
      },
      dropped: (job) => {
        dispatcher.settled(job.s);
        open--;
        if (produced && open <= 0) quiet.resolve();
      },
    },
    onError: (error) => watcher.warn(`queue: ${error.message}`),
  });

  let cancelled = false;
  const cancel = () => {
    if (cancelled) return;
    cancelled = true;
    stopProducing.abort();
    leases.cancelHeld();
    dispatcher.drain();
    queue.promoteJobs().catch((error: Error) => watcher.warn(`queue: ${error.message}`));
  };
  const poll = setInterval(() => {
    ledger.isCancelled(run.id).then((is) => is && cancel(), () => {}); // Redis is away: asked again
  }, CANCEL_POLL_MS);
  const stopped = new Promise<"stopped">((resolve) => {
    if (options.stop.aborted) resolve("stopped");
    options.stop.addEventListener("abort", () => resolve("stopped"), { once: true });
  });

  // Counting here is quick, the ledger is right: it has the last word, and is asked now and then in any case.
  const settledAll = async (): Promise<void> => {
    for (let idle = 0; ; ) {
      if (open > 0) await Promise.race([quiet.promise, sleep(LEDGER_POLL_MS, undefined, { ref: false })]);
      const end = await ledger.finish(run.id);
      if (end === "done") return;
      if (end === "lost") throw new RunLostError(`run ${run.id} was taken over by another process`);
      const counts = await queue.getJobCounts();
      const queued = Object.values(counts).some((count) => count > 0) || dispatcher.busy;
      idle = queued ? 0 : idle + 1;
      if (idle > 2) throw new Error(`run ${run.id} has files in no queue: drover resume ${run.id} goes on with it`);
      if (open <= 0) await sleep(LEDGER_POLL_MS, undefined, { ref: false });
    }
  };

  const all = async (): Promise<"done" | "cancelled"> => {
    if (!run.sealed) {
      await produce({
        runId: run.id,
        redis,
        keys,
        protocol,
        ledger,
        tree,
        input: {
          spec,
          sources: options.secrets.sources,
          list: options.stdin ?? openList(run),
          from: cursorOf(run),
          onSkipped: (path, why) => watcher.skipped(path, why),
        },
        batch: run.batch,
        signal: stopProducing.signal,
        onQueued: (batch, hosts) => {
          for (const [host, files] of hosts) offer(`${batch}|${host}`, files);
        },
        onSettled: (outcome) => {
          watcher.queued(1);
          watcher.settled(outcome);
        },
        room: () => dispatcher.room(BACKLOG_FILES),
      }).catch((error) => {
        if (error instanceof RunLostError && cancelled) return;
        throw error;
      });
    }
    produced = true;
    watcher.sealed();
    await settledAll();
    return cancelled ? "cancelled" : "done";
  };

  try {
    const end = await Promise.race([all(), stopped, failure.promise]);
    stopProducing.abort();
    dispatcher.stop();
    await processor.stop();
    if (end === "stopped") await ledger.leave(run.id);
    else await queue.obliterate({ force: true });
    return { counts: await ledger.counts(run.id), end };
  } catch (error) {
    stopProducing.abort();
    dispatcher.stop();
    await processor.stop();
    if (!(error instanceof RunLostError)) await ledger.leave(run.id);
    throw error;
  } finally {
    clearInterval(poll);
    leases.close();
    pace.close();
    await client.close();
    tree.close();
    await queue.close();
  }
}

/** Puts back what earlier processes left open; answers chunk ids with their sizes. */
async function leftOver(options: CarryOptions, protocol: Protocol, prefix: string): Promise<Map<string, number>> {
  const { engine, run } = options;
  const { redis, keys, ledger } = engine;
  const sizes = new Map<string, number>();
  if (run.generation > 0) {
    const old = new Queue(`${keys.queue(run.id)}-${run.generation - 1}`, { connection: redis, prefix });
    old.on("error", () => {});
    await requeueLeft(old, run, protocol);
    await old.obliterate({ force: true });
    await old.close();
    if (options.retry) await requeueFailed(run, ledger, protocol);
    for (const chunk of await ledger.chunkIds(run.id)) sizes.set(chunk, (await ledger.chunk(run.id, chunk)).length);
  }
  return sizes;
}

function cursorOf(run: Run): Cursor {
  return run.cursor === "" ? START : (JSON.parse(run.cursor) as Cursor);
}

/** @throws SettingsError when the list is not the one that the run began with. */
function openList(run: Run): NodeJS.ReadableStream | undefined {
  const { list, listStamp } = run.spec;
  if (list === undefined) return undefined;
  const stat = statSync(list, { throwIfNoEntry: false });
  if (!stat) throw new SettingsError(`the list ${list} is not there any more: start a new sync`);
  if (listStamp !== undefined && stampOf(stat) !== listStamp) {
    throw new SettingsError(`the list ${list} has changed since run ${run.id} began: start a new sync`);
  }
  return createReadStream(list, { start: cursorOf(run).listByte, highWaterMark: 1 << 18 });
}
