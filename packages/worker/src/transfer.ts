import { type CatalogEntry, decodeCatalog, encodeCatalog, statStamp } from "@drover/shared/catalog";
import { messageOf, TransferError, type Verdict } from "@drover/shared/errors";
import { faultPoint } from "@drover/shared/fault";
import { shortHash } from "@drover/shared/ids";
import { hostOf, jobId, type TransferJob } from "@drover/shared/job";
import type { Outcome, VerifiedBy } from "@drover/shared/outcome";
import { isProcessDead, PROCESS_NAME } from "@drover/shared/process-name";
import { type Admitted, type FileKeys, flightHash } from "@drover/shared/protocol";
import type { Opened } from "@drover/shared/storage/source";
import { sha256OfFile } from "./hash-file.js";
import { type Lease, lost, now } from "./leases.js";
import { decodePart, encodePart, type Part, WORTH_RESUMING_BYTES } from "./part.js";
import type { Place } from "./place.js";
import { receive } from "./receive.js";
import { Staging } from "./staging.js";
import { verify } from "./verify.js";

/** One delivery of a job. */
export interface Delivery {
  job: TransferJob;
  /** Counts deliveries of this job: with the job's id it names this one. */
  started: number;
  /** This try's number, from 1. */
  attempt: number;
  /** When the file was first taken up (Unix ms). */
  sinceMs: number;
}

/** What became of one delivery. */
export type Carried =
  | { is: "settled"; outcome: Outcome; blockedUntilMs: number }
  /** Settled before: nothing was done. */
  | { is: "done" }
  | { is: "busy"; sameSource: boolean }
  | { is: "blocked"; waitMs: number }
  /** Worth another try. */
  | { is: "retry"; error: TransferError; blockedUntilMs: number }
  /** Given back in order, because this process stops. */
  | { is: "returned" };

/** The signal's reason when this process stops: what is staged is kept and the file goes back to the queue. */
export class StoppingError extends Error {
  override name = "StoppingError";
}

/**
 * The way of one file: admit → open → stage → verify → commit → settle.
 * Whatever happens, the destination has its old content or the new one, whole, and the lease goes back.
 */
