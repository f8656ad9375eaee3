import { SettingsError } from "@drover/shared/errors";
import type { Leave } from "@drover/shared/leave";
import { destinationOf } from "@drover/shared/storage/registry";
import type { RunRequest } from "./request.js";

/**
 * Checks which files a run leaves as they are although they may be others.
 *
 * @param root of the destination.
 * @returns undefined for none.
 * @throws SettingsError for what excludes each other, or cannot be told.
 */
export function planLeave({ destination, terms }: RunRequest, root: string): Leave | undefined {
  const { newer = false, existing = false, missing = false, same } = destination.leave ?? {};
  const by = same === undefined ? undefined : same === "size" ? "--size-only" : "--checksum-only";
  if (existing && missing)
    throw new SettingsError("with --ignore-existing and --existing no file is copied: leave one out");
  if (existing && (newer || by !== undefined))
    throw new SettingsError(
      `--ignore-existing compares nothing: leave ${newer ? "--update" : by} out, or --ignore-existing`,
    );
  if (terms.ignoreTimes && (newer || by !== undefined))
    throw new SettingsError(
      `--ignore-times has every file read and compared byte by byte: leave ${newer ? "--update" : by} out, or --ignore-times`,
    );
  if (newer && !destinationOf(root).tellsTimes)
    throw new SettingsError(
      `--update needs the times of files at the destination, which ${root} does not tell`,
    );
  if (!newer && !existing && !missing && same === undefined) return undefined;
  return {
    ...(newer ? { newer } : {}),
    ...(existing ? { existing } : {}),
    ...(missing ? { missing } : {}),
    ...(same === undefined ? {} : { same }),
  };
}
