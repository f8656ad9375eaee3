import { type ErrorClass, TransferError } from "@drover/shared/errors";
import type { VerifiedBy } from "@drover/shared/outcome";
import type { Admitted } from "@drover/shared/protocol/admission";
import type { CatalogEntry } from "@drover/shared/protocol/catalog-entry";
import type { Opened, Source, SourceEntry } from "@drover/shared/storage/source";
import type { WorkFile } from "../attempt/delivery.js";
import type { Lease } from "../attempt/leases.js";
import type { ResumeRecord } from "../attempt/resume-record.js";
import type { Terms } from "../attempt/terms.js";
import type { RateLimiter } from "../bytes/rate-limiter.js";
import type { StallWatchdog } from "../bytes/stall-watchdog.js";
import type { Evidence } from "../bytes/verify.js";

/** What a destination needs of the attempt that it serves. */
export interface WriteAttempt {
  readonly file: WorkFile;
  /** SHA-256 that the person gave, hexadecimal. */
  readonly expected: string | undefined;
  /** Who came before, and the catalog entry that is there. */
  readonly admitted: Pick<Admitted, "catalog" | "origin" | "predecessors">;
  /** Its key and fence are in the names of what is staged. */
  readonly lease: Lease;
  /** What is staged. Updated as bytes arrive, so that whoever comes after a failure knows. */
  readonly record: ResumeRecord;
  readonly terms: Terms;
  readonly limiter: RateLimiter;
  readonly watchdog: StallWatchdog;
}

/** What is at the destination before anything is asked of the source. */
export interface Before {
  /** The copy that is there, where the catalog or its own bytes vouch for it. */
  entry: CatalogEntry | undefined;
  /** Its version at the source, where that may be asked about; else "". */
  known: string;
  /** It is the very file that the person's checksum names. */
  expected: boolean;
}

/** What is known of a destination that is as its catalog entry says. */
export function vouchedFor(entry: CatalogEntry, { file, expected }: WriteAttempt): Before {
  const version = entry.source === file.sourceHash ? entry.version : "";
  if (expected === undefined) return { entry, known: version, expected: false };
  return { entry: { ...entry, version }, known: "", expected: entry.sha256 === expected };
}

export interface Received extends Evidence {
  /** What the file must measure, where the source says so of the bytes that are staged. */
  lengthBytes: number | undefined;
}

export interface Published {
  /** `unchanged`: the destination has these very bytes already, and was left alone. */
  outcome: "copied" | "unchanged";
  /** Of the destination, for the catalog. */
  stamp: string;
  /** What vouches for it now, where that is more than what vouched for the bytes as they came. */
  verifiedBy?: VerifiedBy;
  /** It was published under no condition, because the service takes none. */
  unconditional?: true;
}

export type OpenedBody = Extract<Opened, { is: "body" }>;

/** Where files go: one tree of a run. */
export interface Destination {
  close(): void;

  before(attempt: WriteAttempt): Promise<Before>;

  stage(attempt: WriteAttempt): Staging;

  /**
   * Removes a file, where it is there, once no earlier holder can change it any more.
   *
   * @param stamp it is left alone where it is not as this says.
   * @throws TransferError class `changed` where it is another one by now.
   */
  remove(attempt: WriteAttempt, stamp: string): Promise<void>;
}

/** Whether a predecessor may still run. Of one whose successor could not fence it off nobody knows. */
export function mayRun({ origin, predecessors }: WriteAttempt["admitted"]): boolean {
  const ended = origin === "dead" || origin === "released";
  return !ended || predecessors.length > 1;
}

/** What is at a destination is not what was found to be removed. */
export function changedMeanwhile(path: string): TransferError {
  const why = `${path} changed since it was found to be removed: it is left alone`;
  return new TransferError("changed", why, { permanent: true });
}

/** The staged bytes of one file: published whole or not at all. */
export interface Staging {
  /**
   * Makes sure that no earlier holder can publish, then takes over what it staged, where the run's terms allow it.
   *
   * @param noted what is known of it.
   * @param alive the predecessor may still run.
   * @returns whether the part is ours now.
   */
  adopt(predecessors: string[], noted: ResumeRecord | undefined, alive: boolean): boolean | Promise<boolean>;

  /**
   * Brings the bytes of an opened file here, hashing and counting on the way.
   *
   * @param source where more of the file can be asked for; undefined where the body is decoded on its way: then the
   *   entry's size and digest are not those of the bytes that come.
   */
  receive(opened: OpenedBody, source: Source | undefined): Promise<Received>;

  /** Puts what is staged in the destination's place while the lease is trusted, unless the same is there. */
  publish(received: Received, entry: SourceEntry): Promise<Published>;

  /** Whether what is staged is worth keeping for the next try, after an error of that class. */
  worthKeeping(after: ErrorClass | undefined): boolean;
  keep(): void;
  discard(): void | Promise<void>;
  close(): void;
}
