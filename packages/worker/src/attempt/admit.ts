import { threadId } from "node:worker_threads";
import { isProcessDead, PROCESS_NAME } from "@drover/shared/process-name";
import type { AdmitAnswer, HoldAnswer } from "@drover/shared/protocol/admission";
import type { RunContext } from "./context.js";
import type { WorkFile } from "./delivery.js";

let attempts = 0;

/**
 * Acquires the lease on the path that a file is moved from.
 *
 * @returns undefined where somebody else holds it.
 */
export async function holdPath(
  file: WorkFile,
  context: RunContext,
): Promise<Extract<HoldAnswer, { is: "held" }> | undefined> {
  const request = { ...file, delivery: `${PROCESS_NAME}.${threadId}.${++attempts}` };
  let answer = await context.admission.hold(request);
  if (answer.is === "busy" && (await isLeft(answer, context)))
    answer = await context.admission.hold({ ...request, deadFence: answer.fence });
  return answer.is === "held" ? answer : undefined;
}

/** Acquires the lease. The lease of a holder that is known to be dead is taken over at once. */
export async function admit(file: WorkFile, context: RunContext): Promise<AdmitAnswer> {
  // Each attempt has its own delivery id: only a repeated command may get the same fence again.
  const request = { ...file, delivery: `${PROCESS_NAME}.${threadId}.${++attempts}` };
  const answer = await context.admission.admit(request);
  if (answer.is !== "busy" || !(await isLeft(answer, context))) return answer;
  return context.admission.admit({ ...request, deadFence: answer.fence });
}

/** Whether the holder of a lease is certainly gone, so that its expiry need not be awaited. */
async function isLeft(busy: { owner: string; fence: string }, context: RunContext): Promise<boolean> {
  if (isProcessDead(busy.owner)) return true;
  if (!context.flights.shared || busy.owner !== PROCESS_NAME) return false;
  // The lease is ours but not held here: Redis lost its release. Or it is being granted right now, hence the wait.
  await new Promise((resolve) => setImmediate(resolve));
  return !context.leases.holds(busy.fence);
}
