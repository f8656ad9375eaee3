import { threadId } from "node:worker_threads";
import { messageOf, TransferError, type Verdict } from "@drover/shared/errors";
import { failpoint } from "@drover/shared/failpoint";
import type { VerifiedBy } from "@drover/shared/outcome";
import { isProcessDead, PROCESS_NAME } from "@drover/shared/process-name";
import { type Admitted, hostVerdict } from "@drover/shared/protocol/admission";
import type { CatalogEntry } from "@drover/shared/protocol/catalog-entry";
import type { Opened } from "@drover/shared/storage/source";
import type { RunContext } from "../attempt/context.js";
import { type AttemptResult, type Delivery, type WorkFile, workFile } from "../attempt/delivery.js";
import { type Lease, lost, now } from "../attempt/leases.js";
import {
  decodeResumeRecord,
  encodeResumeRecord,
  newResumeRecord,
  type ResumeRecord,
} from "../attempt/resume-record.js";
import { settle, settleFailed } from "../attempt/settle.js";
import { receive } from "../bytes/receive.js";
import { verify } from "../bytes/verify.js";
import { mayRun, type Staging } from "../destinations/destination.js";

/** The signal's reason when this process stops: what is staged is kept and the file goes back to the queue. */
export class StoppingError extends Error {
  override name = "StoppingError";
}

/**
 * The way of one file: admit → open → stage → verify → commit → settle.
 * Whatever happens, the destination has its old content or the new one, whole, and the lease goes back.
 */
export async function copyFile(delivery: Delivery, context: RunContext): Promise<AttemptResult> {
  const { job } = delivery;
  const file = workFile(job, context);
  const askedAt = now();
  const answer = await admit(file, context);
  if (answer.is === "done" || answer.is === "blocked" || answer.is === "wait") return answer;
  if (answer.is === "busy") return { is: "busy", sameSource: answer.sourceHash === file.sourceHash };
  if (answer.is === "cancelled") {
    const error = new TransferError("cancelled", "cancelled", { permanent: true });
    return settleFailed(delivery, file, undefined, error, context, "cancelled");
  }
  failpoint("admit");

  const arrived = (
    outcome: "copied" | "unchanged",
    entry: CatalogEntry,
    by: VerifiedBy,
    verdict: Verdict,
    unconditional?: true,
  ) => settle(delivery, file, answer, outcome, entry, by, verdict, context, unconditional);
  const lease = context.leases.hold(
    file.lease,
    answer.fence,
    askedAt,
    file.host,
    answer.waiting.includes(",") ? undefined : context.runId,
  );
  if (answer.bytesPerSecond > 0)
    lease.share = { bytesPerSecond: answer.bytesPerSecond / Math.max(answer.others, 1), dueMs: 0 };
  const noted = decodeResumeRecord(answer.staged);
  const record: ResumeRecord = {
    ...newResumeRecord(answer.fence),
    mismatches: noted?.mismatches ?? 0,
    oneStream: noted?.oneStream ?? false,
    ...(noted?.upload ? { upload: noted.upload } : {}),
  };
  let staging: Staging | undefined;
  let fencedOff = answer.predecessors.length === 0;
  let body: Extract<Opened, { is: "body" }> | undefined;
  try {
    if (!fencedOff) {
      // Before anything else: no predecessor may publish once this try has found out anything.
      staging = context.destination.stage(file, job.x, lease, answer);
      const { resume } = context.terms;
      const adopted = await staging.adopt(answer.predecessors, noted, mayRun(answer), resume);
      if (noted && adopted) {
        Object.assign(record, noted, { fence: answer.fence });
        lease.note = encodeResumeRecord(record);
      } else delete record.upload;
      fencedOff = true;
    }
    if (context.fleet && answer.crashes >= MOST_CRASHES) throw poison(answer.crashes);
    const before = await context.destination.before(file, job.x, answer);
    if (before.expected) {
      await staging?.discard();
      return await arrived("unchanged", before.entry as CatalogEntry, "sha256", "none");
    }

    const source = await context.source(job);
    const lastTry = delivery.attempt >= context.terms.retries;
    const opened = await open(source, record, before.known, lease, lastTry);
    failpoint("open");
    if (opened.is === "unchanged") {
      await staging?.discard();
      const { version, mode } = opened.entry;
      const entry = { ...(before.entry as CatalogEntry), version, ...(mode === undefined ? {} : { mode }) };
      return await arrived("unchanged", entry, "not-modified", "ok");
    }
    body = opened;
    staging ??= context.destination.stage(file, job.x, lease, answer);
    Object.assign(record, {
      version: opened.entry.version,
      strongEtag: opened.entry.strongEtag,
      sizeBytes: opened.entry.sizeBytes,
    });
    context.receiving?.(job, record);
    const received = await receive(source, opened, job.d, staging, record, context);
    failpoint("stage");

    const verifiedBy = verify(received, opened.entry, received.lengthBytes, job.x);
    failpoint("verify");

    const published = await staging.publish(received, opened.entry, context.terms.durable);
    if (published.outcome === "copied") failpoint("committed");
    const entry: CatalogEntry = {
      source: file.sourceHash,
      version: opened.entry.version,
      sha256: received.sha256,
      stamp: published.stamp,
      sizeBytes: received.sizeBytes,
      ...(opened.entry.mode === undefined ? {} : { mode: opened.entry.mode }),
    };
    const by = verifiedBy === "length" ? (published.verifiedBy ?? verifiedBy) : verifiedBy;
    return await arrived(published.outcome, entry, by, "ok", published.unconditional);
  } catch (thrown) {
    const error = asTransferError(thrown, lease);
    body?.body.abort(error);
    return await failed(delivery, file, answer, lease, staging, record, error, fencedOff, context);
  } finally {
    context.leases.drop(lease);
    staging?.close();
  }
}

