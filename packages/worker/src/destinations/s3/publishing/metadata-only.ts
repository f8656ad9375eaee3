import type { Headers } from "@drover/shared/storage/http/client";
import type { ObjectHead, Written } from "@drover/shared/storage/s3/bucket";
import { isOutdated } from "@drover/shared/storage/s3/object/metadata";
import { encodeKey } from "@drover/shared/storage/s3/service/sigv4";
import type { SourceEntry } from "@drover/shared/storage/source";
import type { Received } from "../../destination.js";
import type { DestinationObject } from "../object.js";
import {
  AlreadyThere,
  type EqualityEvidence,
  Publication,
  replacedMeanwhile,
  sameBytesBy,
  type WrittenObject,
} from "./publication.js";

/**
 * New metadata for an object that has the right bytes. The service publishes it by copying the object onto itself; the
 * ETag may change.
 */
export class MetadataOnly extends Publication {
  readonly publishing = "copy";
  readonly replacesOnlyCompared = true;

  /**
   * @param headers the new metadata.
   * @param head of the version that gets it.
   */
  constructor(
    private readonly object: DestinationObject,
    private readonly headers: Headers,
    private readonly head: ObjectHead,
  ) {
    super();
  }

  sameBy(head: ObjectHead, received: Received, entry: SourceEntry): EqualityEvidence | undefined {
    return isOutdated(head.headers, entry) ? undefined : sameBytesBy(head, received);
  }

  async write(condition: Headers, { sizeBytes }: Received): Promise<Written> {
    const { target, key, lease } = this.object;
    const { bucket } = target;
    const headers = {
      ...this.headers,
      "x-amz-metadata-directive": "REPLACE",
      ...bucket.copyHeaders(this.head.headers),
      "x-amz-copy-source-if-match": this.head.etag,
      ...condition,
    };
    const source = `/${encodeKey(bucket.name)}/${encodeKey(key)}`;
    const written = await bucket.copy(key, source, headers, lease.signal);
    if (written.is !== "written") return written;
    const head = await bucket.head(key, lease.signal);
    if (head?.sizeBytes !== sizeBytes || head.etag !== written.etag) throw replacedMeanwhile();
    return written;
  }

  isProvedBy({ etag }: WrittenObject): boolean {
    return etag === this.head.etag;
  }
}

/**
 * Decides what to do with an object that has the bytes of a local file. If its metadata has another time or mode, it
 * gets new metadata. That needs a service that binds the copy to the version that was compared: otherwise the new
 * metadata, with its SHA-256, could end up at the bytes of another writer.
 *
 * @param sha256 of the file, hexadecimal.
 * @returns undefined if the file has to be sent again.
 */
export async function withMetadataOf(
  object: DestinationObject,
  head: ObjectHead,
  entry: SourceEntry,
  sha256: string,
): Promise<MetadataOnly | AlreadyThere | undefined> {
  const { target, key } = object;
  const { etag, sizeBytes, headers } = head;
  if (!isOutdated(headers, entry) || sizeBytes > target.mostCopyBytes) return new AlreadyThere(head);
  // Archived objects cannot be read, so they cannot be copied.
  if (/^(GLACIER|DEEP_ARCHIVE)$/.test(headers["x-amz-storage-class"] ?? "")) return undefined;
  const condition = await target.conditions.headers("copy", { is: "version", etag });
  return condition && new MetadataOnly(object, target.headersOf(entry, sha256, key), head);
}
