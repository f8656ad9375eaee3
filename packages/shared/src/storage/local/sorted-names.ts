import { closeSync, type Dirent, readSync, statSync, writeSync } from "node:fs";
import { opendir } from "node:fs/promises";
import { join } from "node:path";
import { openTemporary } from "../../temporary-file.js";
import { compareKeys } from "../key-order.js";

/** Names sorted in memory at once; larger directories are sorted in runs in a temporary file. */
const MOST_NAMES = 200_000;
const BLOCK_BYTES = 64 << 10;

/** Type of a directory entry: directory (or a link to one, where links are followed), file, symbolic link, other. */
export type Kind = "d" | "f" | "l" | "o";

/** An entry of a directory. */
export interface Name {
  name: string;
  kind: Kind;
}

/** Sort key of an entry among the paths of a tree: `a/` sorts after `a.b` and before `a0`. */
function orderOf({ name, kind }: Name): string {
  return kind === "d" ? `${name}/` : name;
}

function compareNames(a: Name, b: Name): number {
  return compareKeys(orderOf(a), orderOf(b));
}

/**
 * Yields the entries of a directory in the byte order of the whole tree's paths, which is the order of keys
 * in an S3 listing. Memory is bounded.
 *
 * @param onError called if the directory cannot be read completely; the entries read until then are yielded.
 * @param links whether a link to a directory is a directory. Default false.
 * @param most names in memory. Defaults to 200,000.
 */
export async function* sortedNames(
  directory: string,
  { onError, links = false }: { onError(error: unknown): void; links?: boolean },
  most = MOST_NAMES,
): AsyncGenerator<Name> {
  let names: Name[] = [];
  let spill: Spill | undefined;
  try {
    try {
      for await (const entry of await opendir(directory, { bufferSize: 1024 })) {
        names.push({ name: entry.name, kind: links ? followed(directory, entry) : kindOf(entry) });
        if (names.length < most) continue;
        spill ??= new Spill();
        spill.add(names.sort(compareNames));
        names = [];
      }
    } catch (error) {
      onError(error);
    }
    yield* merged([...(spill?.runs() ?? []), names.sort(compareNames).values()]);
  } finally {
    spill?.close();
  }
}

function kindOf(entry: Dirent): Kind {
  return entry.isDirectory() ? "d" : entry.isFile() ? "f" : entry.isSymbolicLink() ? "l" : "o";
}

function followed(directory: string, entry: Dirent): Kind {
  if (!entry.isSymbolicLink()) return kindOf(entry);
  try {
    return statSync(join(directory, entry.name)).isDirectory() ? "d" : "l";
  } catch {
    return "l"; // it leads nowhere, or round in a circle
  }
}

/** Merges sorted runs. Entries that a changing directory returned twice are yielded once. */
function* merged(runs: Iterator<Name>[]): Generator<Name> {
  const heads = runs.map((run) => run.next());
  let last: string | undefined;
  for (;;) {
    let first = -1;
    for (let at = 0; at < heads.length; at++) {
      const head = heads[at] as IteratorResult<Name>;
      if (head.done) continue;
      if (first < 0 || compareNames(head.value, (heads[first] as IteratorResult<Name>).value) < 0) first = at;
    }
    if (first < 0) return;
    const { value } = heads[first] as IteratorYieldResult<Name>;
    heads[first] = (runs[first] as Iterator<Name>).next();
    if (value.name !== last) yield value;
    last = value.name;
  }
}

/** Sorted runs in a temporary file. */
class Spill {
  readonly #fd = openTemporary();
  readonly #ends: number[] = [];

  add(names: Name[]): void {
    let at = this.#ends.at(-1) ?? 0;
    for (let from = 0; from < names.length; from += 4096) {
      const text = names.slice(from, from + 4096).map(({ name, kind }) => `${kind}${name}\0`);
      const bytes = Buffer.from(text.join(""));
      for (let done = 0; done < bytes.length; )
        done += writeSync(this.#fd, bytes, done, undefined, at + done);
      at += bytes.length;
    }
    this.#ends.push(at);
  }

  runs(): Iterator<Name>[] {
    return this.#ends.map((end, at) => this.#read(this.#ends[at - 1] ?? 0, end));
  }

  *#read(start: number, end: number): Generator<Name> {
    const block = Buffer.allocUnsafe(BLOCK_BYTES);
    let rest = Buffer.alloc(0);
    for (let at = start; at < end; ) {
      const count = readSync(this.#fd, block, 0, Math.min(block.length, end - at), at);
      if (count === 0) throw new Error("the temporary file with a directory's names was cut off");
      at += count;
      const data = Buffer.concat([rest, block.subarray(0, count)]);
      let from = 0;
      for (let stop = data.indexOf(0); stop >= 0; stop = data.indexOf(0, from)) {
        yield {
          kind: data.toString("latin1", from, from + 1) as Kind,
          name: data.toString("utf8", from + 1, stop),
        };
        from = stop + 1;
      }
      rest = data.subarray(from);
    }
  }

  close(): void {
    closeSync(this.#fd);
  }
}
