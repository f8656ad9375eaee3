import { backupOf } from "@drover/shared/run";
import { destinationOf } from "@drover/shared/storage/registry";
import type { PlannedRun } from "./plan.js";

/**
 * Checks that overwritten and removed files can be kept in the backup location. A local directory is only checked when it is
 * made.
 *
 * @throws SettingsError if they cannot.
 */
export async function checkBackup({ spec }: PlannedRun): Promise<void> {
  const backup = backupOf(spec)?.dir;
  if (backup !== undefined) await destinationOf(backup).checkBackup?.(backup, spec);
}

/**
 * Creates the destination, so that an unwritable one is refused before anything else happens. For a fleet
 * this does nothing, as its workers write.
 *
 * @throws SettingsError if it cannot be written to.
 */
export async function prepareDestination({ spec }: PlannedRun): Promise<void> {
  if (!spec.fleet) await destinationOf(spec.root).prepare(spec.root, spec);
}
