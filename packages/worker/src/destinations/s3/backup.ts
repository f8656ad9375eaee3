import type { S3CopySource } from "@drover/shared/storage/s3/copy-source";
import { StoppingError } from "../../attempt/stopping.js";
import { changedMeanwhile, mayRun, type WriteAttempt } from "../destination.js";
import { DestinationObject } from "./object.js";
import { S3Staging } from "./staging.js";
import type { S3Target } from "./target.js";

/**
 * Copies an object that is to be overwritten or removed, with its metadata, to its name in a backup. The service copies it. It
 * replaces what has that name in the backup, unless that is the same copy already, made by a predecessor that died. The
 * copy stays whatever becomes of the object, because an extra copy is harmless and a missing one is not. The record of
 * the attempt is updated, so that a successor can continue with a large object.
 *
 * @param stamp ETag of the version to keep.
 * @throws TransferError class `changed` if there is another version, `not-found` if there is none.
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
    // The backup may be the destination of other syncs. Its catalog must not say that it still has the old version.
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
