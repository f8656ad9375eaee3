import { performance } from "node:perf_hooks";
import { TransferError } from "@drover/shared/errors";
import type { Body, Opened, Source } from "@drover/shared/storage/source";
import { encodeResumeRecord } from "../../attempt/resume-record.js";
import { HashBehind } from "../../bytes/hash/hash-behind.js";
import { algorithmsFor } from "../../bytes/receive.js";
import type { OpenedBody, Received, WriteAttempt } from "../destination.js";
import { gapsIn, merged, type Span } from "./spans.js";
import type { StagingFile } from "./staging-file.js";
import { StreamCount } from "./stream-count.js";

/** Files of this size or more are fetched by several streams, if the source supports ranges and that is faster. */
export const STREAMED_BYTES = 64 << 20;
const MIB = 1 << 20;
/** Fewest and most bytes of one request, where several streams share the file. */
const LEAST_PIECE_BYTES = 2 * MIB;
const MOST_PIECE_BYTES = 32 * MIB;
/** A stream that reads less than this before its end is not shortened: closing its connection would cost more. */
const LEAST_SPLIT_BYTES = 8 * MIB;
/** How often the rate is looked at. */
const LOOK_MS = 15;
/** After so many bytes the progress is noted for a successor. */
const NOTE_BYTES = 8 * MIB;
/** A connection that is faster than this, in bytes per ms, costs more time in the HTTP parser than a new one. */
const FAST_BYTES_PER_MS = 32 * 1024;

/** A request under way. Its end is moved where another stream takes over the rest. */
interface Stream extends Span {
  /** All before it are written. */
  atByte: number;
  /** Up to where the answer goes. */
  answerEndByte: number;
  isOpen: boolean;
}

/**
 * Fetches a large file by one stream, and by more while they add to its rate: see {@link StreamCount}. Each request is bound to the
 * version that was opened (If-Match). The file is shared out in its order, so that the hash follows close behind the writes;
 * pieces get smaller towards the end, so that all streams end at about the same time. What the record lists is not fetched again.
 */
export class StreamedFetch {
  readonly #sizeBytes: number;
  /** Nobody fetches these. */
  #free: Span[];
  /** Complete, merged. */
  #done: Span[];
  readonly #streams = new Set<Stream>();
  readonly #hashing: HashBehind;
  readonly #stop = new AbortController();
  readonly #signal: AbortSignal;
  readonly #count: StreamCount;
  /** Further streams. */
  readonly #others = new Set<Promise<void>>();
  /** Whether the host has given a piece besides the first answer. */
  #given = false;
  /** Whether a connection broke: what fails then says nothing of how many streams the host gives. */
  #hasBroken = false;
  #notedBytes = 0;

