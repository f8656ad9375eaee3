import { keptHeaders } from "@drover/shared/storage/s3/metadata";
import type { ServerCopy } from "@drover/shared/storage/source";
import type { OpenedBody, Received } from "../destination.js";
import type { DestinationObject } from "./object.js";
import { type Staged, sameBy } from "./staged.js";
import { type BeginUpload, partBytesOf } from "./upload.js";

/** A part that is copied takes no memory here: large ones mean few requests. */
const PART_BYTES = 512 << 20;
/** Parts of one object that are copied at the same time. */
const COPIERS = 4;

/**
 * Has an object copied by its service. One that can be copied at once is, when it is published; a larger one goes in
 * parts to a multipart upload.
 */
export async function receiveCopy(
  object: DestinationObject,
  { entry }: OpenedBody,
  copy: ServerCopy,
  beginUpload: BeginUpload,
): Promise<{ received: Received; staged: Staged }> {
  const { lease, record } = object.attempt;
  const { mostCopyBytes } = object.target;
  const sizeBytes = entry.sizeBytes as number;
  const { sha256 = "" } = copy;
  const received = { sizeBytes, sha256, sourceDigest: undefined, lengthBytes: sizeBytes };
  const whole: Staged = { is: "copy", copy, etag: entry.strongEtag };
  const head = await object.lookAhead();
  if (head && sameBy(head, whole, received, entry)) return { received, staged: { is: "there", head } };
  if (sizeBytes <= mostCopyBytes) return { received, staged: whole };

  const upload = await beginUpload(keptHeaders(copy.headers), entry.strongEtag);
  const partBytes = Math.max(Math.min(PART_BYTES, mostCopyBytes), partBytesOf(1, sizeBytes));
  const stop = new AbortController();
  const signal = AbortSignal.any([stop.signal, lease.signal]);
  let next = 0;
  const copier = async () => {
    for (let at = next++; at * partBytes < sizeBytes; at = next++) {
      lease.check();
      const startByte = at * partBytes;
      const endByte = Math.min(startByte + partBytes, sizeBytes);
      const range = { source: copy.source, startByte, endByte };
      await upload.copy(at + 1, range, { "x-amz-copy-source-if-match": entry.strongEtag }, signal);
      record.receivedBytes += endByte - startByte;
    }
  };
  const copiers = Array.from({ length: COPIERS }, copier);
  try {
    await Promise.all(copiers);
  } catch (error) {
    stop.abort(error);
    await Promise.allSettled(copiers);
    throw error;
  }
  // Not every service minds the condition on the source: no mixture of versions is published.
  await copy.confirm();
  return { received, staged: { is: "parts", upload, copy } };
}
