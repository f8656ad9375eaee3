import type { TransferJob } from "@drover/shared/job";
import type { Attempt } from "../attempt/attempt.js";
import type { RunContext } from "../attempt/context.js";
import type { AttemptResult, Delivery } from "../attempt/delivery.js";
import { type Operation, underLease } from "../attempt/under-lease.js";
import { CopyFile } from "./copy.js";
import { RemoveFile } from "./remove.js";

const OPERATIONS: Record<NonNullable<TransferJob["op"]> | "copy", new (attempt: Attempt) => Operation> = {
  copy: CopyFile,
  remove: RemoveFile,
};

/** Performs the operation of a job once, under the lease of its destination. */
export function perform(delivery: Delivery, context: RunContext): Promise<AttemptResult> {
  return underLease(delivery, context, OPERATIONS[delivery.job.op ?? "copy"]);
}
