import { linkSync, lstatSync, rmSync } from "node:fs";
import { dirname, join } from "node:path";
import { errnoCode, fileError, TransferError } from "@drover/shared/errors";
import { failpoint } from "@drover/shared/failpoint";
import type { VerifiedBy } from "@drover/shared/outcome";
import type { Ancestor } from "@drover/shared/pair/ancestor";
import type { Side } from "@drover/shared/pair/decide";
import { fileLook, RACY_MS } from "@drover/shared/pair/local-side";
import { etagOfStamp, s3Stamp } from "@drover/shared/pair/s3-side";
import type { FileLook, Look } from "@drover/shared/pair/side";
import { statStamp } from "@drover/shared/protocol/catalog-entry";
import { digestOfFile } from "@drover/shared/storage/local/digest-of-file";
import { storageOf } from "@drover/shared/storage/registry";
import type { Source } from "@drover/shared/storage/source";
import type { Attempt } from "../attempt/attempt.js";
import type { WorkFile } from "../attempt/delivery.js";
import { receive } from "../bytes/receive.js";
import { verify } from "../bytes/verify.js";
import { mayRun, type Precondition, type Published, type WriteAttempt } from "../destinations/destination.js";
import type { Journal } from "./journal.js";
import type { PairContext, PairEnd } from "./pair-context.js";

/** One attempt at one path. */
export interface PathAttempt {
  attempt: Attempt;
  pair: PairContext;
  journal: Journal;
}

/** A version that is to be brought to the other side, to another name, or back from a backup. */
export interface Transfer {
  /** The side that it comes from; undefined for a backup, which nobody changes. */
  from: Side | undefined;
  to: Side;
  /** Where it is. */
  location: string;
  /** To be read from. Default: its location. */
  source?: Source | undefined;
  name: string;
  toName: string;
  /** The version that is copied. Of a backup its size alone is compared. */
  look: FileLook;
  /** What it replaces. */
  over: Exclude<Look, { is: "unknown" }>;
  /** Whether what it replaces is kept in the backup. */
  keeps: boolean;
  /** SHA-256 of the only version that may be published. Default: any. */
  checked?: string | undefined;
}

/** What a transfer brought about. */
export interface Transferred {
  outcome: "copied" | "unchanged";
  /** What both sides hold now, if the names are the same. */
  ancestor: Ancestor;
  verifiedBy: VerifiedBy;
  unconditional?: true | undefined;
  /** Where the version is kept that was replaced; "" for nowhere. */
  backup: string;
  /** The version that was replaced, where somebody wrote to it meanwhile. */
  late?: { sha256(): Promise<string>; moveTo(name: string): boolean };
}

/** Makes sure that no former holder of the lease writes to either side any more. */
export async function fenceOff(attempt: Attempt, { ends }: PairContext): Promise<void> {
  const { admitted, noted } = attempt;
  if (admitted.predecessors.length === 0) return;
  for (const end of Object.values(ends)) {
    const staging = end.keeping.stage(writing(attempt, end, attempt.job.d));
    try {
      await staging.adopt(admitted.predecessors, noted, mayRun(admitted));
      await staging.discard();
    } finally {
      staging.close();
    }
  }
  delete attempt.record.upload;
}

/**
 * Copies one version: open → stage → verify → note → publish. Nothing is published unless the source is still the version
 * that was decided by, and the destination what it is to replace.
 *
 * @throws TransferError class `changed` otherwise.
 */
export async function transfer(
  { attempt, pair, journal }: PathAttempt,
  plan: Transfer,
): Promise<Transferred> {
  const { context, job, lease } = attempt;
  const { from, to, location, name, toName, look, over, keeps } = plan;
  const side = from === undefined ? undefined : pair.sides[from];
  const end = pair.ends[to];
  const source = plan.source ?? (await context.source({ i: job.i, s: location, d: job.d }));
  // Whether its stamp can be trusted is told by a look before it is read.
  const before = !side || isS3(side.root) ? look : await side.look(name, lease.signal);
  if (before.is !== "file" || before.stamp !== look.stamp) throw otherVersion(location);
  const opened = await source.open("", lease.signal);
  if (opened.is !== "body") throw new Error("a file without a known version is opened");
  failpoint("open");
  const write = { to, name: toName, over, keeps, isCopy: name !== toName };
  const place = await journal.place(write);
  const ofSide = writing(attempt, end, toName, preconditionOf(over, end));
  const staging = place.destination.stage(ofSide);
  try {
    if (side && isS3(side.root) && opened.entry.strongEtag !== etagOfStamp(look.stamp))
      throw otherVersion(location);
    const { strongEtag, version, sizeBytes } = opened.entry;
    Object.assign(attempt.record, { version, strongEtag, sizeBytes });
    context.receiving?.(job, attempt.record);
    const received = await receive(ofSide, source, opened, staging);
    failpoint("stage");
    // A service, or what is between, may end the bytes early and tell their number for the length.
    if (received.sizeBytes !== look.sizeBytes)
      throw new TransferError(
        "truncated",
        `got ${received.sizeBytes} of ${look.sizeBytes} bytes of ${location}`,
        {
          verdict: "fail",
        },
      );
    if ((plan.checked ?? received.sha256) !== received.sha256)
      throw new TransferError(
        "checksum",
        `${location} was edited after it was checked: the next sync checks it`,
        {
          permanent: true,
          verdict: "ok",
        },
      );
    const verifiedBy = verify(received, opened.entry, received.lengthBytes, undefined);
    if (side && !isS3(side.root)) {
      const now = await side.look(name, lease.signal);
      if (now.is !== "file" || now.stamp !== look.stamp) throw otherVersion(location);
    }
    await journal.note(write, place, received.sha256);
    failpoint("noted");
    const published = await staging.publish(received, opened.entry);
    if (published.outcome === "copied") failpoint("committed");
    const written = writtenOf(end, published, received.sizeBytes, toName);
    const read = { stamp: before.racy ? "" : look.stamp, mode: look.mode ?? opened.entry.mode };
    const [local, remote] = to === "remote" ? [read, written] : [written, read];
    return {
      outcome: published.outcome,
      verifiedBy,
      backup: place.backup,
      unconditional: published.unconditional,
      ...(published.late === undefined ? {} : { late: lateOf(end, toName, published.late) }),
      ancestor: {
        sha256: received.sha256,
        sizeBytes: received.sizeBytes,
        ...(local.mode === undefined ? {} : { mode: local.mode }),
        ...(remote.mode === undefined ? {} : { remoteMode: remote.mode }),
        local: local.stamp,
        remote: remote.stamp,
      },
    };
  } catch (error) {
    opened.body.abort(error instanceof Error ? error : new Error(String(error)));
    await discardQuietly(staging);
    throw error;
  } finally {
    staging.close();
  }
}

