import { setTimeout as sleep } from "node:timers/promises";
import { openCheck } from "@drover/producer/compare/check-s3";
import { Revalidator } from "@drover/producer/compare/revalidator";
import { Dispatcher } from "@drover/producer/dispatch/run-dispatcher";
import { requeueFailed, requeueLeft } from "@drover/producer/enqueue/requeue";
import { ListingError } from "@drover/producer/expand/listing-error";
import { produce } from "@drover/producer/runs/expand-run";
import { IndexSet } from "@drover/producer/runs/index-set";
import { dropKept } from "@drover/producer/runs/piped-list";
import { cursorOf, openRunList } from "@drover/producer/runs/run-list";
import { hostOf, type TransferJob } from "@drover/shared/job";
import { isSuccess, type Outcome } from "@drover/shared/outcome";
import { PROCESS_NAME } from "@drover/shared/process-name";
import { Backlog, RunLostError } from "@drover/shared/protocol/backlog";
import type { HostBreakers } from "@drover/shared/protocol/host-breakers";
import type { Run, RunCounts, RunSecrets } from "@drover/shared/run";
import { openTree } from "@drover/shared/storage/registry";
import { LocalWorkerPool, type RunEvents } from "@drover/worker/runtime/local-worker-pool";
import { Queue } from "bullmq";
import type { Engine } from "./engine.js";

const CANCEL_POLL_MS = 1_000;
const LEDGER_POLL_MS = 2_000;

/** Who follows a run. */
export interface Watcher extends Omit<RunEvents, "failed"> {
  /** So many files more are on their way. */
  queued(files: number): void;
  /** Every source has been expanded. */
  sealed(): void;
}

export interface CarryOptions {
  engine: Engine;
  run: Run;
  secrets: RunSecrets;
  /** Standard input, where the run's list is there; it is kept in the state directory while it is read. */
  stdin: NodeJS.ReadableStream | undefined;
  /** Take failed files up again. */
  retry: boolean;
  breakers: HostBreakers;
  watcher: Watcher;
  /** Somebody watches each file. */
  live: boolean;
  /** Aborts: stop in order, what is unfinished can be resumed. */
  stop: AbortSignal;
}

export interface CarryResult {
  counts: RunCounts;
  /** `incomplete`: a source could not be listed to its end; what was found is carried, the run can be resumed. */
  end: "done" | "cancelled" | "stopped" | "incomplete";
  /** Why it is incomplete. */
  listing?: ListingError;
  /** Why nothing was removed although it was asked for, or "". */
  deletionRefused: string;
}

/**
 * Carries a run in this process, from where it stands to its end: producer, dispatcher and worker around a queue of
 * the run's own.
 *
 * @throws RunLostError when another process has taken the run over.
 */
