import type { BigIntStats } from "node:fs";
import { type ErrorClass, TransferError } from "@drover/shared/errors";
import type { FileFacts } from "@drover/shared/leave";
import type { VerifiedBy } from "@drover/shared/outcome";
import type { Permissions } from "@drover/shared/permissions";
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

/** What a destination needs to know about the attempt that writes to it. */
export interface WriteAttempt {
  readonly file: WorkFile;
  /** The SHA-256 that the user gave, hexadecimal. */
  readonly expected: string | undefined;
  /** Former holders of the lease, and the encoded catalog entry. */
  readonly admitted: Pick<Admitted, "catalog" | "origin" | "predecessors">;
  /** The names of staged files contain its key and fence. */
  readonly lease: Lease;
  /** What is staged. It is updated as bytes arrive, so that the next attempt knows after a failure. */
  readonly record: ResumeRecord;
  readonly terms: Terms;
  readonly limiter: RateLimiter;
  readonly watchdog: StallWatchdog;
  /**
   * What the destination must be for the write to take place: nothing, or the version with this stamp. Absent: whatever it
   * is compared with.
   */
  readonly must?: Precondition | undefined;
  /** Whether a file that is found at the destination is left as it is. Default: none is. */
  readonly spares?: ((there: FileFacts) => Promise<boolean>) | undefined;
}

/**
 * A condition on what is at a destination. A stamp is as in the catalog: see CatalogEntry.stamp. `whole` is that of a local
 * file with the time of its last change (ns) too, `size:mtime:inode:ctime`, which tells of edits that keep size and time.
 */
export type Precondition = { is: "absent" } | { is: "version"; stamp: string; whole?: string };

/** What is at the destination before the source is asked. */
export interface Before {
  /** The copy at the destination, if the catalog or its own bytes vouch for it. */
  entry: CatalogEntry | undefined;
  /** Its version at the source, for a conditional request; "" if none may be sent. */
  known: string;
  /** Whether it is the file that the checksum of the user names. */
  expected: boolean;
}

/** What is known about a destination that matches its catalog entry. */
export function vouchedFor(entry: CatalogEntry, { file, expected }: WriteAttempt): Before {
  const version = entry.source === file.sourceHash ? entry.version : "";
  if (expected === undefined) return { entry, known: version, expected: false };
  return { entry: { ...entry, version }, known: "", expected: entry.sha256 === expected };
}

/** What was staged. */
export interface Received extends Evidence {
  /** The size that the staged bytes must have; undefined if the source does not say. */
  lengthBytes: number | undefined;
}

/** How a publication ended. */
export interface Published {
  /** `unchanged`: the destination had the same bytes already and was left alone. */
  outcome: "copied" | "unchanged";
  /** Identifies the version that the destination has now. It goes to the catalog. */
  stamp: string;
  /** What vouches for it now, if that is more than what vouched for the bytes as they came. */
  verifiedBy?: VerifiedBy;
  /** It was published without a condition, because the service supports none. */
  unconditional?: true;
  /** Its source has permissions, and the destination keeps none. */
  permissionsLost?: true;
  /** The published file, where it is a local one and nobody has touched it since. */
  stat?: BigIntStats;
  /**
   * Name, in the same directory, of the version that was replaced, where somebody wrote to it while it was. Whoever asked for
   * a {@link WriteAttempt.must} must take care of it.
   */
  late?: string;
  /** Owner and grants came with it. */
  hasAccess?: true;
}

/** What a destination keeps of the permissions that it was given. */
export interface KeptPermissions {
  /** Whether all of them are kept. */
  all: boolean;
  /** Stamp of the file now, if that is another. */
  stamp?: string;
}

/** A file that is to be moved. */
export interface FormerFile {
  /** Its lease and its predecessors are those of its present name. */
  attempt: WriteAttempt;
  entry: CatalogEntry;
}

/** A file that was moved. */
export interface Moved {
  stamp: string;
  /** The step was not bound to what it replaced, because the server supports no conditions. */
  unconditional?: true;
}

/** An opened source whose bytes are to be copied. */
export type OpenedBody = Extract<Opened, { is: "body" }>;

