import type { TransferJob } from "@drover/shared/job";
import type { Outcome } from "@drover/shared/outcome";
import type { HostBreakers } from "@drover/shared/protocol/host-breakers";
import type { Keys } from "@drover/shared/protocol/keys";
import type { RedisAddress } from "@drover/shared/redis/address";
import type { Run } from "@drover/shared/run";
import type { Redis } from "ioredis";
import type { RunEvents } from "./run-handle.js";

/** What carries the files of a run in this process. The worker package has one: this one does not know it. */
export interface WorkerPool {
  /** So many files are open. */
  expect(files: number): void;
  /** Ends a file whose host was given up, without carrying it. */
  endBlocked(job: TransferJob): Promise<Outcome | undefined>;
  /** The run was cancelled: gives up the files that are on their way. */
  cancel(): void;
  /** Stops in order: what is staged is kept, what is unfinished goes back to the queue. */
  stop(): Promise<void>;
}

/** What a worker pool tells of the files that it carries. */
export interface WorkerPoolEvents extends Omit<RunEvents, "queued" | "sealed"> {
  /** Was settled before: this delivery found nothing to do. */
  dropped(job: TransferJob): void;
  /** The run cannot go on. */
  failed(error: Error): void;
}

export interface WorkerPoolOptions {
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
  /** Somebody watches each file: what is on its way is told, too. */
  live: boolean;
  events: WorkerPoolEvents;
}

export type StartWorkerPool = (options: WorkerPoolOptions) => WorkerPool;
