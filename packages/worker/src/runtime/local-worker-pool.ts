import { availableParallelism } from "node:os";
import { Worker } from "node:worker_threads";
import { atBoundedRate } from "@drover/shared/bounded-rate";
import type { TransferJob } from "@drover/shared/job";
import type { BriefError, Outcome } from "@drover/shared/outcome";
import type { HostBreakers } from "@drover/shared/protocol/host-breakers";
import type { Keys } from "@drover/shared/protocol/keys";
import type { RedisAddress } from "@drover/shared/redis/address";
import { isRedisAway } from "@drover/shared/redis/errors";
import type { Run } from "@drover/shared/run";
import type { CustomerKeyTexts } from "@drover/shared/storage/s3/object/customer-key";
import type { Redis } from "ioredis";
import { UPLOAD_BYTES } from "../bytes/buffer-pool.js";
import { type RunWork, RunWorker } from "./run-worker.js";

/** Number of files from which a run is carried by several threads, as starting them takes time. */
const THREADED_FILES = 10_000;
/** Most threads: one Redis serves about as many files as they carry. */
const MOST_THREADS = 4;

/** Callbacks for the progress of a run's files, whichever thread carries them. */
export interface PoolEvents {
  started(job: TransferJob, attempt: number): void;
  /** The file is not settled and will be tried again. */
  waiting(job: TransferJob): void;
  retrying(job: TransferJob, attempt: number, error: BriefError, delayMs: number): void;
  settled(outcome: Outcome): void;
  /** The file was settled before: this delivery had nothing to do. */
  dropped(job: TransferJob): void;
  /** A file's bytes arrive. `record` is updated in place. */
  receiving(index: number, record: { receivedBytes: number; sizeBytes: number | undefined }): void;
  warn(message: string): void;
  /** A thread died: the run cannot continue. */
  failed(error: Error): void;
}

/** Start data of a thread with a {@link RunWorker}. */
export interface ThreadData {
  address: RedisAddress;
  namespace: string;
  work: RunWork;
  /** Whether to report the start of each file, and its progress often. */
  live: boolean;
}

export type ThreadRequest = "stop" | "cancel";
/** A call of one of {@link PoolEvents}, or a blocked host with the Unix time in ms until which it is blocked. */
export type ThreadEvent =
  | { [Name in keyof PoolEvents]: [Name, ...Parameters<PoolEvents[Name]>] }[keyof PoolEvents]
  | ["blocked", host: string, untilMs: number];

export interface LocalWorkerPoolOptions {
  run: Run;
  /** Name of the BullMQ queue. */
  queue: string;
  /** The user's request headers. */
  headers: Record<string, string>;
  /** Keys of the user that objects are encrypted with. */
  customerKeys?: CustomerKeyTexts | undefined;
  redis: Redis;
  /** Address of `redis`, for the connections of threads. */
  address: RedisAddress;
  keys: Keys;
  breakers: HostBreakers;
  /** Whether threads report the progress of each file. */
  live: boolean;
  events: PoolEvents;
}

/**
 * The workers of one run in this process: one in this thread and, for a run of many files, others in threads
 * of their own, because one thread uses only one core.
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
      customerKeys: options.customerKeys,
      concurrency: run.spec.maxWorkers,
      bytesPerSecond: run.spec.bytesPerSecond,
      uploadBytes: UPLOAD_BYTES,
    };
    const warn = atBoundedRate(events.warn);
    this.#worker = new RunWorker({
      redis,
      keys,
      work: this.#work,
      breakers,
      events,
      onError: (error) => isRedisAway(error) || warn(`queue: ${error.message}`), // the connection reports once that Redis is away
    });
  }

  /** Starts threads if there are many files. @param files number of open files. */
  expect(files: number): void {
    if (files > THREADED_FILES) this.#threads ??= this.#startThreads();
  }

  /** Settles a file whose host was given up, without carrying it. */
  endBlocked(job: TransferJob): Promise<Outcome | undefined> {
    return this.#worker.endBlocked(job);
  }

  /** The run was cancelled: aborts the files in progress. */
  cancel(): void {
    this.#worker.cancel();
    this.#request("cancel");
  }

  /** Stops in an orderly way: staged bytes are kept, unfinished files return to the queue. */
  async stop(): Promise<void> {
    this.#request("stop");
    await Promise.all([this.#worker.stop(), ...(this.#threads ?? []).map(({ stopped }) => stopped)]);
  }

  #request(request: ThreadRequest): void {
    for (const { worker } of this.#threads ?? []) worker.postMessage(request);
  }

  /** Starts threads, which share the run's limits with this thread's worker. */
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
 * Starts the workers of a run in this process: the `startPool` of the producer package's `submit`, `resumeRun` and
 * `cancelRun`.
 */
export function startLocalPool(options: LocalWorkerPoolOptions): LocalWorkerPool {
  return new LocalWorkerPool(options);
}
