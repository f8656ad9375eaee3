import { TransferError } from "@drover/shared/errors";
import type { Body, Opened, Source } from "@drover/shared/storage/source";
import { encodeResumeRecord, PIECE_BYTES } from "../../attempt/resume-record.js";
import { HashBehind } from "../../bytes/hash/hash-behind.js";
import { algorithmsFor } from "../../bytes/receive.js";
import type { OpenedBody, Received, WriteAttempt } from "../destination.js";
import type { StagingFile } from "./staging-file.js";

/** Files of this size or more are fetched in pieces if the source supports ranges. */
export const SEGMENTED_BYTES = 64 << 20;
/** So many pieces are fetched at the same time. */
const FETCHERS = 4;
/** A faster piece costs more time in the HTTP parser than a new connection for the next piece. */
const FAST_PIECE_MS = 1000;

/** The bytes of one request: from `startByte` up to, but not including, `endByte`. */
interface Piece {
  number: number;
  startByte: number;
  endByte: number;
}

/**
 * Fetches a large file in pieces, in order and several at a time. Each request is bound to the version that was opened
 * (If-Match). The hash follows close behind the writes. The first answer gives the first piece. Pieces that the record
 * lists are not fetched again.
 */
export class SegmentedFetch {
  readonly #sizeBytes: number;
  readonly #count: number;
  /** Number of the piece that the first answer begins with. */
  readonly #startPiece: number;
  readonly #done: Set<number>;
  /** Number of the next piece that may have to be fetched. */
  #next: number;
  readonly #hashing: HashBehind;
  readonly #stop = new AbortController();
  readonly #signal: AbortSignal;
  /** Whether the server has given a piece besides the first answer. */
  #given = false;

  /** @param first the answer to the first request. It begins at the first byte that the record does not have. */
  constructor(
    private readonly attempt: WriteAttempt,
    private readonly staging: StagingFile,
    private readonly first: OpenedBody,
    private readonly source: Source,
  ) {
    const { entry } = first;
    const { record, lease } = attempt;
    this.#sizeBytes = entry.sizeBytes as number;
    this.#count = Math.ceil(this.#sizeBytes / PIECE_BYTES);
    this.#startPiece = Math.floor(record.contiguousBytes / PIECE_BYTES);
    this.#next = this.#startPiece;
    if (record.contiguousBytes === 0) {
      record.pieces = [];
      staging.create(entry.mode);
    }
    this.#done = new Set(record.pieces);
    this.#hashing = new HashBehind(staging.fd, algorithmsFor(entry));
    this.#hashing.advance(record.contiguousBytes);
    this.#signal = AbortSignal.any([this.#stop.signal, lease.signal]);
  }

  /** Fetches the file. May be called once. @throws TransferError */
  async run(): Promise<Received> {
    const { body } = this.first;
    const sizeBytes = this.#sizeBytes;
    try {
      const fetchers = Array.from({ length: FETCHERS }, (_, at) => this.#fetch(at === 0 ? body : undefined));
      try {
        await Promise.all(fetchers);
      } catch (error) {
        this.#stop.abort(error);
        body.abort(error as Error);
        await Promise.allSettled(fetchers); // after this none of them may write to the file
        throw error;
      }
      const [sha256, other] = await this.#hashing.finish(sizeBytes);
      return { sizeBytes, sha256: sha256 as string, sourceDigest: other ?? sha256, lengthBytes: sizeBytes };
    } finally {
      await this.#hashing.drop();
    }
  }

  /** Fetches pieces until none is left. @param first body of the first answer; one fetcher gets it. */
  async #fetch(first: Body | undefined): Promise<void> {
    let fast = true;
    for (let piece = this.#take(); piece; piece = this.#take()) {
      const startedMs = performance.now();
      if (first && piece.number === this.#startPiece) {
        first.reuseMemory?.();
        await this.#copy(first, piece);
        if (piece.endByte < this.#sizeBytes) first.abort(new Error("the rest comes in other pieces"));
      } else {
        const { body } = await this.#open(piece);
        this.#given = true;
        const unwatch = this.attempt.watchdog.watch(body);
        if (fast) body.reuseMemory?.();
        try {
          await this.#copy(body, piece);
        } catch (error) {
          body.abort(error as Error);
          throw error;
        } finally {
          unwatch();
        }
      }
      fast = performance.now() - startedMs < FAST_PIECE_MS;
      this.#finished(piece);
    }
  }

  #take(): Piece | undefined {
    while (this.#done.has(this.#next)) this.#next++;
    if (this.#next >= this.#count) return undefined;
    const number = this.#next++;
    const startByte = number * PIECE_BYTES;
    return { number, startByte, endByte: Math.min(startByte + PIECE_BYTES, this.#sizeBytes) };
  }

  #finished({ number }: Piece): void {
    const { record, lease } = this.attempt;
    this.#done.add(number);
    let contiguous = Math.floor(record.contiguousBytes / PIECE_BYTES);
    while (this.#done.has(contiguous)) contiguous++;
    record.contiguousBytes = Math.min(contiguous * PIECE_BYTES, this.#sizeBytes);
    record.pieces = [...this.#done].filter((each) => each >= contiguous);
    lease.check();
    lease.note = encodeResumeRecord(record);
    this.#hashing.advance(record.contiguousBytes);
  }

  /**
   * Opens a piece. The rest of this file is fetched in one stream if the server answers with something else. The same
   * goes for a server that has given no piece besides the first and then fails: it may support ranges, but not several
   * requests at once. If it has given some, the failure is temporary, and the pieces that are here are kept.
   */
  async #open({ startByte, endByte }: Piece): Promise<OpenedBody> {
    const { record } = this.attempt;
    const range = { startByte, lastByte: endByte - 1 };
    let opened: Opened;
    try {
      opened = await this.source.openRange(this.first.entry, range, this.#signal);
    } catch (error) {
      if (!(error instanceof TransferError)) throw error;
      const refused = error.verdict === "ok";
      if (refused || (!this.#given && !this.#signal.aborted)) record.oneStream = true;
      if (!refused || !error.permanent) throw error;
      throw new TransferError("changed", `a part of the file was refused: ${error.message}`, {
        verdict: "ok",
      });
    }
    if (opened.is === "body" && opened.offset === startByte) return opened;
    record.oneStream = true;
    if (opened.is === "body") opened.body.abort(new Error("not a range"));
    throw new TransferError("changed", "the server stopped taking ranges while the file was read", {
      verdict: "ok",
    });
  }

  async #copy(body: Body, { startByte, endByte }: Piece): Promise<void> {
    const { record, limiter, lease } = this.attempt;
    let at = startByte;
    while (at < endByte) {
      const chunks = await body.read();
      if (!chunks) {
        record.oneStream = true;
        throw new TransferError("truncated", `a piece ended at byte ${at} of ${endByte}`, {
          verdict: "fail",
        });
      }
      const wanted = trim(chunks, endByte - at);
      const before = at;
      at = await this.staging.write(wanted, at);
      record.receivedBytes += at - before;
      // The first unfinished piece is hashed while it comes, because the hash of the others waits for it.
      if (startByte === record.contiguousBytes) this.#hashing.advance(at);
      await limiter.take(at - before, lease);
    }
  }
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
