import { TransferError } from "@drover/shared/errors";
import type { TransferJob } from "@drover/shared/job";
import type { Outcome } from "@drover/shared/outcome";
import { PROCESS_NAME } from "@drover/shared/process-name";
import { Admission } from "@drover/shared/protocol/admission";
import type { HostBreakers } from "@drover/shared/protocol/host-breakers";
import type { Keys } from "@drover/shared/protocol/keys";
import type { RunSpec } from "@drover/shared/run";
import { hostOf } from "@drover/shared/storage/registry";
import type { CustomerKeyTexts } from "@drover/shared/storage/s3/object/customer-key";
import type { Redis } from "ioredis";
import type { RunContext } from "../attempt/context.js";
import { Leases } from "../attempt/leases.js";
import { settleUnadmitted } from "../attempt/settle.js";
import { BufferPool } from "../bytes/buffer-pool.js";
import { type FileEvents, Processor } from "../queue/processor.js";
import { openRunContext } from "./open-context.js";

/** The work of a {@link RunWorker}; plain data, so that it can be sent to a thread. */
export interface RunWork {
  runId: string;
  /** Name of the BullMQ queue. */
  queue: string;
  spec: RunSpec;
  /** The user's request headers. */
  headers: Record<string, string>;
  /** Keys of the user that objects are encrypted with. */
  customerKeys?: CustomerKeyTexts | undefined;
  /** Files at once, in this thread. */
  concurrency: number;
  /** This thread's share of the run's limit. */
  bytesPerSecond: number | undefined;
  /** This thread's share, in bytes, of the memory for uploads. */
  uploadBytes: number;
}

export interface RunWorkerEvents extends FileEvents {
  /** A file's bytes arrive. `record` is updated in place. */
  receiving(index: number, record: { receivedBytes: number; sizeBytes: number | undefined }): void;
}

export interface RunWorkerOptions {
  redis: Redis;
  keys: Keys;
  work: RunWork;
  breakers: HostBreakers;
  events: RunWorkerEvents;
  /** Called with errors that are not a file's own. */
  onError(error: Error): void;
}

/** Carries files of one run in one thread. Wires up the components of this package. */
export class RunWorker {
  readonly #context: RunContext;
  readonly #bufferPool: BufferPool;
  readonly #processor: Processor;
  readonly #close: () => Promise<void>;

  constructor(options: RunWorkerOptions) {
    const { redis, keys, work, breakers, events, onError } = options;
    this.#bufferPool = new BufferPool(work.uploadBytes);
    const leases = new Leases(new Admission(redis, keys, PROCESS_NAME, 0));
    const opened = openRunContext({
      ...work,
      redis,
      keys,
      filesAtOnce: work.concurrency,
      leases,
      breakers,
      bufferPool: this.#bufferPool,
      receiving: (job, record) => events.receiving(job.i, record),
      onError,
    });
    this.#context = opened.context;
    this.#close = opened.close;
    this.#processor = new Processor({
      queue: work.queue,
      prefix: keys.queuePrefix(),
      redis,
      concurrency: work.concurrency,
      leases,
      context: () => opened.context,
      events,
      queueEvents: "suppressed",
      onError,
    });
  }

  /** Settles a file whose host was given up, without carrying it. */
  async endBlocked(job: TransferJob): Promise<Outcome | undefined> {
    const context = this.#context;
    const why = context.breakers.describe(hostOf(job.s, context.services));
    const error = new TransferError("breaker", why, { permanent: true });
    const delivery = { job, attempt: 0, sinceMs: Date.now(), releaseSlot() {} };
    const result = await settleUnadmitted(delivery, context, "blocked", error);
    return result.is === "settled" ? result.outcome : undefined;
  }

  /**
   * Changes this thread's share of the run: files at once, bytes per second, and bytes of memory for uploads.
   */
  limit(concurrency: number, bytesPerSecond: number | undefined, uploadBytes: number): void {
    this.#bufferPool.limit(uploadBytes);
    this.#context.limiter.bytesPerSecond = bytesPerSecond;
    this.#processor.limit(concurrency);
  }

  /** The run was cancelled: aborts the files in progress. */
  cancel(): void {
    this.#context.leases.cancelHeld(this.#context.runId);
  }

  /** Stops in an orderly way: staged bytes are kept, unfinished files return to the queue. */
  async stop(): Promise<void> {
    await this.#processor.stop();
    this.#context.leases.close();
    await this.#close();
  }
}