export async function carry(delivery: Delivery, place: Place): Promise<Carried> {
  const { job } = delivery;
  const file = workFile(job, place);
  const askedAt = now();
  const answer = await admit(delivery, file, place);
  if (answer.is === "done" || answer.is === "blocked") return answer;
  if (answer.is === "busy") return { is: "busy", sameSource: answer.sourceHash === file.sourceHash };
  if (answer.is === "cancelled") {
    const error = new TransferError("cancelled", "cancelled", { permanent: true });
    return settleFailed(delivery, file, undefined, error, place, "cancelled");
  }
  faultPoint("admit");

  const lease = place.leases.hold(file.lease, answer.fence, askedAt);
  const noted = decodePart(answer.staged);
  const part: Part = {
    fence: answer.fence,
    version: "",
    strongEtag: "",
    sizeBytes: undefined,
    contiguousBytes: 0,
    pieces: [],
    receivedBytes: 0,
    mismatches: noted?.mismatches ?? 0,
  };
  let staging: Staging | undefined;
  let fencedOff = answer.predecessors.length === 0;
  let body: Extract<Opened, { is: "body" }> | undefined;
  try {
    if (!fencedOff) {
      // Before anything else: no predecessor may publish once this try has found out anything.
      staging = Staging.at(place.tree, job.d, lease);
      const resumable = place.terms.resume && noted?.strongEtag ? noted : undefined;
      if (staging.adopt(answer.predecessors, resumable, answer.origin === "expired") && resumable) {
        Object.assign(part, resumable, { fence: answer.fence });
        lease.note = encodePart(part);
      }
      fencedOff = true;
    }
    const before = await destinationBefore(job, file, answer, place);
    if (before.expected) {
      staging?.discardFile();
      return await settle(
        delivery,
        file,
        answer,
        "unchanged",
        before.entry as CatalogEntry,
        "sha256",
        "none",
        place,
      );
    }

    const source = await place.source(job);
    const opened = await open(source, part, before.known, lease);
    faultPoint("open");
    if (opened.is === "unchanged") {
      staging?.discardFile();
      return await settle(
        delivery,
        file,
        answer,
        "unchanged",
        before.entry as CatalogEntry,
        "not-modified",
        "ok",
        place,
      );
    }
    body = opened;
    staging ??= Staging.at(place.tree, job.d, lease);
    await place.tree.sweep(staging.directory);
    Object.assign(part, {
      version: opened.entry.version,
      strongEtag: opened.entry.strongEtag,
      sizeBytes: opened.entry.sizeBytes,
    });
    place.receiving?.(job, part);
    const received = await receive(source, opened, job.d, staging, part, lease, place);
    faultPoint("stage");

    const verifiedBy = verify(received, opened.entry, received.lengthBytes, job.x);
    faultPoint("verify");

    const entry: CatalogEntry = {
      source: file.sourceHash,
      version: opened.entry.version,
      sha256: received.sha256,
      stamp: "",
      sizeBytes: received.sizeBytes,
    };
    const same = await sameAsDestination(file, received.sizeBytes, received.sha256, place);
    if (same !== undefined) {
      staging.discardFile();
      return await settle(
        delivery,
        file,
        answer,
        "unchanged",
        { ...entry, stamp: same },
        verifiedBy,
        "ok",
        place,
      );
    }
    entry.stamp = await staging.commit(opened.entry, place.terms.durable, () => faultPoint("commit"));
    faultPoint("committed");
    return await settle(delivery, file, answer, "copied", entry, verifiedBy, "ok", place);
  } catch (thrown) {
    const error = asTransferError(thrown, lease);
    body?.body.abort(error);
    return await failed(delivery, file, answer, lease, staging, part, error, fencedOff, place);
  } finally {
    place.leases.drop(lease);
    staging?.close();
  }
}

/** A file at work: its keys in Redis, and what is derived from its job. */
export interface WorkFile extends FileKeys {
  /** Absolute path of the destination. */
  path: string;
  sourceHash: string;
}

export function workFile(job: TransferJob, place: Place): WorkFile {
  const path = place.tree.path(job.d);
  return {
    runId: place.runId,
    flight: flightHash(place.runId, job.s, job.d, job.g ?? 0),
    lease: shortHash(path),
    tree: place.tree.id,
    name: job.d,
    host: hostOf(job.s),
    path,
    sourceHash: sourceHash(job),
  };
}

/** Identifies a source in leases and in the catalog. Signatures and passwords do not count: they change. */
export function sourceHash(job: TransferJob): string {
  return shortHash(job.s);
}

/** Takes the lease. A holder that died is taken over at once, where that can be known. */
async function admit(delivery: Delivery, file: WorkFile, place: Place) {
  const request = {
    ...file,
    // A resumed run has a new queue, in which the deliveries are counted anew: the process tells them apart.
    delivery: `${PROCESS_NAME}:${jobId(place.runId, delivery.job.i, delivery.job.g)}:${delivery.started}`,
  };
  const answer = await place.protocol.admit(request);
  if (answer.is !== "busy" || !isProcessDead(answer.owner)) return answer;
  return place.protocol.admit({ ...request, deadFence: answer.fence });
}

/** What is at the destination. */
interface Before {
  /** The copy that is there, where the catalog or its own bytes vouch for it. */
  entry: CatalogEntry | undefined;
  /** Its version at the source, where that may be asked about; else "". */
  known: string;
  /** It is the very file that the person's checksum names. */
  expected: boolean;
}

