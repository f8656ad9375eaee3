import { TransferError } from "@drover/shared/errors";
import type { Headers } from "@drover/shared/storage/http/client";
import type { ObjectHead, Written } from "@drover/shared/storage/s3/bucket";
import { etagMd5, isOutdated } from "@drover/shared/storage/s3/object/metadata";
import type { SourceEntry } from "@drover/shared/storage/source";
import type { Received } from "../../destination.js";
import type { DestinationObject } from "../object.js";
import { type EqualityEvidence, Publication, sameBytesBy, type WrittenObject } from "./publication.js";

/** The bytes of a whole file, and their MD5 in hexadecimal. */
export interface WholeFile {
  bytes: Uint8Array;
  md5: string;
}

/** A file in memory. One PUT publishes it. */
export class BytesInMemory extends Publication {
  readonly publishing = "put";
  readonly replacesOnlyCompared = false;

  /** @param giveBack gives the memory back, if it is counted. */
  constructor(
    private readonly object: DestinationObject,
    private readonly file: WholeFile,
    private readonly giveBack: () => void = () => {},
  ) {
    super();
  }

  sameBy(head: ObjectHead, received: Received, entry: SourceEntry): EqualityEvidence | undefined {
    return isOutdated(head.headers, entry) ? undefined : sameBytesBy(head, received, this.file.md5);
  }

  async write(condition: Headers, { sha256 }: Received, entry: SourceEntry): Promise<Written> {
    const { target, key, lease } = this.object;
    const { bytes, md5 } = this.file;
    const headers = {
      ...target.headersOf(entry, sha256, key),
      // The service refuses other bytes with either of them. The ETag in its answer is compared with the MD5 below.
      ...(target.checksums
        ? { "x-amz-checksum-sha256": Buffer.from(sha256, "hex").toString("base64") }
        : { "content-md5": Buffer.from(md5, "hex").toString("base64") }),
      ...condition,
    };
    const written = await target.bucket.put(key, bytes, sha256, headers, lease.signal);
    if (written.is !== "written") return written;
    const stored = this.#md5Of(written);
    if (stored !== undefined && stored !== md5)
      throw new TransferError("checksum", "wrong checksum: the service stored other bytes than were sent");
    return written;
  }

  isProvedBy(written: WrittenObject): boolean {
    return this.#md5Of(written) !== undefined;
  }

  /** MD5 (hexadecimal) in the ETag of an answer; undefined if that ETag is no MD5. */
  #md5Of({ headers, etag }: WrittenObject): string | undefined {
    return this.object.target.hasOwnKey ? undefined : etagMd5({ ...headers, etag });
  }

  override release(): void {
    this.giveBack();
  }
}
