import { threadId } from "node:worker_threads";
import { isProcessDead, PROCESS_NAME } from "@drover/shared/process-name";
import type { AdmitAnswer } from "@drover/shared/protocol/admission";
import type { RunContext } from "./context.js";
import type { WorkFile } from "./delivery.js";

let attempts = 0;

/** Takes the lease. A holder that died is taken over at once, where that can be known. */
export async function admit(file: WorkFile, context: RunContext): Promise<AdmitAnswer> {
  // Each attempt has a name of its own: only a command that is sent again may get the same fence again.
  const request = { ...file, delivery: `${PROCESS_NAME}.${threadId}.${++attempts}` };
  const answer = await context.admission.admit(request);
  if (answer.is !== "busy" || !(await isLeft(answer, context))) return answer;
  return context.admission.admit({ ...request, deadFence: answer.fence });
}

/** Whether the holder of a lease is surely gone, so that its end need not be waited for. */
async function isLeft(busy: { owner: string; fence: string }, context: RunContext): Promise<boolean> {
  if (isProcessDead(busy.owner)) return true;
  if (!context.flights.shared || busy.owner !== PROCESS_NAME) return false;
  // One of our own that we do not hold: Redis has forgotten that we gave it back. (Or it was granted this very moment.)
  await new Promise((resolve) => setImmediate(resolve));
  return !context.leases.holds(busy.fence);
}
