import { availableParallelism } from "node:os";
import { Worker } from "node:worker_threads";
import type { TransferJob } from "@drover/shared/job";
import type { BriefError, Outcome } from "@drover/shared/outcome";
import type { HostBreakers } from "@drover/shared/protocol/host-breakers";
import type { Keys } from "@drover/shared/protocol/keys";
import type { RedisAddress } from "@drover/shared/redis/address";
import { isAway } from "@drover/shared/redis/connect";
import type { Run } from "@drover/shared/run";
import type { Redis } from "ioredis";
import { UPLOAD_BYTES } from "../bytes/buffer-pool.js";
import { type RunWork, RunWorker } from "./run-worker.js";

/** A run of more files than this is carried by several threads: starting them pays. */
const THREADED_FILES = 10_000;
/** More threads than this gain nothing: one Redis serves about as many files as they carry. */
const MOST_THREADS = 4;

/** What happens to the files of a run, whichever thread carries them. */
export interface RunEvents {
  started(job: TransferJob, attempt: number): void;
  /** Not settled; will be taken up again. */
  waiting(job: TransferJob): void;
  retrying(job: TransferJob, attempt: number, error: BriefError, delayMs: number): void;
  settled(outcome: Outcome): void;
  /** Was settled before: this delivery found nothing to do. */
  dropped(job: TransferJob): void;
  /** A file's bytes come in; the part's count grows. */
  receiving(index: number, record: { receivedBytes: number; sizeBytes: number | undefined }): void;
  warn(message: string): void;
  /** A thread is gone: the run cannot go on. */
  failed(error: Error): void;
}

/** What a thread of {@link RunWorker} starts with. */
export interface ThreadData {
  address: RedisAddress;
  namespace: string;
  work: RunWork;
  /** Somebody watches: tell what is on its way, too. */
  live: boolean;
}

export type ThreadRequest = "stop" | "cancel";
/** A call of one of {@link RunEvents}, or that a host is blocked until then (Unix ms). */
export type ThreadEvent =
  | { [Name in keyof RunEvents]: [Name, ...Parameters<RunEvents[Name]>] }[keyof RunEvents]
  | ["blocked", host: string, untilMs: number];

export interface LocalWorkerPoolOptions {
  run: Run;
  /** BullMQ queue. */
  queue: string;
  /** The person's request headers. */
  headers: Record<string, string>;
  redis: Redis;
  /** Where that is, for the connections of threads. */
  address: RedisAddress;
  keys: Keys;
  breakers: HostBreakers;
  /** Somebody watches each file: threads tell what is on its way, too. */
  live: boolean;
  events: RunEvents;
}

/**
 * All that carries files of one run in this process: a worker here, and for a run of many files others in threads of
 * their own, since one thread cannot use more than one core.
 */
export class LocalWorkerPool {
  readonly #worker: RunWorker;
  readonly #work: RunWork;
  #threads: { worker: Worker; stopped: Promise<void> }[] | undefined;

  constructor(private readonly options: LocalWorkerPoolOptions) {
    const { run, redis, keys, breakers, events } = options;
    this.#work = {
      runId: run.id,
      queue: options.queue,
      spec: run.spec,
      headers: options.headers,
      concurrency: run.spec.maxWorkers,
      bytesPerSecond: run.spec.bytesPerSecond,
      uploadBytes: UPLOAD_BYTES,
    };
    this.#worker = new RunWorker({
      redis,
      keys,
      work: this.#work,
      breakers,
      events,
      onError: (error) => isAway(error) || events.warn(`queue: ${error.message}`), // that Redis is away is said once, by the connection
    });
  }

  /** @param files that are open: threads are started where they are many. */
  expect(files: number): void {
    if (files > THREADED_FILES) this.#threads ??= this.#startThreads();
  }

  /** Ends a file whose host was given up, without carrying it. */
  endBlocked(job: TransferJob): Promise<Outcome | undefined> {
    return this.#worker.endBlocked(job);
  }

  /** The run was cancelled: gives up the files that are on their way. */
  cancel(): void {
    this.#worker.cancel();
    this.#request("cancel");
  }

  /** Stops in order: what is staged is kept, what is unfinished goes back to the queue. */
  async stop(): Promise<void> {
    this.#request("stop");
    await Promise.all([this.#worker.stop(), ...(this.#threads ?? []).map(({ stopped }) => stopped)]);
  }

  #request(request: ThreadRequest): void {
    for (const { worker } of this.#threads ?? []) worker.postMessage(request);
  }

  /** Threads that share the run's limits with the first worker. */
  #startThreads() {
    const { concurrency, bytesPerSecond, uploadBytes } = this.#work;
    const count = Math.min(availableParallelism(), MOST_THREADS, Math.floor(concurrency / 4));
    if (count < 2) return [];
    const share = {
      concurrency: Math.floor(concurrency / count),
      bytesPerSecond: bytesPerSecond === undefined ? undefined : bytesPerSecond / count,
      uploadBytes: uploadBytes / count,
    };
    const first = concurrency - share.concurrency * (count - 1);
    this.#worker.limit(first, share.bytesPerSecond, share.uploadBytes);
    const { address, keys, live } = this.options;
    const data: ThreadData = { address, namespace: keys.namespace, work: { ...this.#work, ...share }, live };
    return Array.from({ length: count - 1 }, () => this.#startThread(data));
  }

  #startThread(data: ThreadData) {
    const worker = new Worker(new URL("./run-worker-thread.js", import.meta.url), { workerData: data });
    const stopped = new Promise<void>((resolve) => {
      worker.once("exit", () => resolve());
    });
    worker.on("message", (message: ThreadEvent[] | "stopped") => {
      if (message !== "stopped") for (const event of message) this.#onThreadEvent(event);
    });
    worker.on("error", (error) => this.options.events.failed(error));
    return { worker, stopped };
  }

  #onThreadEvent(event: ThreadEvent): void {
    const { events, breakers } = this.options;
    if (event[0] === "blocked") {
      breakers.report(event[1], event[2], false);
      return;
    }
    const [name, ...args] = event;
    (events[name] as (...args: unknown[]) => void)(...args);
  }
}

/**
 * Starts what carries a run in this process: the `startPool` of the producer package's `submit`, `resumeRun` and
 * `cancelRun`, which call it with what it needs.
 */
export function startLocalPool(options: LocalWorkerPoolOptions): LocalWorkerPool {
  return new LocalWorkerPool(options);
}
