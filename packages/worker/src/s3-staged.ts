import type { ObjectHead } from "@drover/shared/storage/s3/bucket";
import { etagMd5, readMetadata } from "@drover/shared/storage/s3/metadata";
import type { ServerCopy } from "@drover/shared/storage/source";
import type { Received } from "./destination.js";
import type { S3Upload } from "./s3-upload.js";

/** What is to become an object. */
export type Staged =
  | { is: "whole"; bytes: Uint8Array; md5: string; release(): void }
  | { is: "parts"; upload: S3Upload }
  | { is: "copy"; copy: ServerCopy; etag: string }
  /** Found at the destination before anything was sent. */
  | { is: "there"; head: ObjectHead };

/** Whether an object is what a copy would make: ETags are of bytes, or of the same parts. */
export function isCopy(head: ObjectHead, staged: Staged | undefined, { sizeBytes }: Received): boolean {
  return staged?.is === "copy" && head.sizeBytes === sizeBytes && head.etag === staged.etag;
}

/** What shows that an object has the very bytes of a file; undefined where nothing does. */
export function sameBy(
  head: ObjectHead,
  { sizeBytes, sha256 }: Received,
  md5: string | undefined,
): "etag" | "x-amz-meta" | undefined {
  if (head.sizeBytes !== sizeBytes) return undefined;
  const stored = etagMd5(head.headers);
  if (md5 !== undefined && stored !== undefined) return stored === md5 ? "etag" : undefined;
  return sha256 !== "" && readMetadata(head.headers).sha256 === sha256 ? "x-amz-meta" : undefined;
}
