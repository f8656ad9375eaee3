import { TransferError } from "@drover/shared/errors";
import { hostOf, type TransferJob } from "@drover/shared/job";
import type { Outcome } from "@drover/shared/outcome";
import { PROCESS_NAME } from "@drover/shared/process-name";
import { Protocol } from "@drover/shared/protocol/admission";
import type { Gates } from "@drover/shared/protocol/host-breakers";
import type { Keys } from "@drover/shared/protocol/keys";
import type { RunSpec } from "@drover/shared/run";
import type { Redis } from "ioredis";
import type { Place } from "../attempt/context.js";
import { workFile } from "../attempt/delivery.js";
import { Leases } from "../attempt/leases.js";
import { openPlace } from "../attempt/open-context.js";
import type { Part } from "../attempt/resume-record.js";
import { settleFailed } from "../attempt/settle.js";
import { Budget } from "../bytes/buffer-pool.js";
import { type FileEvents, Processor } from "../queue/processor.js";

/** What a carrier works on; plain data, so that it can be handed to a thread. */
export interface CarrierWork {
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

export interface CarrierEvents extends FileEvents {
  receiving(job: TransferJob, part: Part): void;
}

/** Everything that carries files of one run in one thread: the composition of this package. */
export class Carrier {
  readonly #place: Place;
  readonly #budget: Budget;
  readonly #processor: Processor;
  readonly #close: () => Promise<void>;

  constructor(
    redis: Redis,
    keys: Keys,
    work: CarrierWork,
    private readonly gates: Gates,
    events: CarrierEvents,
    onError: (error: Error) => void,
  ) {
    this.#budget = new Budget(work.uploadBytes);
    const leases = new Leases(new Protocol(redis, keys, PROCESS_NAME, 0));
    const opened = openPlace({
      ...work,
      redis,
      keys,
      filesAtOnce: work.concurrency,
      leases,
      gates,
      budget: this.#budget,
      receiving: events.receiving,
      onError,
    });
    this.#place = opened.place;
    this.#close = opened.close;
    this.#processor = new Processor({
      queue: work.queue,
      prefix: keys.queuePrefix(),
      redis,
      concurrency: work.concurrency,
      leases,
      place: () => opened.place,
      events,
      queueEvents: "untold",
      onError,
    });
  }

  /** Ends a file whose host was given up, without carrying it. */
  async endBlocked(job: TransferJob): Promise<Outcome | undefined> {
    const error = new TransferError("breaker", this.gates.describe(hostOf(job.s, this.#place)), {
      permanent: true,
    });
    const delivery = { job, attempt: 0, sinceMs: Date.now(), through() {} };
    const keys = workFile(job, this.#place);
    const carried = await settleFailed(delivery, keys, undefined, error, this.#place, "blocked");
    return carried.is === "settled" ? carried.outcome : undefined;
  }

  /** Changes this carrier's share of the run: files at once, bytes per second, and memory for uploads. */
  limit(concurrency: number, bytesPerSecond: number | undefined, uploadBytes: number): void {
    this.#budget.limit(uploadBytes);
    this.#place.pace.bytesPerSecond = bytesPerSecond;
    this.#processor.limit(concurrency);
  }

  /** The run was cancelled: gives up the files that are on their way. */
  cancel(): void {
    this.#place.leases.cancelHeld(this.#place.runId);
  }

  /** Stops in order: what is staged is kept, what is unfinished goes back to the queue. */
  async stop(): Promise<void> {
    await this.#processor.stop();
    this.#place.leases.close();
    await this.#close();
  }
}
