import { accessSync, constants } from "node:fs";
import { SettingsError } from "@drover/shared/errors";
import { makeDirectory } from "@drover/shared/make-directory";
import { destinationService } from "@drover/shared/storage/open-tree";
import { checkBucket } from "@drover/shared/storage/s3/check-bucket";
import { isS3 } from "@drover/shared/storage/s3/name";
import type { PlannedRun } from "./plan.js";

/**
 * Looks whether what is removed can be kept where it is to be.
 *
 * @throws SettingsError where it cannot.
 */
export async function checkBackup({ spec }: PlannedRun): Promise<void> {
  const backup = spec.delete?.backupDir;
  if (backup !== undefined && isS3(backup)) await checkBucket(backup, destinationService(spec));
}

/**
 * Makes the destination, so that one that cannot be written to is refused before anything else happens. Of a fleet it is
 * the workers that write.
 *
 * @throws SettingsError where it cannot be written to.
 */
export async function prepareDestination({ spec }: PlannedRun): Promise<void> {
  if (spec.fleet) return;
  if (isS3(spec.root)) return await checkBucket(spec.root, destinationService(spec));
  try {
    makeDirectory(spec.root);
    accessSync(spec.root, constants.W_OK);
  } catch (error) {
    throw new SettingsError(
      `cannot write to ${spec.root} (${(error as NodeJS.ErrnoException).code}): choose another --artifact-root`,
    );
  }
}
