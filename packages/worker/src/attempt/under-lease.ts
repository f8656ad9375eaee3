import { messageOf, TransferError } from "@drover/shared/errors";
import { failpoint } from "@drover/shared/failpoint";
import type { HostVerdict } from "@drover/shared/protocol/flights";
import { admit } from "./admit.js";
import { Attempt } from "./attempt.js";
import { type RunContext, workFile } from "./context.js";
import type { AttemptResult, Delivery } from "./delivery.js";
import { type Lease, lost, now } from "./leases.js";
import { encodeResumeRecord } from "./resume-record.js";
import { type FileEnd, settle, settleUnadmitted } from "./settle.js";
import { StoppingError } from "./stopping.js";

/** What is done with one file while its lease is held; made anew for each attempt. */
export interface Operation {
  /** Whether an error tells against the file's host although the file is to be tried again. */
  readonly tellsOfErrors: boolean;
  /** @throws TransferError, StoppingError where the file has not ended. */
  run(): Promise<FileEnd>;
  /**
   * Notes what an error says for the next try.
   *
   * @returns whether there is no use in another one, whatever the error says of itself.
   */
  learnFrom?(error: TransferError): boolean;
  /**
   * After an error, before the lease goes back: drops what is staged, or keeps it for the next try.
   *
   * @param final no other try follows.
   */
  giveUp?(error: TransferError | StoppingError, final: boolean): Promise<void>;
  /** The lease is not held any more. */
  close?(): void;
}

/**
 * One attempt: admit → operate → settle. Whatever happens, the lease goes back; what did not end is to be tried again.
 */
export async function underLease(
  delivery: Delivery,
  context: RunContext,
  operation: new (attempt: Attempt) => Operation,
): Promise<AttemptResult> {
  const { job } = delivery;
  const file = workFile(job, context);
  const askedAt = now();
  const answer = await admit(file, context);
  if (answer.is === "busy") {
    // Who copies the same source does what this one would; of other operations nobody can tell.
    return { is: "busy", sameSource: job.op === undefined && answer.sourceHash === file.sourceHash };
  }
  if (answer.is === "cancelled") {
    const error = new TransferError("cancelled", "cancelled", { permanent: true });
    return settleUnadmitted(delivery, context, "cancelled", error);
  }
  if (answer.is !== "admitted") return answer;
  failpoint("admit");

  const alone = answer.waiting.includes(",") ? undefined : context.runId;
  const lease = context.leases.hold(file.lease, answer.fence, askedAt, file.host, alone);
  if (answer.bytesPerSecond > 0)
    lease.share = { bytesPerSecond: answer.bytesPerSecond / Math.max(answer.others, 1), dueMs: 0 };
  const attempt = new Attempt(delivery, context, file, answer, lease);
  const work = new operation(attempt);
  try {
    return await settle(attempt, await work.run());
  } catch (thrown) {
    return await afterError(attempt, work, failureOf(thrown, lease));
  } finally {
    context.leases.drop(lease);
    work.close?.();
  }
}

/** The operation cleans up, then the file is settled, or the lease goes back for another try. */
async function afterError(
  attempt: Attempt,
  work: Operation,
  error: TransferError | StoppingError,
): Promise<AttemptResult> {
  const { context, file } = attempt;
  if (error instanceof StoppingError) {
    await work.giveUp?.(error, false);
    await release(attempt, "none", 0);
    return { is: "returned" };
  }
  // Before Redis is told: others may hear of an open breaker first.
  if (work.tellsOfErrors && error.verdict === "fail")
    context.breakers.recordFailure(file.host, error.message);
  const hopeless = work.learnFrom?.(error) ?? false;
  const spent = error.permanent || hopeless || attempt.isLast;
  const final = spent && error.class !== "locked";
  await work.giveUp?.(error, final);
  const verdict = context.flights.verdictOf(error);
  if (final) {
    const outcome = error.class === "cancelled" ? "cancelled" : "failed";
    return settle(attempt, { outcome, error, verdict });
  }
  const blockedUntilMs = work.tellsOfErrors
    ? await release(attempt, verdict, error.retryAfterMs ?? 0)
    : await release(attempt, "none", 0);
  return { is: "retry", error, blockedUntilMs };
}

/**
 * Gives the lease back with what is known of the staged part.
 *
 * @param retryAfterMs the wait that the host asked for; 0 for none.
 * @returns until when the host is blocked (Unix ms), or 0.
 */
async function release(attempt: Attempt, verdict: HostVerdict, retryAfterMs: number): Promise<number> {
  const { context, file, admitted, record, fencedOff } = attempt;
  const answer = await context.admission.release({
    ...file,
    fence: admitted.fence,
    staged: encodeResumeRecord(record),
    verdict,
    epoch: admitted.epoch,
    rules: context.terms.rules,
    retryAfterMs,
    fencedOff,
  });
  return answer.blockedUntilMs;
}

/** Why a try ended: where its signal was aborted, for the signal's reason. */
function failureOf(thrown: unknown, lease: Lease): TransferError | StoppingError {
  const reason: unknown = lease.signal.aborted ? lease.signal.reason : thrown;
  if (reason instanceof StoppingError) return reason;
  if (!lease.trusted) return lost(); // without the lease nothing more may be said of the file
  if (reason instanceof TransferError) return reason;
  return new TransferError("internal", `unexpected error: ${messageOf(thrown)}`, { cause: thrown });
}
