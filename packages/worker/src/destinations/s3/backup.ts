import type { S3CopySource } from "@drover/shared/storage/s3/copy-source";
import { StoppingError } from "../../attempt/stopping.js";
import { changedMeanwhile, mayRun, type WriteAttempt } from "../destination.js";
import { DestinationObject } from "./object.js";
import { S3Staging } from "./staging.js";
import type { S3Target } from "./target.js";

/**
 * Has an object that is to be removed copied by its service, with its metadata, to its name in a backup. What is there
 * by that name is replaced, unless it is such a copy already, of a predecessor that died. An extra copy is harmless, a
 * missing one is not: whatever becomes of the removal, it stays. The attempt's record is updated, so that a successor can
 * go on with a large object.
 *
 * @param stamp ETag of the version that is to be removed.
 * @throws TransferError class `changed` where it is another version, `not-found` where there is none.
 */
export async function keepObject(
  backup: S3Target,
  from: S3CopySource,
  attempt: WriteAttempt,
  stamp: string,
): Promise<void> {
  const { file, lease, admitted, record } = attempt;
  const staging = new S3Staging(new DestinationObject(backup, attempt));
  if (admitted.predecessors.length > 0) {
    const adopted = await staging.adopt(admitted.predecessors, record, mayRun(admitted));
    if (!adopted) delete record.upload;
  }
  try {
    const opened = await from.open("", lease.signal);
    if (opened.is !== "body" || !opened.copy)
      throw new Error("an object that is to be copied is opened to be");
    if (opened.entry.strongEtag !== stamp) throw changedMeanwhile(file.path);
    const received = await staging.receiveCopy(opened, { ...opened.copy, exact: true });
    // Whoever syncs to the backup, too, must not be told that it still has what it had.
    await backup.forget(file.name);
    await staging.publish(received, opened.entry);
    delete record.upload;
  } catch (error) {
    const stopping = lease.signal.reason instanceof StoppingError;
    if (stopping && staging.worthKeeping(undefined)) {
      staging.keep();
      throw error;
    }
    await staging.discard();
    delete record.upload;
    throw error;
  } finally {
    staging.close();
  }
}
