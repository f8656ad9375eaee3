import { SettingsError } from "@drover/shared/errors";
import { readCsv } from "./csv.js";
import type { Read, Row } from "./rows.js";
import { Sorter } from "./sorter.js";

/** The properties of a file that are compared. Texts are bytes, see {@link Row}. */
export interface State {
  sizeBytes: number;
  sha256: string;
  mode: string;
}

/** One difference of a file between two catalogs. If both content and mode differ, there are two changes. */
export type Change = { path: string } & (
  | { change: "added"; new: State }
  | { change: "removed"; old: State }
  | { change: "changed"; old: State; new: State }
  /** A file with the same, known checksum was removed at `from` and added at `path`. */
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

class Unsorted extends Error {
  constructor(readonly file: string) {
    super(`${file} is not sorted by path`);
  }
}

/** Collects changes in any order and yields them sorted by path. */
class Collected {
  readonly #removed: Sorter;
  readonly #added: Sorter;
  readonly #changes: Sorter;

  constructor(memoryBytes: number | undefined) {
    this.#removed = new Sorter(memoryBytes);
    this.#added = new Sorter(memoryBytes);
    this.#changes = new Sorter(memoryBytes);
  }

  /** Empty files all have the same checksum, so they never count as renamed. */
  removed(row: Row): void {
    if (row.sha256 === "" || row.sizeBytes === 0) this.#add("removed", row.path, "", row, undefined);
    else this.#removed.add([row.sha256, row.path, row.sizeBytes, row.mode].join("\0"));
  }

  added(row: Row): void {
    if (row.sha256 === "" || row.sizeBytes === 0) this.#add("added", row.path, "", undefined, row);
    else this.#added.add([row.sha256, row.path, row.sizeBytes, row.mode].join("\0"));
  }

  both(old: Row, now: Row): void {
    if (isChanged(old, now)) this.#add("changed", now.path, "", old, now);
    this.#permissions(now.path, old, now);
  }

  #permissions(path: string, old: State, now: State): void {
    if (old.mode !== "" && now.mode !== "" && old.mode !== now.mode)
      this.#add("permissions", path, "", old, now);
  }

  /** Pairs removed and added files of equal checksum, both in the order of their paths. */
  findRenamed(): void {
    const removed = this.#removed.sorted();
    const added = this.#added.sorted();
    let old = takeBySum(removed);
    let now = takeBySum(added);
    while (old || now) {
      if (old && now && old.sha256 === now.sha256) {
        this.#add("renamed", now.path, old.path, old, now);
        this.#permissions(now.path, old, now);
        old = takeBySum(removed);
        now = takeBySum(added);
      } else if (old && (!now || old.sha256 < now.sha256)) {
        this.#add("removed", old.path, "", old, undefined);
        old = takeBySum(removed);
      } else if (now) {
        this.#add("added", now.path, "", undefined, now);
        now = takeBySum(added);
      }
    }
  }

  #add(change: Change["change"], path: string, from: string, old: State | undefined, now: State | undefined) {
    const state = (of: State | undefined) => (of ? [of.sizeBytes, of.sha256, of.mode] : ["", "", ""]);
    this.#changes.add([path, change, from, ...state(old), ...state(now)].join("\0"));
  }

  *changes(): Generator<Change> {
    for (const record of this.#changes.sorted()) {
      const [path = "", change, from = "", ...rest] = record.split("\0");
      const state = (at: number): State => ({
        sizeBytes: Number(rest[at]),
        sha256: rest[at + 1] ?? "",
        mode: rest[at + 2] ?? "",
      });
      if (change === "added") yield { path, change, new: state(3) };
      else if (change === "removed") yield { path, change, old: state(0) };
      else if (change === "renamed") yield { path, change, from, old: state(0), new: state(3) };
      else yield { path, change: change as "changed" | "permissions", old: state(0), new: state(3) };
    }
  }

  close(): void {
    for (const sorter of [this.#removed, this.#added, this.#changes]) sorter.close();
  }
}

function takeBySum(records: Generator<string>): (State & { path: string }) | undefined {
  const next = records.next();
  if (next.done) return undefined;
  const [sha256 = "", path = "", size, mode = ""] = next.value.split("\0");
  return { path, sha256, sizeBytes: Number(size), mode };
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
      sorter.add([row.path, line, row.sizeBytes, row.sha256, row.mode, row.version].join("\0"));
    let last: string | undefined;
    for (const record of sorter.sorted()) {
      const [path = "", line, size, sha256 = "", mode = "", version = ""] = record.split("\0");
      if (path === last) throw twice(file, Number(line));
      last = path;
      yield { path, sizeBytes: Number(size), sha256, mode, version, sourceId: "", stamp: "" };
    }
  } finally {
    sorter.close();
  }
}

function twice(file: string, line: number): SettingsError {
  return new SettingsError(`${file}, line ${line}: this path comes twice`);
}
