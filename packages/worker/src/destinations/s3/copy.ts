import { keptHeaders } from "@drover/shared/storage/s3/object/metadata";
import type { ServerCopy } from "@drover/shared/storage/source";
import type { OpenedBody } from "../destination.js";
import type { DestinationObject } from "./object.js";
import type { ObjectUpload } from "./object-upload.js";
import { MultipartParts } from "./publishing/multipart.js";
import { AlreadyThere, type StagedObject } from "./publishing/publication.js";
import { ServerSideCopy } from "./publishing/server-copy.js";
import { partBytesOf } from "./upload.js";

/** Size of a copied part. It takes no memory here, so it is large, which makes for few requests. */
const PART_BYTES = 512 << 20;
/** So many parts of one object are copied at the same time. */
const COPIERS = 4;

/**
 * Stages another object of the same service. If the service can copy it in one request, that request publishes it. A
 * larger one is copied now, in parts of a multipart upload.
 *
 * @throws TransferError class `changed` if the other object changes meanwhile.
 */
export async function receiveCopy(
  object: DestinationObject,
  { entry }: OpenedBody,
  copy: ServerCopy,
  objectUpload: ObjectUpload,
): Promise<StagedObject> {
  const { lease, record } = object.attempt;
  const { mostCopyBytes, copiedPartBytes: asked } = object.target;
  const sizeBytes = entry.sizeBytes as number;
  const { sha256 = "" } = copy;
  const received = { sizeBytes, sha256, sourceDigest: undefined, lengthBytes: sizeBytes };
  const whole = new ServerSideCopy(object, copy, entry.strongEtag);
  const head = await object.lookAhead();
  if (head && whole.sameBy(head, received)) return { received, staged: new AlreadyThere(head) };
  if (sizeBytes <= mostCopyBytes) return { received, staged: whole };

  const headers = keptHeaders(copy.headers);
  if (copy.tagging !== undefined) headers["x-amz-tagging"] = copy.tagging;
  const wantedBytes = asked ?? PART_BYTES;
  const partBytes = Math.max(Math.min(wantedBytes, mostCopyBytes), partBytesOf(1, sizeBytes, asked));
  // Parts of another size are not those of this upload, even if some have the same size.
  const version = asked === undefined ? entry.strongEtag : `${entry.strongEtag};${partBytes}`;
  const upload = await objectUpload.begin(headers, version);
  const stop = new AbortController();
  const signal = AbortSignal.any([stop.signal, lease.signal]);
  let next = 0;
  const copier = async () => {
    for (let at = next++; at * partBytes < sizeBytes; at = next++) {
      lease.check();
      const startByte = at * partBytes;
      const endByte = Math.min(startByte + partBytes, sizeBytes);
      const range = { source: copy.source, startByte, endByte };
      const condition = { ...copy.reading, "x-amz-copy-source-if-match": entry.strongEtag };
      await upload.copy(at + 1, range, condition, signal);
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
  // Some services ignore the condition on the source. No mixture of versions may be published.
  await copy.confirm();
  return { received, staged: new MultipartParts(upload, copy) };
}
