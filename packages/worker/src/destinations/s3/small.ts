import { hash } from "node:crypto";
import { digestOf } from "../../bytes/hash/digest.js";
import { tooLarge } from "../../bytes/receive.js";
import type { OpenedBody, WriteAttempt } from "../destination.js";
import type { DestinationObject } from "./object.js";
import { BytesInMemory } from "./publishing/bytes-in-memory.js";
import type { StagedObject } from "./publishing/publication.js";

/** Files up to this size are held in memory outside of the budget, and hashed in one call. */
const SMALL_BYTES = 512 << 10;

/** The beginning of a body that has been read. */
export interface Beginning {
  /** Whether it is the whole body. */
  ended: boolean;
  chunks: Buffer[];
}

/**
 * Reads the beginning of a body: all of it if it is small.
 *
 * @throws TransferError class `too-large` if it is more than the run accepts.
 */
export async function readBeginning(
  { body, offset }: OpenedBody,
  { record, lease, terms, limiter }: WriteAttempt,
): Promise<Beginning> {
  if (offset !== 0) throw new Error("an upload begins at the beginning");
  const limit = terms.maxFileSizeBytes;
  let bytes = 0;
  const count = async (more: Buffer[]) => {
    const before = bytes;
    for (const chunk of more) bytes += chunk.length;
    record.receivedBytes = bytes;
    if (limit !== undefined && bytes > limit) throw tooLarge(bytes, limit);
    await limiter.take(bytes - before, lease);
  };
  const complete = body.takeIfComplete();
  if (complete) {
    await count(complete);
    return { ended: true, chunks: complete };
  }
  const chunks: Buffer[] = [];
  while (bytes <= SMALL_BYTES) {
    const more = await body.read();
    if (!more) return { ended: true, chunks };
    chunks.push(...more);
    await count(more);
  }
  return { ended: false, chunks };
}

/**
 * Stages a small file that has been read.
 *
 * @param ofFile whether the size and the digest of its source are those of the bytes that came.
 */
export async function stageSmall(
  object: DestinationObject,
  opened: OpenedBody,
  chunks: Buffer[],
  ofFile: boolean,
): Promise<StagedObject> {
  opened.confirm?.();
  const bytes = chunks.length === 1 ? (chunks[0] as Buffer) : Buffer.concat(chunks);
  const sha256 = hash("sha256", bytes, "hex");
  const md5 = hash("md5", bytes, "hex");
  const other = opened.entry.digest?.algorithm ?? "sha256";
  const sourceDigest = other === "sha256" ? sha256 : other === "md5" ? md5 : await digestOf(other, bytes);
  const lengthBytes = ofFile ? opened.entry.sizeBytes : undefined;
  const received = { sizeBytes: bytes.length, sha256, sourceDigest, lengthBytes };
  return { received, staged: new BytesInMemory(object, { bytes, md5 }) };
}