/** The first error tells more than one of cleaning up; what stays is found by the fence of the lease. */
async function discardQuietly(staging: { discard(): void | Promise<void> }): Promise<void> {
  try {
    await staging.discard();
  } catch (failed) {
    if (!(failed instanceof TransferError)) throw failed;
  }
}

/** Removes one version of a side. @returns where it is kept; "" for nowhere. @throws TransferError class `changed` if it has another. */
export async function removeFrom(
  { attempt, pair, journal }: PathAttempt,
  { to, name, look, keeps }: { to: Side; name: string; look: FileLook; keeps: boolean },
): Promise<string> {
  const end = pair.ends[to];
  const write = { to, name, over: look, keeps, isCopy: false };
  const place = await journal.place(write);
  await journal.note(write, place, "");
  failpoint("noted");
  const stamp = writtenStamp(look.stamp, end);
  // An object's DELETE has its condition by the stamp.
  const must = isS3(end.tree.root) ? undefined : preconditionOf(look, end);
  await place.destination.remove(writing(attempt, end, name, must), stamp);
  return place.backup;
}

/** The attempt, as one that writes to one side. */
function writing(attempt: Attempt, end: PairEnd, name: string, must?: Precondition): WriteAttempt {
  const { lease, record, limiter, watchdog, admitted, context } = attempt;
  const file: WorkFile = { ...attempt.file, tree: end.tree.id, name, path: end.tree.path(name) };
  const { origin, predecessors } = admitted;
  return {
    file,
    expected: undefined,
    admitted: { catalog: Buffer.alloc(0), origin, predecessors },
    lease,
    record,
    terms: { ...context.terms, resume: false },
    limiter,
    watchdog,
    must,
  };
}

function preconditionOf(over: Transfer["over"], end: PairEnd): Precondition {
  if (over.is === "absent") return over;
  const whole = isS3(end.tree.root) ? {} : { whole: over.stamp };
  return { is: "version", stamp: writtenStamp(over.stamp, end), ...whole };
}

function isS3(root: string): boolean {
  return storageOf(root).name === "s3";
}

/** The stamp by which a destination knows a version: an ETag, or a stamp without the time of change, which moves. */
function writtenStamp(stamp: string, { tree }: PairEnd): string {
  return isS3(tree.root) ? etagOfStamp(stamp) : stamp.split(":").slice(0, 3).join(":");
}

/** Stamp ("" where it cannot be trusted) and permissions of what was written. */
function writtenOf(
  { tree }: PairEnd,
  published: Published,
  sizeBytes: number,
  name: string,
): { stamp: string; mode: number | undefined } {
  if (isS3(tree.root)) return { stamp: s3Stamp(sizeBytes, published.stamp), mode: undefined };
  const stat =
    published.stat ??
    (published.outcome === "unchanged"
      ? lstatSync(tree.path(name), { bigint: true, throwIfNoEntry: false })
      : undefined);
  // Somebody may have edited it since it was compared.
  if (!stat?.isFile() || statStamp(stat) !== published.stamp) return { stamp: "", mode: undefined };
  const { stamp, mtimeMs, mode } = fileLook(stat, Number(stat.ctimeMs));
  // Its time was set: an edit in the same tick would show by the time, unless that is of this moment itself.
  const isRacy = Math.abs(Number(stat.ctimeMs) - mtimeMs) < RACY_MS;
  return { stamp: isRacy ? "" : stamp, mode };
}

function lateOf({ tree }: PairEnd, name: string, late: string): NonNullable<Transferred["late"]> {
  const path = join(dirname(tree.path(name)), late);
  return {
    sha256: () => digestOfFile(path, "sha256"),
    moveTo(copy) {
      try {
        linkSync(path, tree.path(copy));
      } catch (error) {
        if (errnoCode(error) === "EEXIST") return false;
        throw fileError(error, `keep what was written to ${tree.path(name)} meanwhile`);
      }
      rmSync(path);
      return true;
    },
  };
}

function otherVersion(location: string): TransferError {
  return new TransferError("changed", `${location} is another version by now`, { verdict: "ok" });
}
