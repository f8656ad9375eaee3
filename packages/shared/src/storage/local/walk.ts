import { type BigIntStats, lstatSync, statSync } from "node:fs";
import { join } from "node:path";
import { errnoCode, fileError, type TransferError } from "../../errors.js";
import { STAGING_NAME, STAGING_REASON } from "../../paths.js";
import { compareKeys } from "../key-order.js";
import { type Kind, type Name, sortedNames } from "./sorted-names.js";

/** What a walk finds: a file, an unreadable entry, or an entry that is left out on purpose. */
export type Found =
  | { is: "file"; relative: string; path: string; stat: BigIntStats }
  /** `name`: the file's path relative to the directory, or "" if a directory could not be listed. */
  | { is: "failed"; name: string; path: string; error: TransferError }
  /** `hides`: what is below its name is not known either. */
  | { is: "skipped"; relative: string; path: string; why: string; hides: boolean }
  /** Anything but a directory, if only names are requested. */
  | { is: "named"; relative: string; kind: Kind }
  /** A directory that is not entered. */
  | { is: "directory"; relative: string; path: string }
  /** Progress of the walk without a wanted file. */
  | { is: "passed"; relative: string };

/** Unwanted names after which a walk reports its progress. */
const PASSED_NAMES = 1_000;

export interface WalkOptions {
  /**
   * Called with paths relative to the directory before anything is opened. Ignored if only names are
   * requested.
   */
  wanted(relative: string): boolean;
  /** Relative path of the destination below the directory, which is left out. */
  destination?: string | undefined;
  /** Whether the directory is the destination or lies below it: staging files are the run's own then. Default false. */
  isDestination?: boolean;
  /** Relative path after which the walk starts. */
  after?: string | undefined;
  /** Whether to yield only names, without a stat of the files. Default false. */
  names?: boolean;
  /** Whether directories are yielded and not entered. Default false. */
  isLevel?: boolean;
}

/**
 * Walks a directory in the byte order of its paths, in bounded memory. Links to files are followed, links to
 * directories are not. Names of staging files are skipped, where only names are requested without a word. Entries that vanish or cannot be read are yielded as failed, never silently dropped.
 */
export async function* walk(directory: string, options: WalkOptions): AsyncGenerator<Found> {
  yield* walkBelow(directory, "", { ...options, unwanted: 0 });
}

async function* walkBelow(
  directory: string,
  relative: string,
  state: WalkOptions & { unwanted: number },
): AsyncGenerator<Found> {
  const { wanted, destination, after } = state;
  const errors: unknown[] = [];
  for await (const entry of sortedNames(directory, (error) => errors.push(error))) {
    const isStaging = STAGING_NAME.test(entry.name);
    if (isStaging && (state.names || state.isDestination)) continue;
    const path = join(directory, entry.name);
    const below = relative === "" ? entry.name : `${relative}/${entry.name}`;
    if (entry.kind === "d") {
      const inside = `${below}/`;
      if (after !== undefined && !after.startsWith(inside) && compareKeys(inside, after) < 0) continue;
      if (below === destination)
        yield { is: "skipped", relative: below, path, why: "it is the destination", hides: true };
      else if (state.isLevel) yield { is: "directory", relative: below, path };
      else if (isStaging) yield { is: "skipped", relative: below, path, why: STAGING_REASON, hides: true };
      else yield* walkBelow(path, below, state);
      continue;
    }
    if (after !== undefined && compareKeys(below, after) <= 0) continue;
    if (state.names) yield { is: "named", relative: below, kind: entry.kind };
    else if (wanted(below)) {
      state.unwanted = 0;
      yield isStaging
        ? { is: "skipped", relative: below, path, why: STAGING_REASON, hides: false }
        : look(entry, path, below);
    } else if (++state.unwanted >= PASSED_NAMES) {
      state.unwanted = 0;
      yield { is: "passed", relative: below };
    }
  }
  for (const error of errors)
    yield { is: "failed", name: "", path: directory, error: fileError(error, `list ${directory}`) };
}

function look(entry: Name, path: string, relative: string): Found {
  const skipped = (why: string, hides = false): Found => ({ is: "skipped", relative, path, why, hides });
  if (entry.kind === "o") return skipped("not a regular file");
  try {
    const stat = statSync(path, { bigint: true });
    if (stat.isDirectory()) return skipped("a link to a directory", true);
    if (!stat.isFile()) return skipped("not a regular file");
    return { is: "file", relative, path, stat };
  } catch (error) {
    if (errnoCode(error) === "ENOENT") {
      const link = lstatSync(path, { throwIfNoEntry: false });
      if (link?.isSymbolicLink()) return skipped("a link to nothing");
      // It vanished since it was listed, or its name is not UTF-8 and was decoded with replacements.
      const why = entry.name.includes("\ufffd")
        ? `read ${path}: its name is not valid UTF-8`
        : `read ${path}`;
      return { is: "failed", name: relative, path, error: fileError(error, why) };
    }
    return { is: "failed", name: relative, path, error: fileError(error, `read ${path}`) };
  }
}