async function destinationBefore(
  job: TransferJob,
  file: WorkFile,
  admitted: Admitted,
  place: Place,
): Promise<Before> {
  const nothing: Before = { entry: undefined, known: "", expected: false };
  const entry = decodeCatalog(admitted.catalog);
  if (!entry && job.x === undefined) return nothing;
  const stat = place.tree.stat(file.path);
  if (!stat?.isFile()) return nothing;
  if (entry && entry.stamp === statStamp(stat)) {
    const sameSource = entry.source === file.sourceHash;
    if (job.x === undefined) return { entry, known: sameSource ? entry.version : "", expected: false };
    const version = sameSource ? entry.version : "";
    return { entry: { ...entry, version }, known: "", expected: entry.sha256 === job.x };
  }
  if (job.x === undefined) return nothing;
  const sha256 = await sha256OfFile(file.path);
  if (sha256 !== job.x) return nothing;
  const found = { source: "", version: "", sha256, stamp: statStamp(stat), sizeBytes: Number(stat.size) };
  return { entry: found, known: "", expected: true };
}

/** Opens the source: the rest of it where a part is here, else the whole, unless it is the version we have. */
async function open(
  source: Awaited<ReturnType<Place["source"]>>,
  part: Part,
  known: string,
  lease: Lease,
): Promise<Opened> {
  if (part.contiguousBytes === 0) return source.open(known, lease.signal);
  if (part.contiguousBytes === part.sizeBytes) {
    part.contiguousBytes = 0; // complete but not committed: a range behind its end would be refused (416)
    part.pieces = [];
    return source.open(known, lease.signal);
  }
  try {
    const entry = {
      sizeBytes: part.sizeBytes,
      version: part.version,
      strongEtag: part.strongEtag,
      mtimeMs: undefined,
      framed: true,
      ranges: true,
      encoding: "",
      digest: undefined,
    };
    const opened = await source.openRange(entry, part.contiguousBytes, undefined, lease.signal);
    if (opened.is === "body" && opened.offset === part.contiguousBytes) return opened;
    part.contiguousBytes = 0;
    part.pieces = [];
    return opened;
  } catch (error) {
    if (!(error instanceof TransferError) || error.class !== "changed") throw error;
    part.contiguousBytes = 0;
    part.pieces = [];
    return source.open(known, lease.signal);
  }
}

/** The destination's stamp when it has these very bytes already: then it is left alone, its mtime too. */
async function sameAsDestination(
  file: WorkFile,
  sizeBytes: number,
  sha256: string,
  place: Place,
): Promise<string | undefined> {
  const stat = place.tree.stat(file.path);
  if (!stat?.isFile() || Number(stat.size) !== sizeBytes) return undefined;
  return (await sha256OfFile(file.path)) === sha256 ? statStamp(stat) : undefined;
}

async function settle(
  delivery: Delivery,
  file: WorkFile,
  admitted: Admitted,
  outcome: "copied" | "unchanged",
  entry: CatalogEntry,
  verifiedBy: VerifiedBy,
  verdict: Verdict,
  place: Place,
): Promise<Carried> {
  const catalog = encodeCatalog({ ...entry, source: file.sourceHash });
  const answer = await place.protocol.settle({
    ...file,
    fence: admitted.fence,
    index: delivery.job.i,
    outcome,
    bytes: entry.sizeBytes,
    failure: "",
    catalog: catalog === admitted.catalog ? "" : catalog,
    verdict,
    epoch: admitted.epoch,
    rules: place.terms.rules,
    retryAfterMs: 0,
    openBreaker: false,
    keepLease: false,
  });
  faultPoint("settled");
  if (answer.is === "stale") return { is: "retry", error: lost(), blockedUntilMs: 0 };
  if (answer.is === "already") return { is: "done" };
  place.arrived(delivery.job);
  return {
    is: "settled",
    blockedUntilMs: 0,
    outcome: {
      ...outcomeBase(delivery, file),
      outcome,
      checksum: entry.sha256,
      bytes: entry.sizeBytes,
      verifiedBy,
    },
  };
}

function outcomeBase(delivery: Delivery, file: WorkFile) {
  return {
    index: delivery.job.i,
    source: delivery.job.s,
    destination: file.path,
    name: delivery.job.d,
    attempts: delivery.attempt,
    durationMs: Date.now() - delivery.sinceMs,
  };
}

