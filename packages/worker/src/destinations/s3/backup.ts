import type { Admitted } from "@drover/shared/protocol/admission";
import type { S3CopySource } from "@drover/shared/storage/s3/copy-source";
import type { WorkFile } from "../../attempt/delivery.js";
import type { Lease } from "../../attempt/leases.js";
import type { ResumeRecord } from "../../attempt/resume-record.js";
import { StoppingError } from "../../operations/copy.js";
import { changedMeanwhile, mayRun } from "../destination.js";
import type { S3Destination } from "./destination.js";
import { S3Staging } from "./staging.js";

/**
 * Has an object that is to be removed copied by its service, with its metadata, to its name in a backup. What is there
 * by that name is replaced, unless it is such a copy already, of a predecessor that died. An extra copy is harmless, a
 * missing one is not: whatever becomes of the removal, it stays.
 *
 * @param stamp ETag of the version that is to be removed.
 * @param part what is staged, of a predecessor at first; updated, so that a successor can go on with a large object.
 * @throws TransferError class `changed` where it is another version, `not-found` where there is none.
 */
export async function keepObject(
  backup: S3Destination,
  file: WorkFile,
  from: S3CopySource,
  stamp: string,
  lease: Lease,
  admitted: Admitted,
  record: ResumeRecord,
  resume: boolean,
): Promise<void> {
  const staging = new S3Staging(backup, file, undefined, lease, undefined);
  if (admitted.predecessors.length > 0) {
    const adopted = await staging.adopt(admitted.predecessors, record, mayRun(admitted), resume);
    if (!adopted) delete record.upload;
  }
  try {
    const opened = await from.open("", lease.signal);
    if (opened.is !== "body" || !opened.copy)
      throw new Error("an object that is to be copied is opened to be");
    if (opened.entry.strongEtag !== stamp) throw changedMeanwhile(file.path);
    const received = await staging.receiveCopy(opened, { ...opened.copy, exact: true }, record);
    // Whoever syncs to the backup, too, must not be told that it still has what it had.
    await backup.forget(file.name);
    await staging.publish(received, opened.entry);
    delete record.upload;
  } catch (error) {
    const stopping = lease.signal.reason instanceof StoppingError;
    if (stopping && staging.worthKeeping(record, undefined)) {
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
