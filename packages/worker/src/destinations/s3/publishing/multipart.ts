import type { Headers } from "@drover/shared/storage/http/client";
import type { ObjectHead, Written } from "@drover/shared/storage/s3/bucket";
import { isOutdated } from "@drover/shared/storage/s3/object/metadata";
import type { ServerCopy, SourceEntry } from "@drover/shared/storage/source";
import type { Received } from "../../destination.js";
import type { S3Upload } from "../upload.js";
import { type EqualityEvidence, isSuchCopy, Publication, sameBytesBy } from "./publication.js";

/** A multipart upload that has all its parts. The request that completes it publishes the file. */
export class MultipartParts extends Publication {
  readonly publishing = "complete";
  readonly replacesOnlyCompared = true;

  /** @param copy if the parts were copied from another object: that object. */
  constructor(
    private readonly upload: S3Upload,
    private readonly copy?: ServerCopy,
  ) {
    super();
  }

  sameBy(head: ObjectHead, received: Received, entry: SourceEntry): EqualityEvidence | undefined {
    const matches = this.copy ? isSuchCopy(head, this.copy) : !isOutdated(head.headers, entry);
    return matches ? sameBytesBy(head, received) : undefined;
  }

  write(condition: Headers): Promise<Written> {
    return this.upload.complete(condition);
  }

  isProvedBy(): boolean {
    return this.upload.etag !== undefined;
  }

  override isResult(head: ObjectHead, received: Received, entry: SourceEntry): boolean {
    return head.etag === this.upload.etag || super.isResult(head, received, entry);
  }
}
