import type { TransferJob } from "@drover/shared/job";
import type { Admitted } from "@drover/shared/protocol/admission";
import type { Precondition, WriteAttempt } from "../destinations/destination.js";
import type { RunContext } from "./context.js";
import type { Delivery, WorkFile } from "./delivery.js";
import type { Lease } from "./leases.js";
import { decodeResumeRecord, newResumeRecord, type ResumeRecord } from "./resume-record.js";

/** One attempt at one file, from its admission to the release of its lease. */
export class Attempt implements WriteAttempt {
  /** The record of earlier attempts' staging. */
  readonly noted: ResumeRecord | undefined;
  /** The record of this attempt's staging. */
  record: ResumeRecord;
  /**
   * Whether the staging of all predecessors is gone and none of them can change the destination any more. False as well once
   * this attempt could not remove its own.
   */
  fencedOff: boolean;
  must: Precondition | undefined;
  spares: WriteAttempt["spares"];

  constructor(
    readonly delivery: Delivery,
    readonly context: RunContext,
    readonly file: WorkFile,
    readonly admitted: Admitted,
    readonly lease: Lease,
  ) {
    this.noted = decodeResumeRecord(admitted.staged);
    this.record = newResumeRecord(admitted.fence, this.noted);
    this.fencedOff = admitted.predecessors.length === 0;
  }

  get job(): TransferJob {
    return this.delivery.job;
  }

  get expected() {
    return this.delivery.job.x;
  }

  get terms() {
    return this.context.terms;
  }

  get limiter() {
    return this.context.limiter;
  }

  get watchdog() {
    return this.context.watchdog;
  }

  /** Whether this is the file's last attempt. */
  get isLast(): boolean {
    return this.delivery.attempt >= this.context.terms.retries;
  }
}
