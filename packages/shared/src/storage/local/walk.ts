import { type BigIntStats, lstatSync, realpathSync, statSync } from "node:fs";
import { join } from "node:path";
import { errnoCode, fileError, type TransferError } from "../../errors.js";
import { isBelow, realAncestor, STAGING_NAME, STAGING_REASON } from "../../paths.js";
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

/** Where links to directories lead, which are followed. */
export interface Links {
  /** The destination of the run, which is left out wherever a link to it, or above it, comes to it. */
  root?: string | undefined;
  /** Directories that links may lead to, with links resolved. Default: any. */
  readsBelow?: readonly string[] | undefined;
}

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
  /** Says that links to directories are followed. Default: they are not. */
  links?: Links | undefined;
  /** Whether to yield only names, without a stat of the files. Default false. */
  names?: boolean;
  /** Whether directories are yielded and not entered. Default false. */
  isLevel?: boolean;
}

/**
 * Walks a directory in the byte order of its paths, in bounded memory. Links to files are followed, links to
 * directories where that is asked for: never one to a directory that it is in. Names of staging files are skipped, where only names are requested without a word. Entries that vanish or cannot be read are yielded as failed, never silently dropped.
 */
export async function* walk(directory: string, options: WalkOptions): AsyncGenerator<Found> {
  const state = { ...options, unwanted: 0, above: [] };
  yield* walkBelow(directory, "", options.links ? { ...state, above: [realpathSync(directory)] } : state);
}

interface WalkState extends WalkOptions {
  unwanted: number;
  /** The directories that the walk is in, with links resolved, where links are followed. */
  above: string[];
}

async function* walkBelow(directory: string, relative: string, state: WalkState): AsyncGenerator<Found> {
  const { wanted, destination, after } = state;
  const errors: unknown[] = [];
  const listing = { onError: (error: unknown) => errors.push(error), links: state.links !== undefined };
  for await (const entry of sortedNames(directory, listing)) {
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
      else if (state.links) yield* walkFollowing(path, below, state);
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

/** Walks a directory, or what a link to one leads to, unless that would be wrong. */
async function* walkFollowing(path: string, relative: string, state: WalkState): AsyncGenerator<Found> {
  const { links = {}, above } = state;
  const skipped = (why: string): Found => ({ is: "skipped", relative, path, why, hides: true });
  let real: string;
  let root: string | undefined;
  try {
    real = realpathSync(path);
    root = links.root === undefined ? undefined : realAncestor(links.root);
  } catch (error) {
    yield { is: "failed", name: "", path, error: fileError(error, `list ${path}`) };
    return;
  }
  if (above.includes(real)) yield skipped("a link to a directory that it is in");
  else if (root !== undefined && isBelow(real, root) && !isBelow(above[0] ?? "", root))
    yield skipped("it is the destination");
  else if (links.readsBelow && !links.readsBelow.some((each) => isBelow(real, each)))
    yield skipped("a link out of the directories that may be read");
  else {
    above.push(real);
    yield* walkBelow(path, relative, state);
    above.pop();
  }
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