let carryings = 0;

/** A fleet's file over which so many workers died is not tried again. */
const MOST_CRASHES = 8;

function poison(crashes: number): TransferError {
  const what = `${crashes} workers died or hung while they carried this file`;
  return new TransferError("poison", what, { permanent: true });
}

/** Takes the lease. A holder that died is taken over at once, where that can be known. */
export async function admit(file: WorkFile, context: RunContext) {
  // Each carrying has a name of its own: only a command that is sent again may get the same fence again.
  const request = { ...file, delivery: `${PROCESS_NAME}.${threadId}.${++carryings}` };
  const answer = await context.admission.admit(request);
  if (answer.is !== "busy" || !(await isLeft(answer, context))) return answer;
  return context.admission.admit({ ...request, deadFence: answer.fence });
}

/** Whether the holder of a lease is surely gone, so that its end need not be waited for. */
async function isLeft(busy: { owner: string; fence: string }, context: RunContext): Promise<boolean> {
  if (isProcessDead(busy.owner)) return true;
  if (!context.fleet || busy.owner !== PROCESS_NAME) return false;
  // One of our own that we do not hold: Redis has forgotten that we gave it back. (Or it was granted this very moment.)
  await new Promise((resolve) => setImmediate(resolve));
  return !context.leases.holds(busy.fence);
}

/** Opens the source: the rest of it where a part is here, else the whole, unless it is the version we have. */
async function open(
  source: Awaited<ReturnType<RunContext["source"]>>,
  record: ResumeRecord,
  known: string,
  lease: Lease,
  lastTry: boolean,
): Promise<Opened> {
  if (record.contiguousBytes === 0) return source.open(known, lease.signal);
  if (record.contiguousBytes === record.sizeBytes) {
    record.contiguousBytes = 0; // complete but not committed: a range behind its end would be refused (416)
    record.pieces = [];
    return source.open(known, lease.signal);
  }
  try {
    const opened = await source.openRange(record, { startByte: record.contiguousBytes }, lease.signal);
    if (opened.is === "body" && opened.offset === record.contiguousBytes) return opened;
    record.contiguousBytes = 0;
    record.pieces = [];
    return opened;
  } catch (error) {
    // Asked for the rest, the source answers with something else: it is asked for the whole.
    if (!(error instanceof TransferError)) throw error;
    // Some servers fail over a range, and over no more. In the last try there is nothing to lose.
    const hopeless = lastTry && error.class === "server" && !error.throttled;
    if (error.class !== "changed" && error.verdict !== "ok" && !hopeless) throw error;
    record.contiguousBytes = 0;
    record.pieces = [];
    return source.open(known, lease.signal);
  }
}

/** After an error: the staged part is kept for the next try or removed, the lease goes back, and the file is retried or settled. */
async function failed(
  delivery: Delivery,
  file: WorkFile,
  admitted: Admitted,
  lease: Lease,
  staging: Staging | undefined,
  record: ResumeRecord,
  thrown: TransferError | StoppingError,
  fencedOff: boolean,
  context: RunContext,
): Promise<AttemptResult> {
  const error = thrown instanceof StoppingError || lease.trusted ? thrown : lost(); // without the lease nothing more may be said of the file
  // Before Redis is told: others may hear of an open breaker first.
  if (error instanceof TransferError && error.verdict === "fail")
    context.breakers.recordFailure(file.host, error.message);
  const mismatch = error instanceof TransferError && error.class === "checksum";
  if (mismatch) {
    record.mismatches++;
    record.oneStream = true; // pieces may have come from servers that do not agree
  }
  const stopped = error instanceof StoppingError;
  const spent =
    !stopped && (error.permanent || record.mismatches >= 2 || delivery.attempt >= context.terms.retries);
  const final = spent && error.class !== "locked";
  const worth =
    context.terms.resume &&
    !final &&
    !mismatch &&
    (staging?.worthKeeping(record, stopped ? undefined : error.class) ?? false);
  if (worth) staging?.keep();
  else await staging?.discard();
  if (!worth) Object.assign(record, { contiguousBytes: 0, pieces: [] });
  if (!worth && fencedOff) delete record.upload;

  const { rules } = context.terms;
  if (error instanceof StoppingError) {
    await context.admission.release({
      ...file,
      fence: admitted.fence,
      staged: encodeResumeRecord(record),
      verdict: "none",
      epoch: admitted.epoch,
      rules,
      retryAfterMs: 0,
      fencedOff,
    });
    return { is: "returned" };
  }
  if (final) {
    const outcome = error.class === "cancelled" ? "cancelled" : "failed";
    return settleFailed(delivery, file, admitted, error, context, outcome, !fencedOff);
  }
  const answer = await context.admission.release({
    ...file,
    fence: admitted.fence,
    staged: encodeResumeRecord(record),
    verdict: hostVerdict(error, context.fleet),
    epoch: admitted.epoch,
    rules,
    retryAfterMs: error.retryAfterMs ?? 0,
    fencedOff,
  });
  return { is: "retry", error, blockedUntilMs: answer.blockedUntilMs };
}

function asTransferError(thrown: unknown, lease: Lease): TransferError | StoppingError {
  const reason: unknown = lease.signal.aborted ? lease.signal.reason : thrown;
  if (reason instanceof TransferError || reason instanceof StoppingError) return reason;
  return new TransferError("internal", `unexpected error: ${messageOf(thrown)}`, { cause: thrown });
}
