import { hash } from "node:crypto";
import { setTimeout as sleep } from "node:timers/promises";
import { TransferError } from "@drover/shared/errors";
import { failpoint } from "@drover/shared/failpoint";
import type { Headers } from "@drover/shared/storage/http/client";
import type { UploadedPart, Written } from "@drover/shared/storage/s3/bucket";
import type { DestinationObject } from "./object.js";

/** Parts are so large at least, whatever the file. */
const LEAST_PART_BYTES = 16 << 20;
const MOST_PARTS = 10_000;
const MIB = 1 << 20;
/** Where nobody knows how long the file is, its parts grow by the least size after so many. */
const GROW_PARTS = 100;
/** A part that breaks off is sent again, so many times in all, before the file is tried again. */
const TRIES = 3;
const AGAIN_MS = 500;

/**
 * Size of a part: the same for all parts of a file whose length is known, so that any file fits in 10,000 parts; else
 * growing, so that 5 TiB do.
 *
 * @param part from 1.
 */
export function partBytesOf(part: number, lengthBytes: number | undefined): number {
  if (lengthBytes === undefined) return LEAST_PART_BYTES * (1 + Math.floor((part - 1) / GROW_PARTS));
  return Math.max(LEAST_PART_BYTES, Math.ceil(lengthBytes / MOST_PARTS / MIB) * MIB);
}

/** The upload that a predecessor began. */
export interface Adopted {
  id: string;
  /** Hash of the metadata that it was begun with. */
  metadata: string;
  parts: Map<number, UploadedPart>;
}

/** Bytes of another object of the service: from the first up to, and without, the last. */
export interface ByteRange {
  source: string;
  startByte: number;
  endByte: number;
}

/**
 * Begins the multipart upload that the parts go to, or goes on with that of a predecessor where it is of the same file.
 *
 * @param headers metadata of the object.
 * @param version more that must be the same in a predecessor's.
 */
export type BeginUpload = (headers: Headers, version: string) => Promise<S3Upload>;

/** A multipart upload under way. */
export class S3Upload {
  readonly #etags: string[] = [];
  #plain = true;
  #copiedBytes = 0;

  /** @param there parts that it has already. */
  constructor(
    private readonly object: DestinationObject,
    readonly id: string,
    private readonly there: ReadonlyMap<number, UploadedPart>,
  ) {}

  /** Whether a part that was sent before is this one, by its MD5. */
  #has(part: number, sizeBytes: number, md5: string): boolean {
    const known = this.there.get(part);
    return known?.sizeBytes === sizeBytes && known.etag === `"${md5}"`;
  }

  /** @param md5 hexadecimal. */
  async send(part: number, bytes: Uint8Array, md5: string, signal: AbortSignal): Promise<void> {
    if (part > MOST_PARTS)
      throw new TransferError("too-large", `more than ${MOST_PARTS} parts`, { permanent: true });
    if (this.#has(part, bytes.length, md5)) {
      this.#etags[part - 1] = `"${md5}"`;
      return;
    }
    const base64 = Buffer.from(md5, "hex").toString("base64");
    const { key, target } = this.object;
    const request = { key, uploadId: this.id, part, body: bytes, md5: base64, signal };
    await this.try(part, () => target.bucket.uploadPart(request), signal);
    if (this.#etags[part - 1] !== `"${md5}"`) this.#plain = false;
    failpoint("part");
  }

  /**
   * Copies a range of another object of the service into a part. One that is there already is of the same version:
   * uploads of another are not gone on with.
   */
  async copy(part: number, range: ByteRange, headers: Headers, signal: AbortSignal): Promise<void> {
    const { key, target } = this.object;
    const { source, startByte, endByte } = range;
    this.#plain = false;
    this.#copiedBytes += endByte - startByte;
    const there = this.there.get(part);
    if (there?.sizeBytes === endByte - startByte) {
      this.#etags[part - 1] = there.etag;
      return;
    }
    const bytes = `bytes=${startByte}-${endByte - 1}`;
    const request = { key, uploadId: this.id, part, source, range: bytes, headers, signal };
    await this.try(part, () => target.bucket.copyPart(request), signal);
    failpoint("part");
  }

  private async try(part: number, send: () => Promise<Written>, signal: AbortSignal): Promise<void> {
    for (let attempt = 1; ; attempt++) {
      try {
        const written = await this.object.at(send);
        if (written.is === "gone") throw gone();
        if (written.is === "refused")
          throw new TransferError("changed", "the source changed while it was copied", { verdict: "ok" });
        this.#etags[part - 1] = written.etag;
        return;
      } catch (error) {
        const again = error instanceof TransferError && !error.permanent && error.verdict !== "ok";
        if (!again || attempt >= TRIES || signal.aborted) throw error;
        await sleep(AGAIN_MS * attempt, undefined, { signal });
      }
    }
  }

  /** ETag of the object that it becomes; undefined where the ETags of this service's parts are no MD5. */
  get etag(): string | undefined {
    if (!this.#plain) return undefined;
    const digests = Buffer.concat(this.#etags.map((etag) => Buffer.from(etag.slice(1, -1), "hex")));
    return `"${hash("md5", digests, "hex")}-${this.#etags.length}"`;
  }

  /**
   * Puts the parts together. `gone` where the upload is not there, although some services (Ceph 16) answer that all is
   * well as long as there is an object of that name.
   */
  async complete(condition: Headers): Promise<Written> {
    const { key, target, lease } = this.object;
    const written = await target.bucket.completeUpload({
      key,
      uploadId: this.id,
      etags: this.#etags,
      headers: condition,
      signal: lease.signal,
    });
    if (written.is !== "written") return written;
    const wanted = this.etag;
    const copied = this.#copiedBytes > 0; // nobody has seen the bytes: their number at least is looked at
    if (written.etag !== "" && !copied && (wanted === undefined || written.etag === wanted)) return written;
    const head = await target.bucket.head(key, lease.signal);
    if (!head || (wanted !== undefined && head.etag !== wanted)) return { is: "gone" };
    if (copied && head.sizeBytes !== this.#copiedBytes) return { is: "gone" };
    return { ...written, etag: head.etag };
  }
}

function gone(): TransferError {
  return new TransferError("changed", "the upload was dropped by somebody else", { verdict: "ok" });
}
