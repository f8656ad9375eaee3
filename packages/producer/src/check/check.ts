import { messageOf, SettingsError, TransferError } from "@drover/shared/errors";
import type { FileVersion } from "@drover/shared/storage/contents";
import { ListingError } from "@drover/shared/storage/listing-error";
import { below } from "@drover/shared/storage/registry";
import { beginningOf } from "../expand/beginning.js";
import { isWithin } from "../expand/limits.js";
import { least, SortedListing } from "../expand/sorted-listing.js";
import { wantedBy } from "../expand/wanted.js";
import { type CheckOptions, CheckSide, isNotFound, type SideEntry } from "./check-side.js";
import { type ComparedBy, type Comparison, compareFiles, Tries } from "./compare-files.js";
import { inOrder } from "./in-order.js";
import type { PlannedCheck } from "./plan-check.js";

/** How a path was found. `error`: it could not be compared. */
export const PATH_STATES = ["match", "differ", "missing-on-src", "missing-on-dst", "error"] as const;
export type PathState = (typeof PATH_STATES)[number];

/** What was found of one path. */
export interface CheckedPath {
  /** Relative to both sides. It ends in `/` for a directory that cannot be listed. */
  path: string;
  state: PathState;
  /** What the files were compared by; undefined where they were not. */
  by?: ComparedBy;
  /** Whether sizes are equal, and no checksum was to be had without a transfer. */
  isUnchecked?: true;
  /** Why it could not be compared. */
  why?: string;
  sourceBytes?: number;
  destinationBytes?: number;
}

/** What a whole check found. */
export interface CheckResult {
  counts: Record<PathState, number>;
  /** Files that count as matching by their sizes alone, because no checksum was to be had without a transfer. */
  unchecked: number;
  /** Why not everything was compared; undefined if it was. */
  incomplete: ListingError | undefined;
}

/** Whether a check found everything, and nothing that differs. */
export function isEqual({ counts, incomplete }: CheckResult): boolean {
  const { match: _, ...others } = counts;
  return incomplete === undefined && Object.values(others).every((count) => count === 0);
}

/**
 * Compares the files of two sides, and writes to neither. Yields what it finds of each path, in the byte order of paths and
 * in bounded memory. A side that cannot be listed to its end is told of in the result: what was not listed is not taken
 * for missing.
 *
 * @throws SettingsError if the source is not there.
 */
export async function* check(
  planned: PlannedCheck,
  options: CheckOptions,
): AsyncGenerator<CheckedPath, CheckResult> {
  const opened: CheckSide[] = [];
  try {
    const source = await CheckSide.open(planned.source, planned.headers, options);
    opened.push(source);
    const destination = await CheckSide.open(planned.destination, planned.headers, options);
    opened.push(destination);
    const checking = { planned, source, destination, options };
    const isTree = await isTreeThere(source);
    const tasks = isTree ? tasksOfTrees(checking) : tasksOfFile(checking);
    return yield* counted(inOrder(tasks, planned.maxWorkers));
  } finally {
    for (const side of opened) await side.close();
  }
}

/** Counts what is found, and takes the failure of a listing for the end. */
export async function* counted(paths: AsyncGenerator<CheckedPath>): AsyncGenerator<CheckedPath, CheckResult> {
  const counts = Object.fromEntries(PATH_STATES.map((state) => [state, 0])) as CheckResult["counts"];
  const result: CheckResult = { counts, unchecked: 0, incomplete: undefined };
  try {
    for await (const path of paths) {
      counts[path.state]++;
      if (path.isUnchecked) result.unchecked++;
      yield path;
    }
  } catch (error) {
    if (!(error instanceof ListingError)) throw error;
    result.incomplete = error;
  }
  return result;
}

interface Checking {
  planned: PlannedCheck;
  source: CheckSide;
  destination: CheckSide;
  options: CheckOptions;
}

/** Finds out about one path. */
export type Task = () => Promise<CheckedPath>;

const done =
  (path: CheckedPath): Task =>
  async () =>
    path;

/** @throws SettingsError if nothing is there. */
async function isTreeThere(source: CheckSide): Promise<boolean> {
  const looked = await source.looked();
  if (looked.is === "nothing") throw new SettingsError(`${source.shown}: ${looked.why}`);
  if (looked.is === "failed") {
    if (looked.error.permanent) throw new SettingsError(looked.error.message);
    throw looked.error;
  }
  return looked.is === "tree";
}

