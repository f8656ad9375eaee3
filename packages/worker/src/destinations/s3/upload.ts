import { hash } from "node:crypto";
import { setTimeout as sleep } from "node:timers/promises";
import { TransferError } from "@drover/shared/errors";
import { failpoint } from "@drover/shared/failpoint";
import type { Headers } from "@drover/shared/storage/http/client";
import type { UploadedPart, Written } from "@drover/shared/storage/s3/bucket";
import { LEAST_PART_BYTES } from "@drover/shared/storage/s3/object/limits";
import type { DestinationObject } from "./object.js";

const MOST_PARTS = 10_000;
const MIB = 1 << 20;
/** Parts of a file of unknown size do not grow beyond this: they are held in memory, and hashed in one go. */
const MOST_GROWN_BYTES = 100 * LEAST_PART_BYTES;
/** If the size of a file is not known, its parts grow by the least size after so many parts. */
const GROW_PARTS = 100;
/** A part is sent so many times in all before the attempt fails. */
const TRIES = 3;
/** Wait before the second try. It grows by as much with each one. */
const AGAIN_MS = 500;

/**
 * Size of a part in bytes. If the size of the file is known, all parts have the same size, so that any file fits in
 * 10,000 parts. Otherwise they grow, so that 5 TiB fit.
 *
 * @param part number, from 1.
 * @param lengthBytes size of the file; undefined if it is not known.
 * @param leastBytes size that a part has where that makes no more than 10,000 of them.
 */
export function partBytesOf(
  part: number,
  lengthBytes: number | undefined,
  leastBytes = LEAST_PART_BYTES,
): number {
  if (lengthBytes === undefined) {
    const grown = leastBytes * (1 + Math.floor((part - 1) / GROW_PARTS));
    return Math.min(grown, MOST_GROWN_BYTES);
  }
  return Math.max(leastBytes, Math.ceil(lengthBytes / MOST_PARTS / MIB) * MIB);
}

/** Bytes of another object of the service: from `startByte` up to, but not including, `endByte`. */
export interface CopyRange {
  /** `/bucket/key`, percent-encoded. */
  source: string;
  startByte: number;
  endByte: number;
}

/** A multipart upload under way. All methods throw TransferError. */
export class S3Upload {
  readonly #etags: string[] = [];
  #plain = true;
  #copiedBytes = 0;

  /** @param there parts that the service has already, by number. */
  constructor(
    private readonly object: DestinationObject,
    readonly id: string,
    private readonly there: ReadonlyMap<number, UploadedPart>,
  ) {}

  /** Whether the service has this part already, by its MD5. */
  #has(part: number, sizeBytes: number, md5: string): boolean {
    const known = this.there.get(part);
    return known?.sizeBytes === sizeBytes && known.etag === `"${md5}"`;
  }

  /** Sends a part, unless the service has it. @param md5 of its bytes, hexadecimal. */
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
    if (target.hasOwnKey || this.#etags[part - 1] !== `"${md5}"`) this.#plain = false;
    failpoint("part");
  }

  /**
   * Makes a part by copying a range of another object of the service, unless the service has the part. A part that is
   * there is of the same version, because an upload of another version is not continued.
   *
   * @param headers conditions on the other object, and what is needed to read it.
   */
  async copy(part: number, range: CopyRange, headers: Headers, signal: AbortSignal): Promise<void> {
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
        if (written.is === "gone") throw uploadDropped();
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

  /** ETag of the object that it becomes; undefined if the ETags of its parts are no MD5s. */
  get etag(): string | undefined {
    if (!this.#plain) return undefined;
    const digests = Buffer.concat(this.#etags.map((etag) => Buffer.from(etag.slice(1, -1), "hex")));
    return `"${hash("md5", digests, "hex")}-${this.#etags.length}"`;
  }

  /**
   * Puts the parts together. The result is `gone` if there is no such upload. Some services (Ceph 16) report success
   * for a missing upload if there is an object of that name, so the ETag is checked.
   *
   * @param condition headers that bind it to the version that it replaces.
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
    const copied = this.#copiedBytes > 0; // nobody has seen the bytes, so at least their number is checked
    if (written.etag !== "" && !copied && (wanted === undefined || written.etag === wanted)) return written;
    const head = await target.bucket.head(key, lease.signal);
    if (!head || (wanted !== undefined && head.etag !== wanted)) return { is: "gone" };
    if (copied && head.sizeBytes !== this.#copiedBytes) return { is: "gone" };
    return { ...written, etag: head.etag };
  }
}

/** The error for an upload that somebody else has ended. */
export function uploadDropped(): TransferError {
  return new TransferError("changed", "the upload was dropped by somebody else", { verdict: "ok" });
}
