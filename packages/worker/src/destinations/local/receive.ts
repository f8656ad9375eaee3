import { hash } from "node:crypto";
import type { Source, SourceEntry } from "@drover/shared/storage/source";
import { encodeResumeRecord } from "../../attempt/resume-record.js";
import { digestOf } from "../../bytes/hash/digest.js";
import { HashBehind } from "../../bytes/hash/hash-behind.js";
import { algorithmsFor, tooLarge } from "../../bytes/receive.js";
import type { OpenedBody, Received, WriteAttempt } from "../destination.js";

import type { StagingFile } from "./staging-file.js";
import { STREAMED_BYTES, StreamedFetch } from "./streams.js";

/** After so many bytes the progress of a larger file is noted for a successor. */
const NOTE_BYTES = 8 << 20;
/** Files up to this size are held in memory, hashed in one call and written in one call. */
const SMALL_BYTES = 512 << 10;

/**
 * Writes the bytes of an opened file to its staging file.
 *
 * @param source gives more of the file; undefined if the body is decoded on its way.
 * @throws TransferError
 */
export async function receiveLocally(
  attempt: WriteAttempt,
  staging: StagingFile,
  opened: OpenedBody,
  source: Source | undefined,
): Promise<Received> {
  const { offset, entry } = opened;
  const { record, terms, lease } = attempt;
  const mayStream = !record.oneStream && Math.min(terms.streams, lease.mostStreams) > 1;
  if (source && offset === record.contiguousBytes && mayStream && canStream(entry))
    return new StreamedFetch(attempt, staging, opened, source).run();
  return receiveBody(attempt, staging, opened, source && entry.sizeBytes);
}

function canStream(entry: SourceEntry): boolean {
  return entry.ranges && entry.strongEtag !== "" && (entry.sizeBytes ?? 0) >= STREAMED_BYTES;
}

/**
 * Writes one body, from its first byte to its last.
 *
 * @param lengthBytes the size that the staged bytes must have; undefined if it is not known.
 */
async function receiveBody(
  attempt: WriteAttempt,
  staging: StagingFile,
  opened: OpenedBody,
  lengthBytes: number | undefined,
): Promise<Received> {
  const { body, entry } = opened;
  const { lease, record, limiter } = attempt;
  const limit = attempt.terms.maxFileSizeBytes;
  let held: Buffer[] = [];
  let sizeBytes = opened.offset;
  const count = (chunks: Buffer[]) => {
    for (const chunk of chunks) sizeBytes += chunk.length;
    record.receivedBytes = sizeBytes;
    if (limit !== undefined && sizeBytes > limit) throw tooLarge(sizeBytes, limit);
  };
  let ended = false;
  if (opened.offset === 0) {
    // The whole small file is in memory: one hash, one write.
    const complete = body.takeIfComplete();
    if (complete) {
      held = complete;
      count(held);
      await limiter.take(sizeBytes, lease);
      ended = true;
    }
    while (!ended && sizeBytes <= SMALL_BYTES) {
      const chunks = await body.read();
      if (!chunks) {
        ended = true;
        break;
      }
      count(chunks);
      held.push(...chunks);
      await limiter.take(
        chunks.reduce((sum, chunk) => sum + chunk.length, 0),
        lease,
      );
    }
    staging.create(entry.mode);
    if (ended && sizeBytes <= SMALL_BYTES) {
      opened.confirm?.();
      const bytes = held.length === 1 ? (held[0] as Buffer) : Buffer.concat(held);
      staging.writeWhole([bytes], sizeBytes);
      const other = entry.digest && entry.digest.algorithm !== "sha256" ? entry.digest.algorithm : undefined;
      const sha256 = hash("sha256", bytes, "hex");
      return { sizeBytes, sha256, sourceDigest: other ? await digestOf(other, bytes) : sha256, lengthBytes };
    }
  }
  body.reuseMemory?.();
  const hashing = new HashBehind(staging.fd, algorithmsFor(entry));
  try {
    let written = opened.offset;
    let notedBytes = written;
    record.spans = [];
    hashing.advance(written);
    let chunks: Buffer[] | null = held.length > 0 ? held : await body.read();
    while (chunks) {
      if (chunks !== held) count(chunks);
      written = await staging.write(chunks, written);
      record.contiguousBytes = written;
      lease.check();
      hashing.advance(written);
      if (written - notedBytes >= NOTE_BYTES && record.strongEtag !== "") {
        notedBytes = written;
        lease.note = encodeResumeRecord(record);
      }
      if (chunks !== held)
        await limiter.take(
          chunks.reduce((sum, chunk) => sum + chunk.length, 0),
          lease,
        );
      chunks = await body.read();
    }
    opened.confirm?.();
    const [sha256, other] = await hashing.finish(written);
    return { sizeBytes: written, sha256: sha256 as string, sourceDigest: other ?? sha256, lengthBytes };
  } finally {
    await hashing.drop();
  }
}