export async function carryRun(options: CarryOptions): Promise<CarryResult> {
  const { engine, run, breakers, watcher } = options;
  const { redis, keys, ledger } = engine;
  const { spec } = run;
  const tree = openTree(spec);
  const backlog = new Backlog(redis, keys, PROCESS_NAME);
  const queueName = `${keys.queue(run.id)}-${run.generation}`;
  const prefix = keys.queuePrefix();
  const queue = new Queue(queueName, { connection: redis, prefix });
  queue.on("error", () => {}); // Redis being away is told once, by the connection
  const failure = Promise.withResolvers<never>();
  failure.promise.catch(() => {}); // raced below
  let quiet = Promise.withResolvers<void>();
  let open = 0;
  const stopProducing = new AbortController();
  const left = () => {
    if (--open <= 0) quiet.resolve();
  };
  const told = new IndexSet();
  const settled = (outcome: Outcome) => {
    // One that lost its lease and one that took over may both have it settled: the first to come is right.
    if (told.add(outcome.index)) watcher.settled(outcome);
    left();
  };
  const onCarried = (outcome: Outcome) => {
    if (isSuccess(outcome.outcome)) breakers.report(hostOf(outcome.source, spec), 0, true);
    dispatcher.settled(hostOf(outcome.source, spec), outcome.index);
    settled(outcome);
  };
  const dropped = (job: TransferJob) => {
    watcher.dropped(job);
    dispatcher.settled(hostOf(job.s, spec), job.i);
    left();
  };
  const dispatcher: Dispatcher = new Dispatcher({
    runId: run.id,
    redis,
    queue,
    backlog,
    breakers,
    window: Math.max(spec.maxWorkers * 8, 1000),
    endBlocked: async (job) => {
      const outcome = await pool.endBlocked(job);
      if (outcome) settled(outcome);
      else left();
    },
    onError: (error) => failure.reject(error),
  });
  const offer = (chunk: string, files: number) => {
    if (open <= 0) quiet = Promise.withResolvers<void>();
    open += files;
    watcher.queued(files);
    dispatcher.offer(chunk, chunk.slice(chunk.indexOf("|") + 1), files);
    pool.expect(open);
  };

  // What an earlier process left: first its queue, then what was never in one.
  const chunkSizes = await leftOver(options, backlog, prefix);
  watcher.queued((await ledger.counts(run.id)).settled);

  const pool = new LocalWorkerPool({
    run,
    queue: queueName,
    headers: options.secrets.headers,
    redis,
    address: engine.address,
    keys,
    breakers,
    live: options.live,
    events: { ...watcher, settled: onCarried, dropped, failed: (error) => failure.reject(error) },
  });
  for (const [chunk, files] of chunkSizes) offer(chunk, files);

  let cancelled = false;
  const cancel = () => {
    if (cancelled) return;
    cancelled = true;
    stopProducing.abort();
    pool.cancel();
    dispatcher.drain();
    queue.promoteJobs().catch((error: Error) => watcher.warn(`queue: ${error.message}`));
  };
  const poll = setInterval(() => {
    ledger.isCancelled(run.id).then(
      (is) => is && cancel(),
      () => {},
    ); // Redis is away: asked again
  }, CANCEL_POLL_MS);
  const stopped = new Promise<"stopped">((resolve) => {
    if (options.stop.aborted) resolve("stopped");
    options.stop.addEventListener("abort", () => resolve("stopped"), { once: true });
  });

  // Counting here is quick, the ledger is right: it has the last word, and is asked now and then in any case.
  let idle = 0;
  /** Resolves when everything that is known here is settled, or after a moment. */
  const calm = async (): Promise<void> => {
    if (open > 0) {
      idle = 0;
      await Promise.race([quiet.promise, sleep(LEDGER_POLL_MS, undefined, { ref: false })]);
      return;
    }
    const counts = await queue.getJobCounts();
    const queued = Object.values(counts).some((count) => count > 0) || dispatcher.busy;
    idle = queued ? 0 : idle + 1;
    if (idle > 2)
      throw new Error(`run ${run.id} has files in no queue: drover resume ${run.id} goes on with it`);
    await sleep(LEDGER_POLL_MS, undefined, { ref: false });
  };

  /** Of a run that is not sealed: until what was registered is settled. */
  const settledSoFar = async (): Promise<void> => {
    for (;;) {
      const counts = await ledger.counts(run.id);
      if (counts.settled >= counts.files) return;
      await calm();
    }
  };

  const settledAll = async (): Promise<void> => {
    for (;;) {
      if (open > 0) await calm();
      const end = await ledger.finish(run.id);
      if (end === "done") return;
      if (end === "lost") throw RunLostError.takenOver(run.id);
      await calm();
    }
  };

  let listing: ListingError | undefined;
  const all = async (): Promise<"done" | "cancelled" | "incomplete"> => {
    if (!run.sealed) {
      const revalidator = new Revalidator(spec.timeoutMs, options.secrets.headers, spec.maxWorkers, breakers);
      const check = openCheck(spec, tree, stopProducing.signal, watcher.warn);
      await produce({
        revalidator,
        check,
        runId: run.id,
        redis,
        keys,
        backlog,
        ledger,
        tree,
        input: {
          spec,
          sources: options.secrets.sources,
          list: options.stdin ?? openRunList(run),
          from: cursorOf(run),
          signal: stopProducing.signal,
          warn: watcher.warn,
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
        room: (files) => dispatcher.room(spec.backlogHighWater - files + 1),
        quiet: calm,
        recreate: () => ledger.create(spec, options.secrets, run.id),
      })
        .catch((error) => {
          if (error instanceof RunLostError && cancelled) return;
          if (!(error instanceof ListingError)) throw error;
          listing = error;
        })
        .finally(() => Promise.all([revalidator.close(), check?.close()]));
    }
    if (listing && !cancelled) {
      await settledSoFar();
      return cancelled ? "cancelled" : "incomplete";
    }
    watcher.sealed();
    await settledAll();
    return cancelled ? "cancelled" : "done";
  };

  try {
    const end = await Promise.race([all(), stopped, failure.promise]);
    stopProducing.abort();
    dispatcher.stop();
    await pool.stop();
    if (end === "stopped") await ledger.leave(run.id);
    else if (end === "incomplete") {
      await queue.obliterate({ force: true });
      await ledger.leave(run.id);
    } else {
      await queue.obliterate({ force: true });
      if (spec.listIsStdin && spec.list !== undefined) dropKept(spec.list);
    }
    const { deletionRefused } = await ledger.get(run.id);
    return { counts: await ledger.counts(run.id), end, deletionRefused, ...(listing ? { listing } : {}) };
  } catch (error) {
    stopProducing.abort();
    dispatcher.stop();
    await pool.stop();
    if (!(error instanceof RunLostError)) await ledger.leave(run.id);
    throw error;
  } finally {
    clearInterval(poll);
    tree.close();
    await queue.close();
  }
}

/** Puts back what earlier processes left open; answers chunk ids with their sizes. */
async function leftOver(
  options: CarryOptions,
  backlog: Backlog,
  prefix: string,
): Promise<Map<string, number>> {
  const { engine, run } = options;
  const { redis, keys, ledger } = engine;
  const sizes = new Map<string, number>();
  if (run.generation > 0) {
    const old = new Queue(`${keys.queue(run.id)}-${run.generation - 1}`, { connection: redis, prefix });
    old.on("error", () => {});
    await requeueLeft(run, backlog);
    await old.obliterate({ force: true });
    await old.close();
    if (options.retry) await requeueFailed(run, ledger, backlog);
    for (const chunk of await backlog.chunkIds(run.id))
      sizes.set(chunk, (await backlog.chunk(run.id, chunk)).length);
  }
  return sizes;
}
