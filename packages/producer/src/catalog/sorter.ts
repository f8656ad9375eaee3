import { closeSync, readSync, writeSync } from "node:fs";
import { tmpdir } from "node:os";
import { fileError } from "@drover/shared/errors";
import { openTemporary } from "@drover/shared/temporary-file";

/** Default memory limit in bytes. Each string counts as its characters plus STRING_BYTES. */
const MEMORY_BYTES = 32 << 20;
const STRING_BYTES = 40;
const BLOCK_BYTES = 1 << 18;
/** Runs that are merged at once: each needs one block of memory. */
const MOST_RUNS = 128;

/**
 * Sorts any number of records by their bytes, in bounded memory. What exceeds the limit goes to unnamed
 * temporary files, so that nothing is left behind however the process ends.
 *
 * A record is a string of bytes, one character each. To sort by a key, put the key first, followed by a NUL.
 */
export class Sorter {
  #records: string[] = [];
  #bytes = 0;
  #runs: Run[] = [];

  /** @param memoryBytes held in memory before records are spilled to disk. Defaults to 32 MiB. */
  constructor(private readonly memoryBytes = MEMORY_BYTES) {}

  /** @throws TransferError if a temporary file cannot be written. */
  add(record: string): void {
    this.#records.push(record);
    this.#bytes += record.length + STRING_BYTES;
    if (this.#bytes < this.memoryBytes) return;
    this.#spill(this.#records.sort().values());
    this.#records = [];
    this.#bytes = 0;
    if (this.#runs.length < MOST_RUNS) return;
    const runs = this.#runs;
    this.#runs = [];
    this.#spill(merged(runs.map((run) => run.records())));
    for (const run of runs) run.close();
  }

  /** Yields all records in order. Nothing may be added afterwards. */
  sorted(): Generator<string> {
    return merged([...this.#runs.map((run) => run.records()), this.#records.sort().values()]);
  }

  close(): void {
    for (const run of this.#runs) run.close();
    this.#runs = [];
    this.#records = [];
  }

  #spill(records: Iterable<string>): void {
    const run = new Run();
    this.#runs.push(run);
    run.write(records);
  }
}

/** Sorted records in a temporary file, each preceded by its length in four bytes. */
class Run {
  readonly #fd = openRun();

  write(records: Iterable<string>): void {
    let block = Buffer.allocUnsafe(BLOCK_BYTES);
    let filled = 0;
    for (const record of records) {
      const bytes = 4 + record.length;
      if (filled + bytes > block.length) {
        this.#put(block.subarray(0, filled));
        filled = 0;
        if (bytes > block.length) block = Buffer.allocUnsafe(bytes);
      }
      block.writeUInt32LE(record.length, filled);
      block.write(record, filled + 4, "latin1");
      filled += bytes;
    }
    this.#put(block.subarray(0, filled));
  }

  #put(bytes: Buffer): void {
    try {
      for (let done = 0; done < bytes.length; ) done += writeSync(this.#fd, bytes, done);
    } catch (error) {
      throw fileError(error, `write a temporary file in ${tmpdir()}`);
    }
  }

  *records(): Generator<string> {
    let block = Buffer.allocUnsafe(BLOCK_BYTES);
    let from = 0;
    let to = 0;
    let position = 0;
    const have = (bytes: number): boolean => {
      if (to - from >= bytes) return true;
      const rest = block.subarray(from, to);
      const room = bytes > block.length ? Buffer.allocUnsafe(bytes) : block;
      rest.copy(room);
      block = room;
      [from, to] = [0, rest.length];
      while (to < bytes) {
        const count = readSync(this.#fd, block, to, block.length - to, position);
        if (count === 0) return false;
        position += count;
        to += count;
      }
      return true;
    };
    while (have(4)) {
      const length = block.readUInt32LE(from);
      from += 4;
      if (!have(length)) throw new Error("a temporary file is cut short");
      yield block.toString("latin1", from, from + length);
      from += length;
    }
  }

  close(): void {
    closeSync(this.#fd);
  }
}

function openRun(): number {
  try {
    return openTemporary();
  } catch (error) {
    throw fileError(error, `make a temporary file in ${tmpdir()}`);
  }
}

/** Merges sorted runs. A binary heap finds the run with the smallest head. */
function* merged(runs: Iterator<string>[]): Generator<string> {
  const heap: { head: string; run: Iterator<string> }[] = [];
  const sink = (at: number) => {
    for (;;) {
      const left = at * 2 + 1;
      if (left >= heap.length) return;
      const right = left + 1;
      const least = right < heap.length && headAt(right) < headAt(left) ? right : left;
      if (headAt(at) <= headAt(least)) return;
      [heap[at], heap[least]] = [heap[least] as (typeof heap)[0], heap[at] as (typeof heap)[0]];
      at = least;
    }
  };
  const headAt = (at: number) => (heap[at] as (typeof heap)[0]).head;
  for (const run of runs) {
    const first = run.next();
    if (!first.done) heap.push({ head: first.value, run });
  }
  for (let at = (heap.length >> 1) - 1; at >= 0; at--) sink(at);
  for (let top = heap[0]; top; top = heap[0]) {
    yield top.head;
    const next = top.run.next();
    if (next.done) {
      const last = heap.pop() as typeof top;
      if (last !== top) heap[0] = last;
    } else top.head = next.value;
    sink(0);
  }
}