/** After an error: the staged part is kept for the next try or removed, the lease goes back, and the file is retried or settled. */
async function failed(
  delivery: Delivery,
  file: WorkFile,
  admitted: Admitted,
  lease: Lease,
  staging: Staging | undefined,
  part: Part,
  thrown: TransferError | StoppingError,
  fencedOff: boolean,
  place: Place,
): Promise<Carried> {
  const stopping = thrown instanceof StoppingError;
  const error = stopping || lease.trusted ? thrown : lost(); // without the lease nothing more may be said of the file
  const mismatch = error instanceof TransferError && error.class === "checksum";
  if (mismatch) part.mismatches++;
  const stopped = error instanceof StoppingError;
  const spent =
    !stopped && (error.permanent || part.mismatches >= 2 || delivery.attempt >= place.terms.retries);
  const final = spent && error.class !== "locked";
  const worth =
    place.terms.resume &&
    !final &&
    !mismatch &&
    part.strongEtag !== "" &&
    part.contiguousBytes >= WORTH_RESUMING_BYTES &&
    (stopped || error.class !== "changed");
  if (worth) staging?.keep();
  else staging?.discardFile();
  if (!worth) Object.assign(part, { contiguousBytes: 0, pieces: [] });

  const { rules } = place.terms;
  if (error instanceof StoppingError) {
    await place.protocol.release(
      file,
      admitted.fence,
      encodePart(part),
      "none",
      admitted.epoch,
      rules,
      0,
      fencedOff,
    );
    return { is: "returned" };
  }
  if (final) {
    const outcome = error.class === "cancelled" ? "cancelled" : "failed";
    return settleFailed(delivery, file, admitted, error, place, outcome, !fencedOff);
  }
  const answer = await place.protocol.release(
    file,
    admitted.fence,
    encodePart(part),
    error.verdict,
    admitted.epoch,
    rules,
    error.retryAfterMs ?? 0,
    fencedOff,
  );
  return { is: "retry", error, blockedUntilMs: answer.blockedUntilMs };
}

/**
 * Settles a file that did not arrive.
 *
 * @param admitted absent where no lease is held.
 * @param keepLease its record still names predecessors whose staging may be there.
 */
export async function settleFailed(
  delivery: Delivery,
  file: WorkFile,
  admitted: Admitted | undefined,
  error: TransferError,
  place: Place,
  outcome: "failed" | "blocked" | "locked" | "cancelled",
  keepLease = false,
): Promise<Carried> {
  const spent = outcome === "failed" && !error.permanent && error.verdict === "fail";
  const brief = { class: error.class, message: error.message };
  const answer = await place.protocol.settle({
    ...file,
    ...(admitted ? { fence: admitted.fence } : {}),
    index: delivery.job.i,
    outcome,
    bytes: 0,
    failure: JSON.stringify({ job: delivery.job, error: brief, attempts: delivery.attempt }),
    catalog: "",
    verdict: admitted ? error.verdict : "none",
    epoch: admitted?.epoch ?? "0",
    rules: place.terms.rules,
    retryAfterMs: error.retryAfterMs ?? 0,
    openBreaker: spent && place.terms.openWhenSpent,
    keepLease,
  });
  faultPoint("settled");
  if (answer.is === "stale") return { is: "retry", error: lost(), blockedUntilMs: 0 };
  if (answer.is === "already") return { is: "done" };
  return {
    is: "settled",
    blockedUntilMs: answer.blockedUntilMs,
    outcome: {
      ...outcomeBase(delivery, file),
      outcome,
      checksum: null,
      bytes: 0,
      verifiedBy: null,
      error: brief,
    },
  };
}

function asTransferError(thrown: unknown, lease: Lease): TransferError | StoppingError {
  const reason: unknown = lease.signal.aborted ? lease.signal.reason : thrown;
  if (reason instanceof TransferError || reason instanceof StoppingError) return reason;
  return new TransferError("internal", `unexpected error: ${messageOf(thrown)}`, { cause: thrown });
}
