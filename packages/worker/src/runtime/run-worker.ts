import { TransferError } from "@drover/shared/errors";
import type { TransferJob } from "@drover/shared/job";
import type { Outcome } from "@drover/shared/outcome";
import { PROCESS_NAME } from "@drover/shared/process-name";
import { Admission } from "@drover/shared/protocol/admission";
import type { HostBreakers } from "@drover/shared/protocol/host-breakers";
import type { Keys } from "@drover/shared/protocol/keys";
import type { RunSpec } from "@drover/shared/run";
import { hostOf } from "@drover/shared/storage/registry";
import type { Redis } from "ioredis";
import type { RunContext } from "../attempt/context.js";
import { Leases } from "../attempt/leases.js";
import { openRunContext } from "../attempt/open-context.js";
import { settleUnadmitted } from "../attempt/settle.js";
import { BufferPool } from "../bytes/buffer-pool.js";
import { type FileEvents, Processor } from "../queue/processor.js";

/** What a carrier works on; plain data, so that it can be handed to a thread. */
export interface RunWork {
  runId: string;
  /** BullMQ queue. */
  queue: string;
  spec: RunSpec;
  /** The person's request headers. */
  headers: Record<string, string>;
  /** Files at once, in this carrier. */
  concurrency: number;
  /** This carrier's share of the run's limit. */
  bytesPerSecond: number | undefined;
  /** Its share of the memory for uploads. */
  uploadBytes: number;
}

export interface RunWorkerEvents extends FileEvents {
  /** A file's bytes come in; the record's count grows. */
  receiving(index: number, record: { receivedBytes: number; sizeBytes: number | undefined }): void;
}

export interface RunWorkerOptions {
  redis: Redis;
  keys: Keys;
  work: RunWork;
  breakers: HostBreakers;
  events: RunWorkerEvents;
  /** Errors that are none of a file's own. */
  onError(error: Error): void;
}

/** Everything that carries files of one run in one thread: the composition of this package. */
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

  /** Ends a file whose host was given up, without carrying it. */
  async endBlocked(job: TransferJob): Promise<Outcome | undefined> {
    const context = this.#context;
    const why = context.breakers.describe(hostOf(job.s, context.services));
    const error = new TransferError("breaker", why, { permanent: true });
    const delivery = { job, attempt: 0, sinceMs: Date.now(), releaseSlot() {} };
    const result = await settleUnadmitted(delivery, context, "blocked", error);
    return result.is === "settled" ? result.outcome : undefined;
  }

  /** Changes this carrier's share of the run: files at once, bytes per second, and memory for uploads. */
  limit(concurrency: number, bytesPerSecond: number | undefined, uploadBytes: number): void {
    this.#bufferPool.limit(uploadBytes);
    this.#context.limiter.bytesPerSecond = bytesPerSecond;
    this.#processor.limit(concurrency);
  }

  /** The run was cancelled: gives up the files that are on their way. */
  cancel(): void {
    this.#context.leases.cancelHeld(this.#context.runId);
  }

  /** Stops in order: what is staged is kept, what is unfinished goes back to the queue. */
  async stop(): Promise<void> {
    await this.#processor.stop();
    this.#context.leases.close();
    await this.#close();
  }
}
