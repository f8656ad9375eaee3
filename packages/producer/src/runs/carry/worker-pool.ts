import type { TransferJob } from "@drover/shared/job";
import type { Outcome } from "@drover/shared/outcome";
import type { HostBreakers } from "@drover/shared/protocol/host-breakers";
import type { Keys } from "@drover/shared/protocol/keys";
import type { RedisAddress } from "@drover/shared/redis/address";
import type { Run } from "@drover/shared/run";
import type { CustomerKeyTexts } from "@drover/shared/storage/s3/object/customer-key";
import type { Redis } from "ioredis";
import type { RunEvents } from "./run-handle.js";

/**
 * Carries the files of a run in this process. The worker package implements it; this package does not depend
 * on it.
 */
export interface WorkerPool {
  /** Announces the number of open files. */
  expect(files: number): void;
  /**
   * Settles a file whose host was given up, without carrying it. @returns undefined if nothing was to settle.
   */
  endBlocked(job: TransferJob): Promise<Outcome | undefined>;
  /** The run was cancelled: aborts the files in progress. */
  cancel(): void;
  /** Stops in an orderly way: staged bytes are kept, unfinished files return to the queue. */
  stop(): Promise<void>;
}

/** Callbacks of a worker pool for its files. */
export interface WorkerPoolEvents extends Omit<RunEvents, "queued" | "endedBefore" | "sealed"> {
  /** The file was settled before: this delivery had nothing to do. */
  dropped(job: TransferJob): void;
  /** The run cannot continue. */
  failed(error: Error): void;
}

export interface WorkerPoolOptions {
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
  /** Whether to report the progress of each file. */
  live: boolean;
  events: WorkerPoolEvents;
}

export type StartWorkerPool = (options: WorkerPoolOptions) => WorkerPool;
