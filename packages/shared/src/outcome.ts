import type { ErrorClass } from "./errors.js";

/** How a file ended. */
export const OUTCOMES = [
  "copied",
  "unchanged",
  "deleted",
  "failed",
  "blocked",
  "locked",
  "cancelled",
] as const;
export type OutcomeName = (typeof OUTCOMES)[number];

/** How the bytes at the destination were verified. `unverified`: not at all, not even by a length. */
export type VerifiedBy =
  | "sha256"
  | "repr-digest"
  | "content-digest"
  | "digest"
  | "content-md5"
  | "x-amz-checksum"
  | "etag"
  | "x-amz-meta"
  | "length"
  | "not-modified"
  | "catalog"
  | "unverified";

/** An error as it is shown and stored. */
export interface BriefError {
  class: ErrorClass;
  message: string;
}

/** What a two-way sync did with a path. */
export interface PairOutcome {
  /** `push`, `pull`, `delete-local`, `delete-remote`, or why nothing was done. */
  action: string;
  /** Whether both sides had been changed. */
  conflict: boolean;
  /** Where the version that was replaced or deleted is kept. */
  backup?: string;
  /** Names of conflict copies, relative to the sides. */
  copies?: string[];
}

/** The end of one file in one run, for people and programs. */
export interface Outcome {
  index: number;
  /** Without secrets; for a removed file, its name. */
  source: string;
  /** Absolute path, or `s3://bucket/key`; "" if there is none. */
  destination: string;
  /** Relative to the run's root. */
  name: string;
  outcome: OutcomeName;
  /** SHA-256 in hexadecimal; null if the file did not arrive. */
  checksum: string | null;
  /** Size of the file in bytes; 0 if it did not arrive. */
  bytes: number;
  verifiedBy: VerifiedBy | null;
  attempts: number;
  durationMs: number;
  /**
   * True if it was published without a condition, because the service or server supports none. A concurrent write of
   * another writer may have been overwritten.
   */
  unconditional?: true;
  /** True if permissions were asked for, or the source has some, and the destination does not keep all of them. */
  permissionsLost?: true;
  /** Version at the source, as the catalog has it. */
  version?: string;
  /** Number of the lease that it ended under. */
  fence?: string;
  /** What a two-way sync did with it. */
  pair?: PairOutcome;
  /** Name that it had at the destination before it was moved to its present one; nothing was transferred. */
  movedFrom?: string;
  error?: BriefError;
}

/** Whether an outcome counts as success. */
export function isSuccess(outcome: OutcomeName): boolean {
  return outcome === "copied" || outcome === "unchanged" || outcome === "deleted";
}

/** How many files of a run ended in which way. */
export interface RunCounts {
  /** Number of registered files. */
  files: number;
  settled: number;
  copied: number;
  unchanged: number;
  /** Files removed at the destination. */
  deleted: number;
  failed: number;
  blocked: number;
  locked: number;
  cancelled: number;
}

/** Number of files that ended successfully. */
export function successfulFiles(counts: RunCounts): number {
  return counts.copied + counts.unchanged + counts.deleted;
}
