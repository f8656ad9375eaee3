import { isDeepStrictEqual } from "node:util";
import { TransferError } from "@drover/shared/errors";
import type { ObjectHead } from "@drover/shared/storage/s3/bucket";
import { etagMd5, isOutdated, keptHeaders, readMetadata } from "@drover/shared/storage/s3/metadata";
import type { ServerCopy, SourceEntry } from "@drover/shared/storage/source";
import type { Received } from "../destination.js";
import type { S3Upload } from "./upload.js";

/** What is to become an object. */
export type Staged =
  | { is: "whole"; bytes: Uint8Array; md5: string; release(): void }
  | { is: "parts"; upload: S3Upload; copy?: ServerCopy }
  | { is: "copy"; copy: ServerCopy; etag: string }
  /** The object that is there, which is to note other times and modes. */
  | { is: "noted"; headers: Record<string, string>; etag: string }
  /** Found at the destination before anything was sent. */
  | { is: "there"; head: ObjectHead };

type EqualityEvidence = "etag" | "x-amz-meta";

/** What shows that an object is what is staged, or as good as that; undefined where nothing does. */
export function sameBy(
  head: ObjectHead,
  staged: Staged | undefined,
  received: Received,
  entry: SourceEntry,
): EqualityEvidence | undefined {
  const copy = staged?.is === "copy" || staged?.is === "parts" ? staged.copy : undefined;
  if (copy?.exact && !isDeepStrictEqual(keptHeaders(head.headers), keptHeaders(copy.headers)))
    return undefined;
  if (!copy && isOutdated(head.headers, entry)) return undefined;
  if (head.sizeBytes !== received.sizeBytes) return undefined;
  // ETags are of bytes, or of the same parts.
  if (staged?.is === "copy" && head.etag === staged.etag) return "etag";
  return sameBytesBy(head, received, staged?.is === "whole" ? staged.md5 : undefined);
}

function sameBytesBy(
  head: ObjectHead,
  { sha256 }: Received,
  md5: string | undefined,
): EqualityEvidence | undefined {
  const stored = etagMd5(head.headers);
  if (md5 !== undefined && stored !== undefined) return stored === md5 ? "etag" : undefined;
  return sha256 !== "" && readMetadata(head.headers).sha256 === sha256 ? "x-amz-meta" : undefined;
}

export function replacedMeanwhile(): TransferError {
  const why = "another writer replaced the destination while the file was on its way";
  return new TransferError("changed", why, { verdict: "ok" });
}
