import { SettingsError } from "@drover/shared/errors";
import { compareLines } from "./compare-lines.js";
import { readCsv } from "./csv.js";
import type { Read, Row } from "./rows.js";
import { Sorter } from "./sorter.js";

/** The properties of a file that are compared. Texts are bytes, see {@link Row}. */
export interface State {
  sizeBytes: number;
  sha256: string;
  mode: string;
  /** Owner and grants in the state of a mirror; "" or absent where they are not known. */
  owner?: string;
  grants?: string;
}

/** One difference of a file between two catalogs. If both content and mode differ, there are two changes. */
export type Change = { path: string } & (
  | { change: "added"; new: State }
  | { change: "removed"; old: State }
  | { change: "changed"; old: State; new: State }
  /** A file was removed at `from` and added at `path`, which has the same known checksum, or was moved from there by an event. */
  | { change: "renamed"; from: string; old: State; new: State }
  | { change: "permissions"; old: State; new: State }
);

/**
 * Yields the differences between two exports, ordered by the bytes of the paths, in bounded memory. Unsorted
 * files are sorted first. Both files are read completely before the first change is yielded.
 *
 * @param memoryBytes limit of each sorter. Defaults to that of {@link Sorter}.
 * @throws SettingsError if a file is not a catalog or names a path twice.
 */
export async function* diff(oldFile: string, newFile: string, memoryBytes?: number): AsyncGenerator<Change> {
  const quick = new Collected(memoryBytes);
  try {
    if (await compareLines(oldFile, newFile, quick)) {
      quick.findRenamed();
      yield* quick.changes();
      return;
    }
  } finally {
    quick.close();
  }
  const unsorted = new Set<string>();
  for (;;) {
    const collected = new Collected(memoryBytes);
    try {
      const rows = (file: string) =>
        unsorted.has(file)
          ? sortedRows(file, memoryBytes)
          : inOrder(readCsv(file, ["path", "size", "sha256"]), file);
      await compare(rows(oldFile), rows(newFile), collected);
      collected.findRenamed();
      yield* collected.changes();
      return;
    } catch (error) {
      if (!(error instanceof Unsorted)) throw error;
      unsorted.add(error.file); // nothing was yielded yet
    } finally {
      collected.close();
    }
  }
}

/**
 * Yields the differences between rows that are sorted by path and in memory, as {@link diff} does.
 *
 * @param olds rows of the files that were there.
 * @param nows rows of the files that are there.
 */
export async function* diffRows(olds: Iterable<Row>, nows: Iterable<Row>): AsyncGenerator<Change> {
  const collected = new Collected(undefined);
  const rows = async function* (given: Iterable<Row>) {
    yield* given;
  };
  try {
    await compare(rows(olds), rows(nows), collected);
    collected.findRenamed();
    yield* collected.changes();
  } finally {
    collected.close();
  }
}

class Unsorted extends Error {
  constructor(readonly file: string) {
    super(`${file} is not sorted by path`);
  }
}

/** Collects changes in any order and yields them sorted by path. */
class Collected {
  readonly #removed: Sorter;
  readonly #added: Sorter;
  /** By the path that an event moved them from. */
  readonly #moved: Sorter;
  readonly #removedBySum: Sorter;
  readonly #addedBySum: Sorter;
  readonly #changes: Sorter;

  constructor(memoryBytes: number | undefined) {
    this.#removed = new Sorter(memoryBytes);
    this.#added = new Sorter(memoryBytes);
    this.#moved = new Sorter(memoryBytes);
    this.#removedBySum = new Sorter(memoryBytes);
    this.#addedBySum = new Sorter(memoryBytes);
    this.#changes = new Sorter(memoryBytes);
  }

  removed(row: Row): void {
    this.#removed.add([row.path, row.path, ...stateOf(row)].join("\0"));
  }

  added(row: Row): void {
    const from = row.movedFrom ?? "";
    if (from === "") this.#added.add([row.path, row.path, ...stateOf(row)].join("\0"));
    else this.#moved.add([from, row.path, ...stateOf(row)].join("\0"));
  }

  both(old: Row, now: Row): void {
    if (isChanged(old, now)) this.#add("changed", now.path, "", old, now);
    if (isGivenMode(old, now)) this.#add("permissions", now.path, "", old, now);
    else this.#permissions(now.path, old, now);
  }

