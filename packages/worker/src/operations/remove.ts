import { messageOf, TransferError } from "@drover/shared/errors";
import { faultPoint } from "@drover/shared/failpoint";
import type { Place } from "../attempt/context.js";
import { type Carried, type Delivery, workFile } from "../attempt/delivery.js";
import { lost, now } from "../attempt/leases.js";
import { decodePart, encodePart, newPart } from "../attempt/resume-record.js";
import { settleDeleted, settleFailed } from "../attempt/settle.js";
import { admit, StoppingError } from "./copy.js";

/**
 * The way of a file that is to be removed: admit → check → keep, where it is to be kept → remove → settle. What is at the
 * destination is removed only where it is the version that was seen when the removal was decided, and under the lease: a
 * worker that lost it removes nothing of its successor's.
 */
export async function carryRemoval(delivery: Delivery, place: Place): Promise<Carried> {
  const { job } = delivery;
  const file = workFile(job, place);
  const askedAt = now();
  const answer = await admit(file, place);
  if (answer.is === "done" || answer.is === "blocked" || answer.is === "wait") return answer;
  if (answer.is === "busy") return { is: "busy", sameSource: false };
  if (answer.is === "cancelled") {
    const error = new TransferError("cancelled", "cancelled", { permanent: true });
    return settleFailed(delivery, file, undefined, error, place, "cancelled");
  }
  faultPoint("admit");
  const part = decodePart(answer.staged) ?? newPart(answer.fence);
  const lease = place.leases.hold(file.lease, answer.fence, askedAt, file.host, place.runId);
  try {
    await place.destination.remove(file, job.v ?? "", lease, answer, part, place.terms);
    return await settleDeleted(delivery, file, answer, place);
  } catch (thrown) {
    const reason: unknown = lease.signal.aborted ? lease.signal.reason : thrown;
    const stopping = reason instanceof StoppingError;
    const error = !lease.trusted && !stopping ? lost() : asTransferError(reason);
    const final = error.permanent || delivery.attempt >= place.terms.retries;
    if (final && !stopping && error.class !== "locked") {
      const outcome = error.class === "cancelled" ? "cancelled" : "failed";
      return await settleFailed(delivery, file, answer, error, place, outcome, true);
    }
    const { rules } = place.terms;
    const staged = encodePart(part);
    await place.protocol.release(file, answer.fence, staged, "none", answer.epoch, rules, 0, false);
    return stopping ? { is: "returned" } : { is: "retry", error, blockedUntilMs: 0 };
  } finally {
    place.leases.drop(lease);
  }
}

function asTransferError(thrown: unknown): TransferError {
  if (thrown instanceof TransferError) return thrown;
  return new TransferError("internal", `unexpected error: ${messageOf(thrown)}`, { cause: thrown });
}
