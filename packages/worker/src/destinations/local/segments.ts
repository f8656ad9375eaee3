import { TransferError } from "@drover/shared/errors";
import type { Body, Opened, Source, SourceEntry } from "@drover/shared/storage/source";
import type { RunContext } from "../../attempt/context.js";
import { encodeResumeRecord, PIECE_BYTES, type ResumeRecord } from "../../attempt/resume-record.js";
import { HashBehind } from "../../bytes/hash/hash-behind.js";
import { algorithmsFor } from "../../bytes/receive.js";
import type { OpenedBody, Received } from "../destination.js";
import type { LocalStaging } from "./staging.js";

/** Files from this size on are fetched in pieces at once, where the source takes ranges. */
export const SEGMENTED_BYTES = 64 << 20;
/** Pieces that are fetched at the same time. */
const FETCHERS = 4;
/** A piece that comes faster costs more time in the HTTP parser than a new connection for the next piece does. */
const FAST_PIECE_MS = 1000;

/**
 * Fetches a large file in pieces, several at a time and in order, each under the version that was opened (If-Match).
 * The hash follows close behind. The first answer serves the first pieces; pieces that `part` has are kept.
 *
 * @param first the open answer, from the first byte that `part` does not have.
 */
export async function fetchPieces(
  source: Source,
  first: OpenedBody,
  staging: LocalStaging,
  record: ResumeRecord,
  context: RunContext,
): Promise<Received> {
  const { entry } = first;
  const { lease } = staging;
  const sizeBytes = entry.sizeBytes as number;
  const count = Math.ceil(sizeBytes / PIECE_BYTES);
  const done = new Set<number>(record.pieces);
  const startPiece = Math.floor(record.contiguousBytes / PIECE_BYTES);
  let next = startPiece;
  if (record.contiguousBytes === 0) {
    record.pieces = [];
    done.clear();
    staging.create(entry.mode);
  }
  const hashing = new HashBehind(staging.fd, algorithmsFor(entry));
  hashing.advance(record.contiguousBytes);
  const stop = new AbortController();
  const signal = AbortSignal.any([stop.signal, lease.signal]);

  const finished = (piece: number) => {
    done.add(piece);
    let contiguous = Math.floor(record.contiguousBytes / PIECE_BYTES);
    while (done.has(contiguous)) contiguous++;
    record.contiguousBytes = Math.min(contiguous * PIECE_BYTES, sizeBytes);
    record.pieces = [...done].filter((each) => each >= contiguous);
    lease.check();
    lease.note = encodeResumeRecord(record);
    hashing.advance(record.contiguousBytes);
  };
  /** A piece that is first of those not done is hashed while it comes: the others by then wait for it. */
  const written = (start: number, atByte: number) => {
    if (start === record.contiguousBytes) hashing.advance(atByte);
  };
  const take = () => {
    while (done.has(next)) next++;
    return next < count ? next++ : undefined;
  };
  let given = false;
  const fetcher = async (body: Body | undefined): Promise<void> => {
    let fast = true;
    for (let piece = take(); piece !== undefined; piece = take()) {
      const start = piece * PIECE_BYTES;
      const end = Math.min(start + PIECE_BYTES, sizeBytes);
      const startedMs = performance.now();
      if (body && piece === startPiece) {
        body.reuseMemory?.();
        await copyPiece(body, start, end, staging, record, context, written);
        if (end < sizeBytes) body.abort(new Error("the rest comes in other pieces"));
      } else {
        const opened = await openPiece(source, entry, start, end, record, () => given, signal);
        given = true;
        const unwatch = context.watchdog.watch(opened.body);
        if (fast) opened.body.reuseMemory?.();
        try {
          await copyPiece(opened.body, start, end, staging, record, context, written);
        } catch (error) {
          opened.body.abort(error as Error);
          throw error;
        } finally {
          unwatch();
        }
      }
      fast = performance.now() - startedMs < FAST_PIECE_MS;
      finished(piece);
    }
  };

  try {
    const fetchers = Array.from({ length: FETCHERS }, (_, at) => fetcher(at === 0 ? first.body : undefined));
    try {
      await Promise.all(fetchers);
    } catch (error) {
      stop.abort(error);
      first.body.abort(error as Error);
      await Promise.allSettled(fetchers); // none may write to the file after this
      throw error;
    }
    const [sha256, other] = await hashing.finish(sizeBytes);
    return { sizeBytes, sha256: sha256 as string, sourceDigest: other ?? sha256, lengthBytes: sizeBytes };
  } finally {
    await hashing.drop();
  }
}

/**
 * Opens a piece. A server that answers with something else is not asked for pieces of this file again; nor is one that has
 * given none beside the first and does not answer as it should: it may take ranges, but not several requests at once.
 *
 * @param given whether it has given a piece: then what goes wrong will pass, and the pieces that are here are kept.
 */
async function openPiece(
  source: Source,
  entry: SourceEntry,
  start: number,
  end: number,
  record: ResumeRecord,
  given: () => boolean,
  signal: AbortSignal,
): Promise<OpenedBody> {
  let opened: Opened;
  try {
    opened = await source.openRange(entry, { startByte: start, lastByte: end - 1 }, signal);
  } catch (error) {
    if (!(error instanceof TransferError)) throw error;
    const refused = error.verdict === "ok";
    if (refused || (!given() && !signal.aborted)) record.oneStream = true;
    if (!refused || !error.permanent) throw error;
    throw new TransferError("changed", `a part of the file was refused: ${error.message}`, { verdict: "ok" });
  }
  if (opened.is === "body" && opened.offset === start) return opened;
  record.oneStream = true;
  if (opened.is === "body") opened.body.abort(new Error("not a range"));
  throw new TransferError("changed", "the server stopped taking ranges while the file was read", {
    verdict: "ok",
  });
}

async function copyPiece(
  body: Body,
  start: number,
  end: number,
  staging: LocalStaging,
  record: ResumeRecord,
  context: RunContext,
  written: (start: number, atByte: number) => void,
): Promise<void> {
  let at = start;
  while (at < end) {
    const chunks = await body.read();
    if (!chunks) {
      record.oneStream = true;
      throw new TransferError("truncated", `a piece ended at byte ${at} of ${end}`, { verdict: "fail" });
    }
    const wanted = trim(chunks, end - at);
    const before = at;
    at = await staging.write(wanted, at);
    record.receivedBytes += at - before;
    written(start, at);
    await context.limiter.take(at - before, staging.lease);
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
