import type { TransferError } from "@drover/shared/errors";
import type { TransferJob } from "@drover/shared/job";
import type { Outcome } from "@drover/shared/outcome";
import type { FileKeys } from "@drover/shared/protocol/admission";

/** One delivery of a job. */
export interface Delivery {
  job: TransferJob;
  /** This try's number, from 1. */
  attempt: number;
  /** When the file was first taken up (Unix ms). */
  sinceMs: number;
  /** Nothing but settling is left: another file may take this one's place. May be called more than once. */
  releaseSlot(): void;
}

/** What became of one delivery. */
export type AttemptResult =
  | { is: "settled"; outcome: Outcome; blockedUntilMs: number }
  /** Settled before: nothing was done. With an outcome where it was open when this delivery began. */
  | { is: "done"; outcome?: Outcome }
  | { is: "busy"; sameSource: boolean }
  | { is: "blocked"; waitMs: number }
  /** Its host is asked enough at the moment: its turn is then. */
  | { is: "wait"; waitMs: number }
  /** Worth another try. */
  | { is: "retry"; error: TransferError; blockedUntilMs: number }
  /** Given back in order, because this process stops. */
  | { is: "returned" };

/** A file at work: its keys in Redis, and what is derived from its job. */
export interface WorkFile extends FileKeys {
  /** Where the destination is: an absolute path, or `s3://bucket/key`. */
  path: string;
  sourceHash: string;
}
