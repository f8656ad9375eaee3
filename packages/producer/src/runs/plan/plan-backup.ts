import { SettingsError } from "@drover/shared/errors";
import type { RunSpec } from "@drover/shared/run";
import { destinationOf, type Location, parseRoot, storageOf } from "@drover/shared/storage/registry";
import type { DestinationStorage } from "@drover/shared/storage/storage";
import type { RunRequest } from "./request.js";

/**
 * Checks the settings that say where overwritten and removed files are kept.
 *
 * @param sources of the request.
 * @param spec of the run, including its services, which decide whether two locations overlap.
 * @throws SettingsError if nothing can be kept there, or if it could replace a file of a source or the destination.
 */
export function planBackup(
  request: RunRequest,
  sources: Location[],
  spec: Pick<RunSpec, "root" | "s3" | "s3Destination">,
): RunSpec["backup"] {
  const { backup } = request.destination;
  if (!backup) return undefined;
  const { dir, suffix } = backup;
  if (suffix === "" || suffix?.includes("/") || suffix?.includes("\0"))
    throw new SettingsError(
      `--suffix must be what is added to a file's name, without a slash, not ${JSON.stringify(suffix)}`,
    );
  if (dir === undefined) return suffix === undefined ? undefined : { suffix };
  const { root } = spec;
  const destination = destinationOf(root);
  const storage = storageOf(root);
  const kept = parseRoot(dir, request.directory);
  if (storageOf(kept) !== storage)
    throw new SettingsError(
      `--backup-dir ${kept} cannot keep what is removed from ${root}: name ${destination.example}`,
    );
  keepApart(destination, kept, { text: root, what: "the destination" });
  if (destination.isShared(spec))
    for (const source of sources)
      if (source.storage === storage)
        keepApart(destination, kept, {
          text: destination.parseRoot(source.text, request.directory),
          what: "the source",
        });
  return { dir: kept, suffix: suffix ?? "" };
}

function keepApart(
  { contains }: DestinationStorage,
  backup: string,
  { text, what }: { text: string; what: string },
): void {
  if (!contains(backup, text) && !contains(text, backup)) return;
  throw new SettingsError(`--backup-dir ${backup} and ${what} ${text} lie in each other: keep them apart`);
}
