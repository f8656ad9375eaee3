import { jobId, type TransferJob } from "@drover/shared/job";
import type { Admission } from "@drover/shared/protocol/admission";
import type { ChunkFile } from "@drover/shared/protocol/backlog";
import type { HostBreakers } from "@drover/shared/protocol/host-breakers";
import type { RunSpec } from "@drover/shared/run";
import type { TreeNames } from "@drover/shared/storage/tree";
import { WINDOW_FILES, Window } from "./window.js";

/** A file in BullMQ. */
export interface Pending {
  job: TransferJob;
  priority: number;
  /** Unix time in ms at which it was added; for a job of an earlier leader, at which this one learnt of it. */
  addedMs: number;
}

/** A run as the leader sees it. */
export interface DispatchedRun {
  id: string;
  spec: RunSpec;
  /** Unix time in ms. */
  startedMs: number;
  admission: Admission;
  breakers: HostBreakers;
  tree: TreeNames;
  flows: Map<string, Flow>;
  /** Number of chunks in its backlog when it was last read. */
  seen: number;
  /** Unix time in ms at which something was left to do, as far as its leader knows. */
  busyMs: number;
  /** Indexes of files that this run gave up but that are carried for other runs. */
  shared: Set<number>;
}

/** A chunk of the backlog and its files in BullMQ. */
export class Chunk {
  /** Files that are not in BullMQ yet. */
  rest: TransferJob[];
  /** Unsettled files in BullMQ, by index. */
  readonly pending = new Map<number, Pending>();
  /** All its files are in BullMQ. */
  isInFlight = false;
  addedMs = 0;

  constructor(
    readonly id: string,
    files: TransferJob[],
  ) {
    this.rest = files;
  }

  /** First and last index of the pending files; there must be at least one. */
  get range(): { first: number; last: number } {
    let first = Number.POSITIVE_INFINITY;
    let last = -1;
    for (const index of this.pending.keys()) {
      if (index < first) first = index;
      if (index > last) last = index;
    }
    return { first, last };
  }

  /**
   * Drops settled files. @param bytes the run's bitmap of settled files, starting with the byte of index
   * `first`.
   */
  drop(first: number, bytes: Buffer): void {
    const base = first >> 3;
    for (const index of this.pending.keys()) {
      const byte = bytes[(index >> 3) - base] ?? 0;
      if (byte & (0x80 >> (index & 7))) this.pending.delete(index);
    }
  }
}

/** The files of one run from one host: the unit of fair queueing. */
export class Flow {
  /** Ids of chunks in the backlog, in order. */
  waiting: string[] = [];
  /** Chunks that have been read, by id. */
  readonly chunks = new Map<string, Chunk>();
  /**
   * Start tag, used as BullMQ priority, of the next file (start-time fair queueing, Goyal, Vin and Cheng
   * 1996).
   */
  nextTag = 0;
  /** Limits the files in BullMQ at once. */
  readonly window: Window;

  /** @param host `host:port`, or "" for files that need no host. */
  constructor(
    readonly runId: string,
    readonly host: string,
  ) {
    this.window = new Window(WINDOW_FILES, host !== "");
  }

  get inQueue(): number {
    let sum = 0;
    for (const chunk of this.chunks.values()) sum += chunk.pending.size;
    return sum;
  }

  /** Files of chunks that were read and that are not in BullMQ yet. */
  get unfed(): number {
    let sum = 0;
    for (const chunk of this.chunks.values()) sum += chunk.rest.length;
    return sum;
  }

  /** Lowest start tag in BullMQ, or Infinity if there is none. */
  get oldestTag(): number {
    let oldest = Number.POSITIVE_INFINITY;
    for (const chunk of this.chunks.values())
      for (const { priority } of chunk.pending.values()) if (priority < oldest) oldest = priority;
    return oldest;
  }

  get hasMore(): boolean {
    if (this.waiting.length > 0) return true;
    for (const chunk of this.chunks.values()) if (chunk.rest.length > 0) return true;
    return false;
  }
}

/** Largest gap, in files, between two chunks that are read from the bitmap with one command. */
const SPAN_FILES = 8_192;

interface ChunkSpan {
  runId: string;
  first: number;
  last: number;
  chunks: Chunk[];
}

/**
 * The index ranges of a run's files in BullMQ. Neighbouring ranges are merged, so that few commands read
 * them.
 */
export function spansOf(run: DispatchedRun): ChunkSpan[] {
  const pending = [...run.flows.values()]
    .flatMap((flow) => [...flow.chunks.values()])
    .filter((chunk) => chunk.pending.size > 0)
    .map((chunk): ChunkSpan => ({ runId: run.id, ...chunk.range, chunks: [chunk] }));
  const spans: ChunkSpan[] = [];
  for (const each of pending.sort((a, b) => a.first - b.first)) {
    const before = spans.at(-1);
    if (!before || each.first > before.last + SPAN_FILES) {
      spans.push(each);
      continue;
    }
    before.last = Math.max(before.last, each.last);
    before.chunks.push(...each.chunks);
  }
  return spans;
}

/** Converts the stored files of a chunk to jobs of the fleet's queue. */
export function jobsOf(runId: string, files: ChunkFile[]): TransferJob[] {
  return files.map(([i, job, own]) => ({ ...job, i, r: runId, ...(own ? { o: own } : {}) }) as TransferJob);
}

// Chunk ids have the form `<batch>|<host>`, or `<batch>.<more>|<host>` for files that were put back.

export function hostOfChunk(chunk: string): string {
  return chunk.slice(chunk.indexOf("|") + 1);
}

export function batchOfChunk(chunk: string): number {
  return Number.parseInt(chunk, 10);
}

/** The file of a job as it is stored in a chunk: the reverse of {@link jobsOf}. */
export function chunkFileOf({ i, r, o, ...job }: TransferJob): ChunkFile {
  return o ? [i, job, 1] : [i, job];
}

export function fleetJobId(job: TransferJob): string {
  return jobId(job.r as string, job.i, job.g);
}
