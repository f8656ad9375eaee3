import { destinationOf } from "@drover/shared/storage/registry";
import type { PlannedRun } from "./plan.js";

/**
 * Looks whether what is removed can be kept where it is to be: of a directory that is met when it is made.
 *
 * @throws SettingsError where it cannot.
 */
export async function checkBackup({ spec }: PlannedRun): Promise<void> {
  const backup = spec.delete?.backupDir;
  if (backup !== undefined) await destinationOf(backup).checkBackup?.(backup, spec);
}

/**
 * Makes the destination, so that one that cannot be written to is refused before anything else happens. Of a fleet it is
 * the workers that write.
 *
 * @throws SettingsError where it cannot be written to.
 */
export async function prepareDestination({ spec }: PlannedRun): Promise<void> {
  if (!spec.fleet) await destinationOf(spec.root).prepare(spec.root, spec);
}