  #permissions(path: string, old: State, now: State): void {
    const differs = (name: "mode" | "owner" | "grants") =>
      (old[name] ?? "") !== "" && (now[name] ?? "") !== "" && old[name] !== now[name];
    const isGiven = (name: "owner" | "grants") => (old[name] ?? "") === "" && (now[name] ?? "") !== "";
    if (differs("mode") || differs("owner") || differs("grants") || isGiven("owner") || isGiven("grants"))
      this.#add("permissions", path, "", old, now);
  }

  /**
   * Pairs removed and added files: first by the events that moved them, then those of equal checksum, both in the order of
   * their paths.
   */
  findRenamed(): void {
    const unmoved = (keyed: Keyed) => this.#addedBySum.add(bySum(keyed));
    for (const record of this.#added.sorted()) unmoved(keyedOf(record));
    this.#pair(this.#removed.sorted(), this.#moved.sorted(), {
      old: (keyed) => this.#removedBySum.add(bySum(keyed)),
      now: unmoved,
    });
    // Empty files all have the same checksum, so they count as renamed by an event alone.
    const alone = (keyed: Keyed) => keyed.sha256 === "" || keyed.sizeBytes === 0;
    const without = function* (records: Iterable<string>, end: (keyed: Keyed) => void) {
      for (const record of records) {
        const keyed = keyedOf(record);
        if (alone(keyed)) end(keyed);
        else yield record;
      }
    };
    const removed = (old: Keyed) => this.#add("removed", old.path, "", old, undefined);
    const added = (now: Keyed) => this.#add("added", now.path, "", undefined, now);
    this.#pair(without(this.#removedBySum.sorted(), removed), without(this.#addedBySum.sorted(), added), {
      old: removed,
      now: added,
    });
  }

  /** Pairs records of equal keys as renamed. @param rest told what has no other. */
  #pair(
    olds: Iterator<string>,
    nows: Iterator<string>,
    rest: { old(keyed: Keyed): void; now(keyed: Keyed): void },
  ): void {
    let old = takeKeyed(olds);
    let now = takeKeyed(nows);
    while (old || now) {
      if (old && now && old.key === now.key) {
        this.#add("renamed", now.path, old.path, old, now);
        this.#permissions(now.path, old, now);
        old = takeKeyed(olds);
        now = takeKeyed(nows);
      } else if (old && (!now || old.key < now.key)) {
        rest.old(old);
        old = takeKeyed(olds);
      } else if (now) {
        rest.now(now);
        now = takeKeyed(nows);
      }
    }
  }

  #add(change: Change["change"], path: string, from: string, old: State | undefined, now: State | undefined) {
    const state = (of: State | undefined) => (of ? stateOf(of) : ["", "", "", "", ""]);
    this.#changes.add([path, change, from, ...state(old), ...state(now)].join("\0"));
  }

  *changes(): Generator<Change> {
    for (const record of this.#changes.sorted()) {
      const [path = "", change, from = "", ...rest] = record.split("\0");
      const old = () => stateAt(rest, 0);
      const now = () => stateAt(rest, 5);
      if (change === "added") yield { path, change, new: now() };
      else if (change === "removed") yield { path, change, old: old() };
      else if (change === "renamed") yield { path, change, from, old: old(), new: now() };
      else yield { path, change: change as "changed" | "permissions", old: old(), new: now() };
    }
  }

  close(): void {
    for (const sorter of [this.#removed, this.#added, this.#moved]) sorter.close();
    for (const sorter of [this.#removedBySum, this.#addedBySum, this.#changes]) sorter.close();
  }
}

/** A file with what it is paired by. */
type Keyed = State & { key: string; path: string };

function stateOf({ sizeBytes, sha256, mode, owner = "", grants = "" }: State): (string | number)[] {
  return [sizeBytes, sha256, mode, owner, grants];
}

function stateAt(fields: readonly string[], at: number): State {
  const [size, sha256 = "", mode = "", owner = "", grants = ""] = fields.slice(at, at + 5);
  const known = { ...(owner === "" ? {} : { owner }), ...(grants === "" ? {} : { grants }) };
  return { sizeBytes: Number(size), sha256, mode, ...known };
}

function keyedOf(record: string): Keyed {
  const [key = "", path = "", ...state] = record.split("\0");
  return { key, path, ...stateAt(state, 0) };
}

function bySum(keyed: Keyed): string {
  return [keyed.sha256, keyed.path, ...stateOf(keyed)].join("\0");
}

function takeKeyed(records: Iterator<string>): Keyed | undefined {
  const next = records.next();
  return next.done ? undefined : keyedOf(next.value);
}

/** Whether an event of a mirror gave a mode to a version that has none of its own. */
function isGivenMode(old: Row, now: Row): boolean {
  return now.mtime !== undefined && old.mode === "" && now.mode !== "" && old.version === now.version;
}

/** Whether the content differs. Without both checksums, the versions at the source decide. */
function isChanged(old: Row, now: Row): boolean {
  if (old.sizeBytes !== now.sizeBytes) return true;
  if (old.sha256 !== "" && now.sha256 !== "") return old.sha256 !== now.sha256;
  return old.version !== "" && now.version !== "" && old.version !== now.version;
}

async function compare(olds: AsyncGenerator<Row>, nows: AsyncGenerator<Row>, into: Collected): Promise<void> {
  try {
    let old = await olds.next();
    let now = await nows.next();
    while (!old.done || !now.done) {
      if (now.done || (!old.done && old.value.path < now.value.path)) {
        into.removed(old.value as Row);
        old = await olds.next();
      } else if (old.done || now.value.path < old.value.path) {
        into.added(now.value);
        now = await nows.next();
      } else {
        into.both(old.value, now.value);
        old = await olds.next();
        now = await nows.next();
      }
    }
  } finally {
    await olds.return(undefined);
    await nows.return(undefined);
  }
}

/** @throws Unsorted; SettingsError if a path comes twice. */
async function* inOrder(rows: AsyncGenerator<Read>, file: string): AsyncGenerator<Row> {
  let last: string | undefined;
  for await (const { row, line } of rows) {
    if (last !== undefined && row.path <= last) {
      if (row.path === last) throw twice(file, line);
      throw new Unsorted(file);
    }
    last = row.path;
    yield row;
  }
}

async function* sortedRows(file: string, memoryBytes: number | undefined): AsyncGenerator<Row> {
  const sorter = new Sorter(memoryBytes);
  try {
    for await (const { row, line } of readCsv(file, ["path", "size", "sha256"]))
      sorter.add([row.path, line, ...stateOf(row), row.version, row.movedFrom ?? ""].join("\0"));
    let last: string | undefined;
    for (const record of sorter.sorted()) {
      const [path = "", line, ...rest] = record.split("\0");
      const [version = "", movedFrom = ""] = rest.slice(5);
      if (path === last) throw twice(file, Number(line));
      last = path;
      yield { path, ...stateAt(rest, 0), version, movedFrom, sourceId: "", stamp: "" };
    }
  } finally {
    sorter.close();
  }
}

function twice(file: string, line: number): SettingsError {
  return new SettingsError(`${file}, line ${line}: this path comes twice`);
}
