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

/** The work on one file while its lease is held; created for each attempt. */
export interface Operation {
  /** Whether errors of attempts that will be repeated count against the file's host. */
  readonly tellsOfErrors: boolean;
  /** @throws TransferError, StoppingError if the file has not ended. */
  run(): Promise<FileEnd>;
  /**
   * Records what an error means for the next attempt.
   *
   * @returns true if another attempt is useless, even if the error is not permanent.
   */
  learnFrom?(error: TransferError): boolean;
  /**
   * Called after an error, before the lease is released: drops the staging, or keeps it for the next attempt.
   *
   * @param final whether no other attempt follows.
   */
  giveUp?(error: TransferError | StoppingError, final: boolean): Promise<void>;
  /** Called after the lease is released. */
  close?(): void;
}

/**
 * One attempt: admit → operate → settle. The lease is released in any case; a file that has not ended is
 * retried.
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
    // A copy of the same source does the same work; for other operations this is unknown.
    return { is: "busy", sameSource: job.op === undefined && answer.sourceHash === file.sourceHash };
  }
  if (answer.is === "cancelled") {
    const error = new TransferError("cancelled", "cancelled", { permanent: true });
    return settleUnadmitted(delivery, context, "cancelled", error);
  }
  if (answer.is !== "admitted") return answer;
  failpoint("admit");
  delivery.trace?.step("admitted");

  const alone = answer.waiting.includes(",") ? undefined : context.runId;
  const lease = context.leases.hold(file.lease, answer.fence, askedAt, file.host, alone);
  if (answer.bytesPerSecond > 0)
    lease.share = { bytesPerSecond: answer.bytesPerSecond / Math.max(answer.others, 1), dueMs: 0 };
  if (answer.mostStreams > 0) lease.mostStreams = answer.mostStreams;
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

/** Lets the operation clean up, then settles the file or releases the lease for another attempt. */
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
  // Before Redis is told, since other workers may learn of an open breaker from it first.
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
 * Releases the lease and saves the resume record.
 *
 * @param retryAfterMs wait that the host asked for; 0 for none.
 * @returns Unix time in ms until which the host is blocked, or 0.
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

/** Why an attempt ended: the reason of its signal if that is aborted, else the error. */
function failureOf(thrown: unknown, lease: Lease): TransferError | StoppingError {
  const reason: unknown = lease.signal.aborted ? lease.signal.reason : thrown;
  if (reason instanceof StoppingError) return reason;
  if (!lease.trusted) return lost(); // without the lease, this attempt must not decide about the file
  if (reason instanceof TransferError) return reason;
  return new TransferError("internal", `unexpected error: ${messageOf(thrown)}`, { cause: thrown });
}
