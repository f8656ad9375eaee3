import type { Headers } from "@drover/shared/storage/http/client";
import type { ObjectHead, Written } from "@drover/shared/storage/s3/bucket";
import { isOutdated, metadataHeaders } from "@drover/shared/storage/s3/metadata";
import { encodeKey } from "@drover/shared/storage/s3/sigv4";
import type { SourceEntry } from "@drover/shared/storage/source";
import type { Received } from "../destination.js";
import type { DestinationObject } from "./object.js";
import { replacedMeanwhile, type Staged } from "./staged.js";

/**
 * What is to be done with an object that has the bytes of a local file. Where it notes another time or mode, it is
 * copied onto itself, if its service binds that to the version that was compared: else these notes, and the SHA-256,
 * could come to another writer's bytes.
 *
 * @returns undefined where the file is to be sent again.
 */
export async function asThere(
  { target, key }: DestinationObject,
  head: ObjectHead,
  entry: SourceEntry,
  sha256: string,
): Promise<Staged | undefined> {
  const { etag, sizeBytes, headers } = head;
  if (!isOutdated(headers, entry) || sizeBytes > target.mostCopyBytes) return { is: "there", head };
  if (/^(GLACIER|DEEP_ARCHIVE)$/.test(headers["x-amz-storage-class"] ?? "")) return undefined; // it cannot be read
  const condition = await target.conditions.headers("copy", { is: "version", etag });
  return condition && { is: "noted", headers: metadataHeaders(entry, sha256, key), etag };
}

/** Has an object copied onto itself, with other metadata. Its ETag may be another one then. */
export async function copyOntoItself(
  { target, key, lease }: DestinationObject,
  { headers, etag }: Extract<Staged, { is: "noted" }>,
  { sizeBytes }: Received,
  condition: Headers,
): Promise<Written> {
  const { bucket } = target;
  const all = {
    ...headers,
    "x-amz-metadata-directive": "REPLACE",
    "x-amz-copy-source-if-match": etag,
    ...condition,
  };
  const source = `/${encodeKey(bucket.name)}/${encodeKey(key)}`;
  const written = await bucket.copy(key, source, all, lease.signal);
  if (written.is !== "written") return written;
  const head = await bucket.head(key, lease.signal);
  if (head?.sizeBytes !== sizeBytes || head.etag !== written.etag) throw replacedMeanwhile();
  return written;
}
