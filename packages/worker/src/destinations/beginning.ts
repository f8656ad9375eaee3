import { tooLarge } from "../bytes/receive.js";
import type { OpenedBody, WriteAttempt } from "./destination.js";

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
