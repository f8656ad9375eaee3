import { isDeepStrictEqual } from "node:util";
import { TransferError } from "@drover/shared/errors";
import type { Headers } from "@drover/shared/storage/http/client";
import type { ObjectHead, Written } from "@drover/shared/storage/s3/bucket";
import { etagMd5, keptHeaders, readMetadata } from "@drover/shared/storage/s3/object/metadata";
import type { ServerCopy, SourceEntry } from "@drover/shared/storage/source";
import type { Received } from "../../destination.js";
import type { Publishing } from "../conditions.js";

/** What shows that an object has the bytes that are staged: its ETag, or a SHA-256 in its metadata. */
export type EqualityEvidence = "etag" | "x-amz-meta";

export type WrittenObject = Extract<Written, { is: "written" }>;

/** Something staged that becomes an object, and the request that makes it one. There is a class for each way. */
export abstract class Publication {
  /** The kind of request. A service may support conditions for some kinds only. */
  abstract readonly publishing: Publishing;
  /**
   * Whether only the version that the file was compared with may be replaced. If false, another version is replaced
   * too, once it has been looked at.
   */
  abstract readonly replacesOnlyCompared: boolean;

  /** @returns what shows that an object is already what this one would become; undefined if nothing does. */
  abstract sameBy(head: ObjectHead, received: Received, entry: SourceEntry): EqualityEvidence | undefined;

  /**
   * Sends the request.
   *
   * @param condition headers that bind it to the version that it replaces.
   * @throws TransferError
   */
  abstract write(condition: Headers, received: Received, entry: SourceEntry): Promise<Written>;

  /** Whether the ETag in the answer proves that the service stored the right bytes. */
  abstract isProvedBy(written: WrittenObject): boolean;

  /** Whether an object may be the result of an earlier {@link write} whose answer was lost. */
  isResult(head: ObjectHead, received: Received, entry: SourceEntry): boolean {
    return this.sameBy(head, received, entry) !== undefined;
  }

  /** Gives memory back. May be called more than once. */
  release(): void {}
}

/** The destination has these bytes already, so nothing is published. */
export class AlreadyThere {
  constructor(readonly head: ObjectHead) {}
}

/** What was received from a source, and how it gets published. */
export interface StagedObject {
  received: Received;
  staged: Publication | AlreadyThere;
}

/**
 * Compares an object with the received bytes.
 *
 * @param md5 of these bytes, hexadecimal; undefined if it is not known.
 */
export function sameBytesBy(
  head: ObjectHead,
  { sizeBytes, sha256 }: Received,
  md5?: string,
): EqualityEvidence | undefined {
  if (head.sizeBytes !== sizeBytes) return undefined;
  const stored = etagMd5(head.headers);
  if (md5 !== undefined && stored !== undefined) return stored === md5 ? "etag" : undefined;
  return sha256 !== "" && readMetadata(head.headers).sha256 === sha256 ? "x-amz-meta" : undefined;
}

/** Whether the metadata of an object is that of the copied one, if the copy has to be exact. */
export function isSuchCopy({ headers }: ObjectHead, copy: ServerCopy): boolean {
  return !copy.exact || isDeepStrictEqual(keptHeaders(headers), keptHeaders(copy.headers));
}

/** The error for an object that another writer replaced while the file was on its way. */
export function replacedMeanwhile(): TransferError {
  const why = "another writer replaced the destination while the file was on its way";
  return new TransferError("changed", why, { verdict: "ok" });
}
