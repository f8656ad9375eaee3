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

/** What vouches for the bytes at the destination. `unverified`: nothing did, not even a length. */
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

/** An error as it is shown and kept. */
export interface BriefError {
  class: ErrorClass;
  message: string;
}

/** The end of one file in one run, as people and machines see it. */
export interface Outcome {
  index: number;
  /** Without secrets; of a file that was removed, its name. */
  source: string;
  /** Absolute path, or `s3://bucket/key`; "" where there is none. */
  destination: string;
  /** Relative to the run's root. */
  name: string;
  outcome: OutcomeName;
  /** SHA-256 in hexadecimal, null where the file did not arrive. */
  checksum: string | null;
  /** Size of the file in bytes; 0 where it did not arrive. */
  bytes: number;
  verifiedBy: VerifiedBy | null;
  attempts: number;
  durationMs: number;
  /**
   * True where it was published under no condition, because the S3 service takes none: what another writer wrote in
   * the last moment would have been overwritten.
   */
  unconditional?: true;
  error?: BriefError;
}

/** Whether an outcome counts as success. */
export function isSuccess(outcome: OutcomeName): boolean {
  return outcome === "copied" || outcome === "unchanged" || outcome === "deleted";
}
