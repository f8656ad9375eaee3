import type { Headers } from "@drover/shared/storage/http/client";
import type { ObjectHead, Written } from "@drover/shared/storage/s3/bucket";
import { etagMd5, keptHeaders } from "@drover/shared/storage/s3/object/metadata";
import type { ServerCopy } from "@drover/shared/storage/source";
import type { Received } from "../../destination.js";
import type { DestinationObject } from "../object.js";
import {
  type EqualityEvidence,
  isSuchCopy,
  Publication,
  replacedMeanwhile,
  sameBytesBy,
  type WrittenObject,
} from "./publication.js";

/** Another object of the same service. The service publishes the file by copying that object in one request. */
export class ServerSideCopy extends Publication {
  readonly publishing = "copy";
  readonly replacesOnlyCompared = false;

  /** @param etag of the version that is copied. */
  constructor(
    private readonly object: DestinationObject,
    private readonly copy: ServerCopy,
    private readonly etag: string,
  ) {
    super();
  }

  sameBy(head: ObjectHead, received: Received): EqualityEvidence | undefined {
    if (!isSuchCopy(head, this.copy)) return undefined;
    // Equal ETags mean equal bytes, or equal parts.
    if (head.sizeBytes === received.sizeBytes && head.etag === this.etag) return "etag";
    return sameBytesBy(head, received);
  }

  async write(condition: Headers, { sizeBytes }: Received): Promise<Written> {
    const { target, key, lease } = this.object;
    const { copy, etag } = this;
    const metadata = copy.replaces
      ? { ...keptHeaders(copy.headers), "x-amz-metadata-directive": "REPLACE" }
      : {};
    const headers = {
      ...metadata,
      ...(copy.tagging === undefined ? {} : { "x-amz-tagging": copy.tagging }),
      ...copy.reading,
      "x-amz-copy-source-if-match": etag,
      ...condition,
    };
    const written = await target.bucket.copy(key, copy.source, headers, lease.signal);
    if (written.is !== "written") return written;
    // Some services ignore the condition on the source.
    const head = await target.bucket.head(key, lease.signal);
    const plain =
      etagMd5({ ...copy.headers, etag }) !== undefined && etagMd5(head?.headers ?? {}) !== undefined;
    if (head?.sizeBytes !== sizeBytes || head.etag !== written.etag) throw replacedMeanwhile();
    if (plain && head.etag !== etag) throw replacedMeanwhile();
    return written;
  }

  isProvedBy({ etag }: WrittenObject): boolean {
    return etag === this.etag;
  }
}
