import { messageOf, TransferError } from "@drover/shared/errors";
import { failpoint } from "@drover/shared/failpoint";
import type { RunContext } from "../attempt/context.js";
import { type AttemptResult, type Delivery, workFile } from "../attempt/delivery.js";
import { lost, now } from "../attempt/leases.js";
import { decodeResumeRecord, encodeResumeRecord, newResumeRecord } from "../attempt/resume-record.js";
import { settleDeleted, settleFailed } from "../attempt/settle.js";
import { admit, StoppingError } from "./copy.js";

/**
 * The way of a file that is to be removed: admit → check → keep, where it is to be kept → remove → settle. What is at the
 * destination is removed only where it is the version that was seen when the removal was decided, and under the lease: a
 * worker that lost it removes nothing of its successor's.
 */
export async function removeFile(delivery: Delivery, context: RunContext): Promise<AttemptResult> {
  const { job } = delivery;
  const file = workFile(job, context);
  const askedAt = now();
  const answer = await admit(file, context);
  if (answer.is === "done" || answer.is === "blocked" || answer.is === "wait") return answer;
  if (answer.is === "busy") return { is: "busy", sameSource: false };
  if (answer.is === "cancelled") {
    const error = new TransferError("cancelled", "cancelled", { permanent: true });
    return settleFailed(delivery, file, undefined, error, context, "cancelled");
  }
  failpoint("admit");
  const record = decodeResumeRecord(answer.staged) ?? newResumeRecord(answer.fence);
  const lease = context.leases.hold(file.lease, answer.fence, askedAt, file.host, context.runId);
  try {
    await context.destination.remove(file, job.v ?? "", lease, answer, record, context.terms);
    return await settleDeleted(delivery, file, answer, context);
  } catch (thrown) {
    const reason: unknown = lease.signal.aborted ? lease.signal.reason : thrown;
    const stopping = reason instanceof StoppingError;
    const error = !lease.trusted && !stopping ? lost() : asTransferError(reason);
    const final = error.permanent || delivery.attempt >= context.terms.retries;
    if (final && !stopping && error.class !== "locked") {
      const outcome = error.class === "cancelled" ? "cancelled" : "failed";
      return await settleFailed(delivery, file, answer, error, context, outcome, true);
    }
    const { rules } = context.terms;
    const staged = encodeResumeRecord(record);
    await context.admission.release({
      ...file,
      fence: answer.fence,
      staged,
      verdict: "none",
      epoch: answer.epoch,
      rules,
      retryAfterMs: 0,
      fencedOff: false,
    });
    return stopping ? { is: "returned" } : { is: "retry", error, blockedUntilMs: 0 };
  } finally {
    context.leases.drop(lease);
  }
}

function asTransferError(thrown: unknown): TransferError {
  if (thrown instanceof TransferError) return thrown;
  return new TransferError("internal", `unexpected error: ${messageOf(thrown)}`, { cause: thrown });
}
