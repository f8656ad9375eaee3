import type { TransferJob } from "@drover/shared/job";
import type { BriefError, Outcome, RunCounts } from "@drover/shared/outcome";
import type { HostBreakers } from "@drover/shared/protocol/host-breakers";
import type { Run } from "@drover/shared/run";
import type { ListingError } from "@drover/shared/storage/listing-error";

/** Callbacks for the progress of a run's files. */
export interface RunEvents {
  /** That many more files were registered. */
  queued(files: number): void;
  /** That many files, which are registered too, had ended before this process took the run up. */
  endedBefore(files: number): void;
  /** Every source has been expanded. */
  sealed(): void;
  /** @param attempt counts the tries of the file, from 1. */
  started(job: TransferJob, attempt: number): void;
  /**
   * A file's bytes arrive. `progress` is updated in place, or told again at intervals: so for files of other threads,
   * whose start is told only if each file's progress is to be reported.
   */
  receiving(index: number, progress: { receivedBytes: number; sizeBytes: number | undefined }): void;
  /** The file is not settled and will be tried again later. */
  waiting(job: TransferJob): void;
  /** Try `attempt` failed; the next one begins in `delayMs`. */
  retrying(job: TransferJob, attempt: number, error: BriefError, delayMs: number): void;
  /** A file has ended. Told once for each. */
  settled(outcome: Outcome): void;
  /** A message for people, without secrets. */
  warn(message: string): void;
}

/**
 * How following a run ended.
 *
 * - `done`, `cancelled`: the run ended so.
 * - `incomplete`: a source could not be listed completely; the files found are carried, the run can be
 *   resumed.
 * - `interrupted`: nobody carries the run now; it can be resumed.
 * - `goes-on`: the run continues without its follower.
 * - `half-submitted`: not all of its files were submitted; it can be resumed.
 */
export type RunEnd = "done" | "cancelled" | "incomplete" | "interrupted" | "goes-on" | "half-submitted";

export interface RunResult {
  counts: RunCounts;
  end: RunEnd;
  /** Why the run is incomplete. */
  listing?: ListingError;
  /** Why nothing was removed although deletion was requested, or "". */
  deletionRefused: string;
  /** Why a cancelled run was cancelled by itself, or "". */
  stoppedBecause: string;
}

/** A submitted run, whoever carries its files. */
export interface RunHandle {
  readonly run: Run;
  /** What this process knows of blocked hosts. */
  readonly breakers: HostBreakers;
  /** Message for a person who asks the run to stop, or "". */
  readonly stopping: string;
  /**
   * Follows the run to its end.
   *
   * @param events called with everything that happens.
   * @param stop stops following in an orderly way before the run has ended.
   * @throws RunLostError if another process has taken the run; ForgottenError if Redis has lost too much of
   *   it.
   */
  follow(events: RunEvents, stop: AbortSignal): Promise<RunResult>;
}

const nothing = () => {};
/** For a run that nobody watches; `{ ...SILENT, settled }` for one of whose events only some are of interest. */
export const SILENT: RunEvents = {
  queued: nothing,
  endedBefore: nothing,
  sealed: nothing,
  started: nothing,
  receiving: nothing,
  waiting: nothing,
  retrying: nothing,
  settled: nothing,
  warn: nothing,
};