  /** @param first the answer to the first request. It begins at the first byte that the record does not have. */
  constructor(
    private readonly attempt: WriteAttempt,
    private readonly staging: StagingFile,
    private readonly first: OpenedBody,
    private readonly source: Source,
  ) {
    const { entry } = first;
    const { record, lease, terms } = attempt;
    this.#sizeBytes = entry.sizeBytes as number;
    if (record.contiguousBytes === 0) {
      record.spans = [];
      staging.create(entry.mode);
    }
    this.#done = merged([{ startByte: 0, endByte: record.contiguousBytes }, ...record.spans]);
    this.#free = gapsIn(this.#done, this.#sizeBytes);
    this.#hashing = new HashBehind(staging.fd, algorithmsFor(entry));
    this.#hashing.advance(record.contiguousBytes);
    this.#signal = AbortSignal.any([this.#stop.signal, lease.signal]);
    record.receivedBytes = this.#done.reduce((sum, { startByte, endByte }) => sum + endByte - startByte, 0);
    this.#notedBytes = record.receivedBytes;
    this.#count = new StreamCount(Math.min(terms.streams, lease.mostStreams), {
      nowMs: performance.now(),
      receivedBytes: record.receivedBytes,
    });
  }

  /** Fetches the file. May be called once. @throws TransferError */
  async run(): Promise<Received> {
    const { body } = this.first;
    const sizeBytes = this.#sizeBytes;
    const watching = this.#watch();
    this.#stop.signal.addEventListener("abort", () => body.abort(this.#stop.signal.reason as Error));
    try {
      await this.#fetch(body);
      // One that ends may have left its place to another.
      while (this.#others.size > 0) await Promise.all(this.#others);
      const [missing] = gapsIn(this.#done, sizeBytes);
      if (missing) throw new Error(`nothing has fetched the bytes from ${missing.startByte} on`);
      const [sha256, other] = await this.#hashing.finish(sizeBytes);
      return { sizeBytes, sha256: sha256 as string, sourceDigest: other ?? sha256, lengthBytes: sizeBytes };
    } catch (error) {
      this.#stop.abort(error);
      throw error;
    } finally {
      clearInterval(watching);
      await Promise.allSettled(this.#others); // after this none of them may write to the file
      await this.#hashing.drop();
    }
  }

  /** Looks at the rate every now and then, and adds streams. */
  #watch(): NodeJS.Timeout {
    let before = { ms: performance.now(), usedMs: threadCpuMs() };
    const look = () => {
      const now = { ms: performance.now(), usedMs: threadCpuMs() };
      const busy = (now.usedMs - before.usedMs) / (now.ms - before.ms);
      before = now;
      const open = [...this.#streams].filter(({ isOpen }) => isOpen).length;
      const { receivedBytes } = this.attempt.record;
      this.#count.look({ nowMs: performance.now(), receivedBytes, open, busy });
      while (this.#streams.size < this.#count.target && this.#addStream());
    };
    return setInterval(look, LOOK_MS).unref();
  }

  /** @returns whether there was something left for one. */
  #addStream(): boolean {
    const stream = this.#take();
    if (!stream) return false;
    const fetching = this.#fetchFrom(stream);
    this.#others.add(fetching);
    fetching.then(
      () => this.#others.delete(fetching),
      (error) => this.#stop.abort(error), // it is awaited in run
    );
    return true;
  }

  /** Reads the first answer, which goes to the end of the file, up to where another stream takes over; then pieces. */
  async #fetch(body: Body): Promise<void> {
    const [gap] = this.#free.splice(0, 1);
    if (!gap) return;
    if (gap.startByte !== this.first.offset)
      throw new Error(`the answer begins at byte ${this.first.offset}, and byte ${gap.startByte} is missing`);
    const stream: Stream = { ...gap, atByte: gap.startByte, answerEndByte: this.#sizeBytes, isOpen: true };
    this.#streams.add(stream);
    body.reuseMemory?.();
    if (!(await this.#read(body, stream))) return;
    const next = this.#next();
    if (next) await this.#fetchFrom(next);
  }

  /** Fetches a piece, and further ones while there are any and no fewer streams are wanted. */
  async #fetchFrom(from: Stream): Promise<void> {
    let isFast = true;
    for (let stream: Stream | undefined = from; stream; stream = this.#next()) {
      const startedMs = performance.now();
      const opened = await this.#open(stream);
      if (!opened) return;
      const { body } = opened;
      const unwatch = this.attempt.watchdog.watch(body);
      if (isFast) body.reuseMemory?.();
      const isWhole = await this.#read(body, stream).finally(unwatch);
      if (!isWhole) return;
      const bytes = stream.atByte - stream.startByte;
      isFast = bytes / (performance.now() - startedMs) > FAST_BYTES_PER_MS;
    }
  }

  /**
   * Reads a piece up to where another stream takes over. Where its connection breaks, or nothing comes any more, the other streams
   * fetch the rest.
   *
   * @returns false where they do.
   */
  async #read(body: Body, stream: Stream): Promise<boolean> {
    try {
      await this.#copy(body, stream);
      if (stream.endByte < stream.answerEndByte) body.abort(new Error("the rest comes in other pieces"));
      this.#over(stream);
      return true;
    } catch (error) {
      body.abort(error as Error);
      const isBroken = error instanceof TransferError && error.verdict === "fail";
      if (!isBroken || this.#signal.aborted || this.#streams.size === 1) throw error;
      this.#hasBroken = true;
      this.#over(stream);
      this.#count.limit(this.#streams.size, performance.now());
      return false;
    }
  }

  /** The next piece of a stream; undefined where none is left, or there are enough others. */
  #next(): Stream | undefined {
    return this.#streams.size < this.#count.target ? this.#take() : undefined;
  }

  /** Takes what comes first in the file; of what another stream would fetch alone, the later part. */
  #take(): Stream | undefined {
    const { target } = this.#count;
    const left = (of: Iterable<Span>) =>
      [...of].reduce((sum, { startByte, endByte }) => sum + endByte - startByte, 0);
    const running = [...this.#streams].map(({ atByte, endByte }) => ({ startByte: atByte, endByte }));
    const share = Math.ceil((left(this.#free) + left(running)) / (2 * target) / MIB) * MIB;
    const pieceBytes = Math.min(Math.max(share, LEAST_PIECE_BYTES), MOST_PIECE_BYTES);
    if (this.#free.length === 0) this.#split(pieceBytes);
    const [gap] = this.#free;
    if (!gap) return undefined;
    const isAlone = this.#streams.size === 0 && target === 1;
    const { startByte } = gap;
    const endByte = isAlone ? gap.endByte : Math.min(startByte + pieceBytes, gap.endByte);
    gap.startByte = endByte;
    if (endByte === gap.endByte) this.#free.shift();
    const stream = { startByte, endByte, atByte: startByte, answerEndByte: endByte, isOpen: false };
    this.#streams.add(stream);
    return stream;
  }

  /** Lets the stream that has most before it keep a piece alone. */
  #split(pieceBytes: number): void {
    let longest: Stream | undefined;
    for (const each of this.#streams)
      if (!longest || each.endByte - each.atByte > longest.endByte - longest.atByte) longest = each;
    if (!longest) return;
    const left = longest.endByte - longest.atByte;
    const keepBytes = Math.max(LEAST_PIECE_BYTES, Math.min(pieceBytes, left / 2));
    if (left - keepBytes < LEAST_SPLIT_BYTES) return;
    const cutByte = Math.ceil((longest.atByte + keepBytes) / MIB) * MIB;
    this.#free.push({ startByte: cutByte, endByte: longest.endByte });
    longest.endByte = cutByte;
  }

  /** Gives back what a stream has not fetched: to the one before it, if its answer goes so far. */
  #giveBack({ atByte, endByte }: Stream): void {
    this.#free = merged([...this.#free, { startByte: atByte, endByte }]);
    const [gap] = this.#free;
    const before = [...this.#streams].find((each) => each.isOpen && each.endByte === gap?.startByte);
    if (!gap || !before || before.answerEndByte < gap.endByte) return;
    before.endByte = gap.endByte;
    this.#free.shift();
  }

  /** Ends a stream, and gives back what it has not fetched. */
  #over(stream: Stream): void {
    this.#streams.delete(stream);
    if (stream.atByte < stream.endByte) this.#giveBack(stream);
    this.#done = merged([...this.#done, { startByte: stream.startByte, endByte: stream.atByte }]);
    this.#note();
  }

  /** Notes what is here for a successor. */
  #note(): void {
    const { record, lease } = this.attempt;
    const written = [...this.#streams].map(({ startByte, atByte }) => ({ startByte, endByte: atByte }));
    const here = merged([...this.#done, ...written]);
    if (here[0]?.startByte === 0) record.contiguousBytes = here.shift()?.endByte as number;
    record.spans = here;
    this.#notedBytes = record.receivedBytes;
    lease.check();
    lease.note = encodeResumeRecord(record);
    this.#hashing.advance(record.contiguousBytes);
  }

  /**
   * Opens a piece. Where the host gives no further stream, asks for less, or answers with something else, the others go on without
   * it. Later attempts fetch this file in one stream if it gave no piece besides the first, or something else.
   *
   * @returns undefined where the others go on.
   */
  async #open(stream: Stream): Promise<OpenedBody | undefined> {
    const { record } = this.attempt;
    const { startByte, endByte } = stream;
    const range = { startByte, lastByte: endByte - 1 };
    let opened: Opened;
    try {
      opened = await this.source.openRange(this.first.entry, range, this.#signal);
    } catch (error) {
      this.#streams.delete(stream);
      if (!(error instanceof TransferError)) throw error;
      const isRefused = error.verdict === "ok" && !error.throttled;
      if (!isRefused && !this.#signal.aborted && this.#streams.size > 0) {
        this.#giveBack(stream);
        if (!this.#given && !this.#hasBroken) record.oneStream = true;
        const most = error.throttled ? this.#streams.size >> 1 : this.#streams.size;
        this.#count.limit(most, performance.now());
        return undefined;
      }
      const isFirst = !this.#given && !this.#hasBroken && !this.#signal.aborted;
      if (isRefused || isFirst) record.oneStream = true;
      if (!isRefused || !error.permanent) throw error;
      throw new TransferError("changed", `a part of the file was refused: ${error.message}`, {
        verdict: "ok",
      });
    }
    if (opened.is === "body" && opened.offset === startByte) {
      stream.isOpen = true;
      this.#given = true;
      return opened;
    }
    record.oneStream = true;
    if (opened.is === "body") opened.body.abort(new Error("not a range"));
    this.#streams.delete(stream);
    const isSame = opened.entry.strongEtag === this.first.entry.strongEtag;
    if (isSame && this.#streams.size > 0) {
      this.#giveBack(stream);
      this.#count.limit(1, performance.now());
      return undefined;
    }
    throw new TransferError("changed", "the server stopped taking ranges while the file was read", {
      verdict: "ok",
    });
  }

  async #copy(body: Body, stream: Stream): Promise<void> {
    const { record, limiter, lease } = this.attempt;
    // Its end may come nearer, or go further away, while it is read.
    while (stream.atByte < stream.endByte) {
      const chunks = await body.read();
      if (!chunks) {
        record.oneStream = true;
        throw new TransferError("truncated", `a piece ended at byte ${stream.atByte} of ${stream.endByte}`, {
          verdict: "fail",
        });
      }
      const wanted = trim(chunks, stream.answerEndByte - stream.atByte);
      const before = stream.atByte;
      stream.atByte = await this.staging.write(wanted, before);
      const bytes = stream.atByte - before;
      record.receivedBytes += bytes;
      // What comes first in the file is hashed while it comes, because the hash of the rest waits for it.
      if (stream.startByte <= record.contiguousBytes && stream.atByte > record.contiguousBytes) {
        record.contiguousBytes = stream.atByte;
        this.#hashing.advance(stream.atByte);
      }
      if (record.receivedBytes - this.#notedBytes >= NOTE_BYTES) this.#note();
      await limiter.take(bytes, lease);
    }
  }
}

/** Processor time of this thread so far, in milliseconds; of the whole process before Node 23.9, which tells of one thread not. */
function threadCpuMs(): number {
  const { user, system } = (process.threadCpuUsage ?? process.cpuUsage)();
  return (user + system) / 1000;
}

function trim(chunks: Buffer[], bytes: number): Buffer[] {
  const kept: Buffer[] = [];
  let left = bytes;
  for (const chunk of chunks) {
    if (left <= 0) break;
    kept.push(chunk.length <= left ? chunk : chunk.subarray(0, left));
    left -= chunk.length;
  }
  return kept;
}
