import type { TransferError } from "@drover/shared/errors";
import type { TransferJob } from "@drover/shared/job";
import type { Outcome } from "@drover/shared/outcome";
import type { FileKeys } from "@drover/shared/protocol/admission";
import type { Trace } from "@drover/shared/tracing";

/** One delivery of a job by the queue. */
export interface Delivery {
  job: TransferJob;
  /** Number of this attempt, from 1. */
  attempt: number;
  /** Unix time in ms at which the file was first started. */
  sinceMs: number;
  /** Frees the concurrency slot when only settling is left. May be called more than once. */
  releaseSlot(): void;
  /** Notes the steps of the attempt. Absent where nobody traces. */
  trace?: Trace;
}

/** Result of one delivery. */
export type AttemptResult =
  | { is: "settled"; outcome: Outcome; blockedUntilMs: number }
  /**
   * The file was settled before: nothing was done. `outcome` is set if the file was open when this delivery
   * began.
   */
  | { is: "done"; outcome?: Outcome }
  | { is: "busy"; sameSource: boolean }
  | { is: "blocked"; waitMs: number }
  /** The host's limits are reached; the file may go after `waitMs`. */
  | { is: "wait"; waitMs: number }
  /** The attempt failed and another one may succeed. */
  | { is: "retry"; error: TransferError; blockedUntilMs: number }
  /** Returned to the queue in an orderly way, because this process stops. */
  | { is: "returned" };

/** The file of a job: its keys in Redis and what is derived from the job. */
export interface WorkFile extends FileKeys {
  /** The destination: an absolute path or `s3://bucket/key`. */
  path: string;
  sourceHash: string;
}
