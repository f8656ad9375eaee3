import { type BigIntStats, lstatSync, statSync } from "node:fs";
import { join } from "node:path";
import { errnoCode, fileError, type TransferError } from "../../errors.js";
import { STAGING_NAME } from "../../paths.js";
import { compareKeys } from "../key-order.js";
import { type Kind, type Name, sortedNames } from "./sorted-names.js";

/** What a walk finds: a file, something that could not be read, or something that is left out on purpose. */
export type Found =
  | { is: "file"; relative: string; path: string; stat: BigIntStats }
  /** `name`: the file's path relative to the directory, or "" where a directory could not be listed. */
  | { is: "failed"; name: string; path: string; error: TransferError }
  | { is: "skipped"; relative: string; path: string; why: string }
  /** Something that is no directory, where names alone are asked for. */
  | { is: "named"; relative: string; kind: Kind }
  /** The walk has come so far, and nothing was wanted for a while. */
  | { is: "passed"; relative: string };

/** Unwanted names after which a walk says how far it is. */
const PASSED_NAMES = 1_000;

export interface WalkOptions {
  /** Asked with paths relative to the directory, before anything is opened; not for names alone. */
  wanted(relative: string): boolean;
  /** Directory below that is being written to, relative: it is left out. */
  destination?: string | undefined;
  /** Path relative to the directory behind which the walk begins. */
  after?: string | undefined;
  /** Nothing but names: no file is looked at. Default false. */
  names?: boolean;
}

/**
 * Walks a directory in the order of the bytes of its paths, in bounded memory. Links to files are followed (their
 * content is meant), links to directories are not. What vanishes or cannot be read meanwhile is named, never silently
 * missing.
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
    if (STAGING_NAME.test(entry.name)) continue;
    const path = join(directory, entry.name);
    const below = relative === "" ? entry.name : `${relative}/${entry.name}`;
    if (entry.kind === "d") {
      const inside = `${below}/`;
      if (after !== undefined && !after.startsWith(inside) && compareKeys(inside, after) < 0) continue;
      if (below === destination) yield { is: "skipped", relative: below, path, why: "it is the destination" };
      else yield* walkBelow(path, below, state);
      continue;
    }
    if (after !== undefined && compareKeys(below, after) <= 0) continue;
    if (state.names) yield { is: "named", relative: below, kind: entry.kind };
    else if (wanted(below)) {
      state.unwanted = 0;
      yield look(entry, path, below);
    } else if (++state.unwanted >= PASSED_NAMES) {
      state.unwanted = 0;
      yield { is: "passed", relative: below };
    }
  }
  for (const error of errors)
    yield { is: "failed", name: "", path: directory, error: fileError(error, `list ${directory}`) };
}

function look(entry: Name, path: string, relative: string): Found {
  const skipped = (why: string): Found => ({ is: "skipped", relative, path, why });
  if (entry.kind === "o") return skipped("not a regular file");
  try {
    const stat = statSync(path, { bigint: true });
    if (stat.isDirectory()) return skipped("a link to a directory");
    if (!stat.isFile()) return skipped("not a regular file");
    return { is: "file", relative, path, stat };
  } catch (error) {
    if (errnoCode(error) === "ENOENT") {
      const link = lstatSync(path, { throwIfNoEntry: false });
      if (link?.isSymbolicLink()) return skipped("a link to nothing");
      // Vanished since it was listed; or its name is no UTF-8 and was not what the system calls it.
      const why = entry.name.includes("\ufffd")
        ? `read ${path}: its name is not valid UTF-8`
        : `read ${path}`;
      return { is: "failed", name: relative, path, error: fileError(error, why) };
    }
    return { is: "failed", name: relative, path, error: fileError(error, `read ${path}`) };
  }
}