async function* tasksOfTrees({ planned, source, destination, options }: Checking): AsyncGenerator<Task> {
  const { selection, findsExtra } = planned;
  if (!destination.location.storage.destination)
    throw new SettingsError(`${destination.shown} is one file, and ${source.shown} holds many`);
  const wanted = wantedBy(selection);
  const beginning = beginningOf(selection);
  const isThere = await isDestinationThere(destination, options);
  const from = new SortedListing(source.entries(wanted, beginning), wanted);
  const to = new SortedListing(isThere ? destination.entries(wanted, beginning) : nothing(), wanted);
  const isTaken = ({ sizeBytes = 0, mtimeMs = 0 }: FileVersion) => isWithin(selection, sizeBytes, mtimeMs);
  const compare = comparer({ planned, source, destination, options });
  try {
    await Promise.all([from.begin(), to.begin()]);
    for (;;) {
      options.signal.throwIfAborted();
      const name = least([from.name, to.name]);
      if (name === undefined) return;
      const [one, other] = [await from.take(name), await to.take(name)];
      const task = taskOf(name, one, other, compare);
      // The limits are about the source; where it has no such file, about the other one.
      const decides = one ?? other;
      if (task === undefined || (decides?.is === "file" && !isTaken(decides.file))) continue;
      if (one === undefined && !findsExtra) continue;
      yield task;
    }
  } finally {
    await Promise.all([from.close(), to.close()]);
  }
}

async function* nothing(): AsyncGenerator<SideEntry> {}

/** A destination that nobody has written to yet lacks everything. */
export async function isDestinationThere(destination: CheckSide, { warn }: CheckOptions): Promise<boolean> {
  if (destination.location.storage.destination?.mayExist(destination.location.text)) return true;
  const looked = await destination.looked();
  if (looked.is !== "failed" || !isNotFound(looked.error)) return true; // the listing will tell
  warn(`${destination.shown} is not there`);
  return false;
}

type Compare = (name: string, source: FileVersion, destination: FileVersion) => Task;

/** What is to be done about a name; undefined where nothing is to be said. */
function taskOf(
  name: string,
  one: SideEntry | undefined,
  other: SideEntry | undefined,
  compare: Compare,
): Task | undefined {
  const failed = [one, other].find((each) => each?.is === "failed");
  if (failed?.is === "failed") return done({ path: name, state: "error", why: failed.why });
  if (one?.is === "left-out" || other?.is === "left-out") {
    const [out, there, where] = one?.is === "left-out" ? [one, other, "source"] : [other, one, "destination"];
    if (there?.is !== "file" || out?.is !== "left-out") return undefined;
    const what = out.name === name ? out.why : `it is behind ${out.why}, ${out.name}`;
    return done({ path: name, state: "error", why: `on the ${where}: ${what}` });
  }
  if (one?.is === "file" && other?.is === "file") return compare(name, one.file, other.file);
  if (one?.is === "file") return done({ path: name, state: "missing-on-dst", ...sizes(one.file, undefined) });
  if (other?.is === "file")
    return done({ path: name, state: "missing-on-src", ...sizes(undefined, other.file) });
  return undefined;
}

/** One file, which is held against the file of its name in a tree, or against another file. */
async function* tasksOfFile(checking: Checking): AsyncGenerator<Task> {
  const { planned, source, destination, options } = checking;
  const { storage, text } = source.location;
  const tries = new Tries(planned.retries, options.signal);
  const file = await tries.run(() => source.file("", text));
  if (!file) throw new SettingsError(`${source.shown} is not there`);
  const ownName = storage.fileName(text, "name");
  let other: FileVersion | undefined;
  try {
    const { name, location } = await placeOf(destination, ownName, tries);
    other = await tries.run(() => destination.file(name, location));
  } catch (error) {
    if (!(error instanceof TransferError)) throw error;
    yield done({ path: ownName, state: "error", why: error.message });
    return;
  }
  if (other) yield comparer(checking)(ownName, file, other);
  else yield done({ path: ownName, state: "missing-on-dst", ...sizes(file, undefined) });
}

/** Where the copy of one file is thought to be: the destination is that file, or the tree that it is in. */
async function placeOf(
  destination: CheckSide,
  name: string,
  tries: Tries,
): Promise<{ name: string; location: string }> {
  const { storage, text } = destination.location;
  if (!storage.destination) return { name: "", location: text };
  const looked = storage.isTree(text) ? undefined : await tries.run(() => destination.looked());
  if (looked?.is === "file") return { name: "", location: text };
  return { name, location: below(text, name) };
}

function comparer({ planned, source, destination, options }: Checking): Compare {
  const { signal } = options;
  const tries = new Tries(planned.retries, signal);
  return (name, file, other) => async () => {
    const base = { path: name, ...sizes(file, other) };
    try {
      const compared = await tries.run(() =>
        compareFiles(
          { contents: source.contents, file },
          { contents: destination.contents, file: other },
          planned.comparing,
          signal,
        ),
      );
      return { ...base, ...stateOf(compared) };
    } catch (error) {
      if (signal.aborted || !(error instanceof TransferError)) throw error;
      return { ...base, state: "error", why: messageOf(error) };
    }
  };
}

function stateOf(compared: Comparison): Pick<CheckedPath, "state" | "by" | "isUnchecked"> {
  if (compared.is === "unchecked") return { state: "match", by: "size", isUnchecked: true };
  return { state: compared.is === "same" ? "match" : "differ", by: compared.by };
}

function sizes(source: FileVersion | undefined, destination: FileVersion | undefined) {
  const [from, to] = [source?.sizeBytes, destination?.sizeBytes];
  return {
    ...(from === undefined ? {} : { sourceBytes: from }),
    ...(to === undefined ? {} : { destinationBytes: to }),
  };
}
