import type { TransferJob } from "@drover/shared/job";
import type { BriefError, Outcome } from "@drover/shared/outcome";
import type { HostBreakers } from "@drover/shared/protocol/host-breakers";
import type { Run, RunCounts } from "@drover/shared/run";
import type { ListingError } from "@drover/shared/storage/listing-error";

/** What happens to the files of a run, for whoever follows it. */
export interface RunEvents {
  /** So many files more are on their way. */
  queued(files: number): void;
  /** Every source has been expanded. */
  sealed(): void;
  /** @param attempt counts the tries of the file, from 1. */
  started(job: TransferJob, attempt: number): void;
  /** A file's bytes come in; the count of `progress` grows. */
  receiving(index: number, progress: { receivedBytes: number; sizeBytes: number | undefined }): void;
  /** Not settled; will be taken up again. */
  waiting(job: TransferJob): void;
  /** Try `attempt` failed; the next one begins in `delayMs`. */
  retrying(job: TransferJob, attempt: number, error: BriefError, delayMs: number): void;
  /** A file has ended. Told once for each. */
  settled(outcome: Outcome): void;
  /** Something that a person should know, without secrets. */
  warn(message: string): void;
}

/**
 * How following a run ended.
 *
 * - `done`, `cancelled`: the run did.
 * - `incomplete`: a source could not be listed to its end; what was found is carried, the run can be resumed.
 * - `interrupted`: nobody carries it now; it can be resumed.
 * - `goes-on`: it is carried further without its follower.
 * - `half-submitted`: not all of its files were submitted; it can be resumed.
 */
export type RunEnd = "done" | "cancelled" | "incomplete" | "interrupted" | "goes-on" | "half-submitted";

export interface RunResult {
  counts: RunCounts;
  end: RunEnd;
  /** Why it is incomplete. */
  listing?: ListingError;
  /** Why nothing was removed although it was asked for, or "". */
  deletionRefused: string;
}

/** A run that was submitted, wherever its files are carried. */
export interface RunHandle {
  readonly run: Run;
  /** What this process knows of blocked hosts. */
  readonly breakers: HostBreakers;
  /** What a person is to be told when they ask it to stop, or "". */
  readonly stopping: string;
  /**
   * Sees the run through to its end.
   *
   * @param events told of all that happens meanwhile.
   * @param stop ends that in order, before the run has ended.
   * @throws RunLostError when another process has taken the run over; ForgottenError when Redis has lost too much of it.
   */
  follow(events: RunEvents, stop: AbortSignal): Promise<RunResult>;
}

const nothing = () => {};
/** For a run that nobody watches; `{ ...SILENT, settled }` for one of whose events only some are of interest. */
export const SILENT: RunEvents = {
  queued: nothing,
  sealed: nothing,
  started: nothing,
  receiving: nothing,
  waiting: nothing,
  retrying: nothing,
  settled: nothing,
  warn: nothing,
};
