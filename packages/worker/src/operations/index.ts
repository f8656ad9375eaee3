import { TransferError } from "@drover/shared/errors";
import type { TransferJob } from "@drover/shared/job";
import { refusedAsKept } from "@drover/shared/kept-name";
import { destinationOf } from "@drover/shared/storage/registry";
import type { Attempt } from "../attempt/attempt.js";
import type { RunContext } from "../attempt/context.js";
import type { AttemptResult, Delivery } from "../attempt/delivery.js";
import { settleUnadmitted } from "../attempt/settle.js";
import { type Operation, underLease } from "../attempt/under-lease.js";
import { SyncPath } from "../pair/sync-path.js";
import { CopyFile } from "./copy.js";
import { MoveFile } from "./move.js";
import { RemoveFile } from "./remove.js";

const OPERATIONS: Record<NonNullable<TransferJob["op"]> | "copy", new (attempt: Attempt) => Operation> = {
  copy: CopyFile,
  remove: RemoveFile,
  pair: SyncPath,
};

/**
 * Performs the operation of a job once, under the lease of its destination. A job whose files must not be carried here is
 * settled as failed.
 */
export function perform(delivery: Delivery, context: RunContext): Promise<AttemptResult> {
  const { job } = delivery;
  const refused = context.refused ?? refusedName(job, context);
  if (refused) return settleUnadmitted(delivery, context, "failed", refused);
  const operation = job.op === undefined && job.f ? MoveFile : OPERATIONS[job.op ?? "copy"];
  return underLease(delivery, context, operation);
}

/**
 * The producer has checked every name, but whoever can write to Redis can write a job that leads elsewhere. A name that
 * a former version would be kept by is refused, too.
 */
function refusedName({ d, f }: TransferJob, { tree, keptSuffix }: RunContext): TransferError | undefined {
  try {
    const { checkName } = destinationOf(tree.root);
    checkName(d);
    if (f) checkName(f.d);
    return refusedAsKept(d, keptSuffix) ?? (f && refusedAsKept(f.d, keptSuffix));
  } catch (error) {
    if (error instanceof TransferError) return error;
    throw error;
  }
}
