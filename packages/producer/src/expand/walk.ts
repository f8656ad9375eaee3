import { type BigIntStats, type Dirent, lstatSync, statSync } from "node:fs";
import { opendir } from "node:fs/promises";
import { join } from "node:path";
import { errnoCode, fileError, type TransferError } from "@drover/shared/errors";
import { STAGING_NAME } from "@drover/shared/paths";

/** What a walk finds: a file, something that could not be read, or something that is left out on purpose. */
export type Found =
  | { is: "file"; relative: string; path: string; stat: BigIntStats }
  /** `name`: the file's path relative to the directory, or "" where a directory could not be listed. */
  | { is: "failed"; name: string; path: string; error: TransferError }
  | { is: "skipped"; path: string; why: string };

/**
 * Walks a directory, depth first, in bounded memory. Links to files are followed (their content is meant), links to
 * directories are not. What vanishes or cannot be read meanwhile is named, never silently missing.
 *
 * @param wanted asked with paths relative to the directory, before anything is opened.
 * @param destination directory below that is being written to, relative: it is left out.
 */
export async function* walk(
  directory: string,
  wanted: (relative: string) => boolean,
  destination?: string,
): AsyncGenerator<Found> {
  yield* walkBelow(directory, "", wanted, destination);
}

async function* walkBelow(
  directory: string,
  relative: string,
  wanted: (relative: string) => boolean,
  destination: string | undefined,
): AsyncGenerator<Found> {
  let entries: AsyncIterable<Dirent>;
  try {
    entries = await opendir(directory, { bufferSize: 256 });
  } catch (error) {
    yield { is: "failed", name: "", path: directory, error: fileError(error, `list ${directory}`) };
    return;
  }
  try {
    for await (const entry of entries) {
      const path = join(directory, entry.name);
      const below = relative === "" ? entry.name : `${relative}/${entry.name}`;
      if (entry.isDirectory()) {
        if (below === destination) yield { is: "skipped", path, why: "it is the destination" };
        else yield* walkBelow(path, below, wanted, destination);
        continue;
      }
      if (STAGING_NAME.test(entry.name) || !wanted(below)) continue;
      yield look(entry, path, below);
    }
  } catch (error) {
    yield { is: "failed", name: "", path: directory, error: fileError(error, `list ${directory}`) };
  }
}

function look(entry: Dirent, path: string, relative: string): Found {
  if (!entry.isFile() && !entry.isSymbolicLink()) return { is: "skipped", path, why: "not a regular file" };
  try {
    const stat = statSync(path, { bigint: true });
    if (stat.isDirectory()) return { is: "skipped", path, why: "a link to a directory" };
    if (!stat.isFile()) return { is: "skipped", path, why: "not a regular file" };
    return { is: "file", relative, path, stat };
  } catch (error) {
    if (errnoCode(error) === "ENOENT") {
      const link = lstatSync(path, { throwIfNoEntry: false });
      if (link?.isSymbolicLink()) return { is: "skipped", path, why: "a link to nothing" };
      // Vanished since it was listed; or its name is no UTF-8 and was not what the system calls it.
      const why = entry.name.includes("\ufffd")
        ? `read ${path}: its name is not valid UTF-8`
        : `read ${path}`;
      return { is: "failed", name: relative, path, error: fileError(error, why) };
    }
    return { is: "failed", name: relative, path, error: fileError(error, `read ${path}`) };
  }
}