/** Why a worker must not write below a root; undefined if it may. */
export type Refuse = (root: string) => TransferError | undefined;

/** The destination of one run: a tree that files are written to. All methods throw TransferError. */
export interface Destination {
  /** Ends what goes on in the background, such as sweeps. */
  close(): void;

  /** Looks at what is there. */
  before(attempt: WriteAttempt): Promise<Before>;

  /**
   * Looks at the file that is there, whatever the catalog says. It may be a link.
   *
   * @returns undefined if there is none, also if something else has its name.
   */
  look(attempt: WriteAttempt): Promise<FileFacts | undefined>;

  /** Makes the staging of an attempt. Nothing is written yet. */
  stage(attempt: WriteAttempt): Staging;

  /**
   * Gives a file that is as the catalog has it other permissions. Absent where files are published with theirs alone.
   *
   * @param entry of the file in the catalog.
   */
  permit?(attempt: WriteAttempt, permissions: Permissions, entry: CatalogEntry): Promise<KeptPermissions>;

  /**
   * Moves a file of the destination to the name of the attempt's, where that is one step, or several that may be repeated,
   * and replaces only what the catalog has. What has been moved already is done with. Absent where nothing is moved.
   *
   * @param former the file under its former name, as the catalog has it.
   * @returns undefined where it is not to be moved, and is where it was: it is to be copied.
   */
  move?(attempt: WriteAttempt, former: FormerFile): Promise<Moved | undefined>;

  /**
   * Removes a file once no former holder of the lease can change it any more. If the run has a backup, the file is kept
   * there first. Does nothing if there is no file.
   *
   * @param stamp of the version to remove.
   * @throws TransferError class `changed` if the destination has another version, which stays.
   */
  remove(attempt: WriteAttempt, stamp: string): Promise<void>;
}

/**
 * Whether a predecessor may still run. If there are several, some were not fenced off, and nobody knows about those.
 */
export function mayRun({ origin, predecessors }: WriteAttempt["admitted"]): boolean {
  const ended = origin === "dead" || origin === "released";
  return !ended || predecessors.length > 1;
}

/** The error for a destination that has another version than the one to remove. */
export function changedMeanwhile(path: string): TransferError {
  const why = `${path} changed since it was found to be removed: it is left alone`;
  return new TransferError("changed", why, { permanent: true });
}

/** The error for a destination that is not what it must be. Whoever set the condition decides anew. */
export function notAsItMustBe(path: string): TransferError {
  const why = `${path} is not the version any more that was to be replaced`;
  return new TransferError("changed", why, { verdict: "ok" });
}

/** The staged bytes of one file. They are published whole or not at all. All methods throw TransferError. */
export interface Staging {
  /**
   * Makes sure that no former holder of the lease can publish. Then takes over what the last one staged, if the terms
   * of the run allow it.
   *
   * @param predecessors fences of the former holders.
   * @param noted what is known about the staged bytes.
   * @param alive whether a predecessor may still run.
   * @returns whether the staged bytes are ours now.
   */
  adopt(predecessors: string[], noted: ResumeRecord | undefined, alive: boolean): boolean | Promise<boolean>;

  /**
   * Stages the bytes of an opened file. They are hashed and counted on the way.
   *
   * @param source gives more of the file. Undefined if the body is decoded on its way: then the size and the digest in
   *   the entry are not those of the bytes that come.
   */
  receive(opened: OpenedBody, source: Source | undefined): Promise<Received>;

  /**
   * Replaces the destination by what is staged, while the lease is trusted. Leaves it alone if it has the same bytes.
   *
   * @throws TransferError class `locked` if a successor has fenced this attempt off, `changed` if another writer has
   *   changed the destination and it may not be replaced.
   */
  publish(received: Received, entry: SourceEntry): Promise<Published>;

  /**
   * Whether what is staged is worth keeping for the next attempt.
   *
   * @param after class of the error that ended this one; undefined if it was stopped.
   */
  worthKeeping(after: ErrorClass | undefined): boolean;
  /** Leaves what is staged to the next attempt. */
  keep(): void;
  /** Drops what is staged. */
  discard(): void | Promise<void>;
  /** Frees resources of this process. Staged bytes stay, unless they were discarded. */
  close(): void;
}
