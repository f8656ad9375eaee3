import { hash } from "node:crypto";
import { type ErrorClass, TransferError } from "@drover/shared/errors";
import { failpoint } from "@drover/shared/failpoint";
import type { ObjectHead, Written } from "@drover/shared/storage/s3/bucket";
import { etagMd5, metadataHeaders } from "@drover/shared/storage/s3/metadata";
import type { ServerCopy, Source, SourceEntry } from "@drover/shared/storage/source";
import { encodeResumeRecord, type ResumeRecord } from "../../attempt/resume-record.js";
import { digestOf } from "../../bytes/hash/digest.js";
import { tooLarge } from "../../bytes/receive.js";
import type { OpenedBody, Published, Received, Staging, WriteAttempt } from "../destination.js";
import type { Base, Publishing } from "./conditions.js";
import { receiveCopy } from "./copy.js";
import { copyOntoItself } from "./noted.js";
import type { DestinationObject } from "./object.js";
import { receiveParts } from "./parts.js";
import { replacedMeanwhile, type Staged, sameBy } from "./staged.js";
import { type Adopted, S3Upload } from "./upload.js";

/** Up to here a file is held in memory beside the budget, and hashed in one call. */
const SMALL_BYTES = 512 << 10;
/** An object that others replace again and again is given up after so many looks, for this try. */
const MOST_LOOKS = 3;
/** What is left of an upload is dropped within this, whatever the lease says. */
const CLEANUP_MS = 60_000;

/** One file on its way to an object: in memory where it is small, else in a multipart upload. */
export class S3Staging implements Staging {
  #staged: Staged | undefined;
  #adopted: Adopted | undefined;

  constructor(private readonly object: DestinationObject) {}

  async adopt(_fences: string[], noted: ResumeRecord | undefined, alive: boolean): Promise<boolean> {
    const { object } = this;
    const { lease, terms } = object.attempt;
    const upload = noted?.upload;
    if (!upload || (upload.object ?? lease.key) !== object.hash) return false;
    return await object.at(async () => {
      if (terms.resume && !alive) {
        const parts = await this.#partsOf(upload.id);
        if (parts) this.#adopted = { ...upload, parts };
        if (parts) return true;
      }
      // Who still runs could publish what it has uploaded: not once its upload is gone.
      await object.target.bucket.abortUpload(object.key, upload.id, lease.signal);
      return false;
    });
  }

  /** Undefined where the upload is gone, or the service does not list parts. */
  async #partsOf(uploadId: string) {
    const { target, key, lease } = this.object;
    try {
      return await target.bucket.listParts(key, uploadId, lease.signal);
    } catch (error) {
      if (error instanceof TransferError && error.permanent) return undefined;
      throw error;
    }
  }

  async receive(opened: OpenedBody, source: Source | undefined): Promise<Received> {
    if (opened.copy) return await this.receiveCopy(opened, opened.copy);
    const small = await readSmall(opened, this.object.attempt);
    const ofFile = source !== undefined;
    if (!small.ended) {
      const { received, staged } = await receiveParts(
        this.object,
        { opened, held: small.chunks, ofFile },
        (headers, version) => this.#beginUpload(headers, version),
      );
      this.#staged = staged;
      return received;
    }
    opened.confirm?.();
    const bytes = small.chunks.length === 1 ? (small.chunks[0] as Buffer) : Buffer.concat(small.chunks);
    const sha256 = hash("sha256", bytes, "hex");
    const md5 = hash("md5", bytes, "hex");
    this.#staged = { is: "whole", bytes, md5, release: () => {} };
    const other = opened.entry.digest?.algorithm ?? "sha256";
    const sourceDigest = other === "sha256" ? sha256 : other === "md5" ? md5 : await digestOf(other, bytes);
    const lengthBytes = ofFile ? opened.entry.sizeBytes : undefined;
    return { sizeBytes: bytes.length, sha256, sourceDigest, lengthBytes };
  }

  /** Has another object copied by its service. */
  async receiveCopy(opened: OpenedBody, copy: ServerCopy): Promise<Received> {
    const { received, staged } = await receiveCopy(this.object, opened, copy, (headers, version) =>
      this.#beginUpload(headers, version),
    );
    this.#staged = staged;
    return received;
  }

  /** See {@link BeginUpload}. */
  async #beginUpload(headers: Headers, version: string): Promise<S3Upload> {
    const { object } = this;
    const { target, key, lease } = object;
    const { record, file } = object.attempt;
    const metadata = hash("sha256", JSON.stringify([headers, version]), "base64url").slice(0, 16);
    const adopted = this.#adopted;
    this.#adopted = undefined;
    return await object.at(async () => {
      let upload: S3Upload;
      if (adopted?.metadata === metadata) {
        upload = new S3Upload(object, adopted.id, adopted.parts);
      } else {
        const { signal } = lease;
        if (adopted) await target.bucket.abortUpload(key, adopted.id, signal);
        await target.uploads.beginning(file.name, signal);
        upload = new S3Upload(object, await target.bucket.createUpload(key, headers, signal), new Map());
      }
      this.#staged = { is: "parts", upload };
      record.upload = { id: upload.id, metadata };
      if (object.hash !== lease.key) record.upload.object = object.hash;
      failpoint("upload");
      await target.leases.confirm(lease, encodeResumeRecord(record));
      return upload;
    });
  }

  async publish(received: Received, entry: SourceEntry): Promise<Published> {
    const staged = this.#staged;
    if (!staged) throw new Error("nothing is staged");
    if (staged.is === "there") {
      await this.discard();
      return { outcome: "unchanged", stamp: staged.head.etag };
    }
    return await this.object.at(() =>
      staged.is === "copy"
        ? this.#publish("copy", received, entry, (condition) => this.#copy(staged, received, condition))
        : staged.is === "noted"
          ? this.#publish("copy", received, entry, (condition) =>
              copyOntoItself(this.object, staged, received, condition),
            )
          : staged.is === "whole"
            ? this.#publish("put", received, entry, (condition) =>
                this.#put(staged.bytes, staged.md5, received, entry, condition),
              )
            : this.#publish("complete", received, entry, (condition) => staged.upload.complete(condition)),
    );
  }

  /**
   * Publishes under the condition that the destination is still what it was compared as. Where it is not, it is looked
   * at again; the same bytes are left alone. Without conditions it is looked at right before, and the outcome says so.
   */
  async #publish(
    publishing: Publishing,
    received: Received,
    entry: SourceEntry,
    write: (condition: Headers) => Promise<Written>,
  ): Promise<Published> {
    const { object } = this;
    const { target, lease } = object;
    const staged = this.#staged as Staged;
    object.base ??= { is: "absent" };
    const conditional = (await target.conditions.headers(publishing, object.base)) !== undefined;
    const unconditional = conditional ? {} : ({ unconditional: true } as const);
    for (let look = 0; look < MOST_LOOKS; look++) {
      if (!conditional || look > 0) {
        const before: Base = object.base;
        const head = await object.look();
        const by = head && sameBy(head, staged, received, entry);
        if (head && by) {
          await this.discard();
          return { outcome: "unchanged", stamp: head.etag, verifiedBy: by };
        }
        const compared = publishing === "complete" || staged.is === "noted";
        if (compared && etagOf(before) !== (head?.etag ?? "")) throw replacedMeanwhile();
        // What is there may be our successor's: the clocks alone are not asked.
        await target.leases.confirm(lease);
      }
      failpoint("commit");
      lease.check();
      const condition = await target.conditions.headers(publishing, object.base);
      const written = await write(condition ?? {});
      if (written.is === "refused") continue;
      if (written.is === "gone") {
        // Our own success, whose answer was lost; or somebody has dropped the upload.
        const head = await object.look();
        if (!head || !this.#isOurs(head, received, entry)) throw dropped();
        await this.#ended();
        return { outcome: "copied", stamp: head.etag, ...unconditional };
      }
      const verified = this.#vouchedFor(written) ? ({ verifiedBy: "etag" } as const) : {};
      await this.#ended();
      return { outcome: "copied", stamp: written.etag, ...verified, ...unconditional };
    }
    throw replacedMeanwhile();
  }

  async #put(
    bytes: Uint8Array,
    md5: string,
    received: Received,
    entry: SourceEntry,
    condition: Record<string, string>,
  ): Promise<Written> {
    const { target, key, lease } = this.object;
    const headers = {
      ...metadataHeaders(entry, received.sha256, key),
      // One is enough for the service to refuse other bytes, and the ETag that it answers is held against the MD5 here.
      ...(target.checksums
        ? { "x-amz-checksum-sha256": Buffer.from(received.sha256, "hex").toString("base64") }
        : { "content-md5": Buffer.from(md5, "hex").toString("base64") }),
      ...condition,
    };
    const written = await target.bucket.put(key, bytes, received.sha256, headers, lease.signal);
    if (written.is !== "written") return written;
    const stored = etagMd5({ ...written.headers, etag: written.etag });
    if (stored !== undefined && stored !== md5)
      throw new TransferError("checksum", "wrong checksum: the service stored other bytes than were sent");
    return written;
  }

  /** Whether what was written was held against its ETag. */
  #vouchedFor({ headers, etag }: Extract<Written, { is: "written" }>): boolean {
    if (this.#staged?.is === "copy" || this.#staged?.is === "noted") return etag === this.#staged.etag;
    if (this.#staged?.is === "parts") return this.#uploadEtag() !== undefined;
    return etagMd5({ ...headers, etag }) !== undefined;
  }

  #isOurs(head: ObjectHead, received: Received, entry: SourceEntry): boolean {
    return head.etag === this.#uploadEtag() || sameBy(head, this.#staged, received, entry) !== undefined;
  }

  #uploadEtag(): string | undefined {
    return this.#staged?.is === "parts" ? this.#staged.upload.etag : undefined;
  }

  async #copy(
    { copy, etag }: Extract<Staged, { is: "copy" }>,
    received: Received,
    condition: Headers,
  ): Promise<Written> {
    const { target, key, lease } = this.object;
    const headers = { "x-amz-copy-source-if-match": etag, ...condition };
    const written = await target.bucket.copy(key, copy.source, headers, lease.signal);
    if (written.is !== "written") return written;
    // Not every service minds the condition on the source.
    const head = await target.bucket.head(key, lease.signal);
    const plain = etagMd5({ ...copy.headers }) !== undefined && etagMd5(head?.headers ?? {}) !== undefined;
    if (head?.sizeBytes !== received.sizeBytes || head.etag !== written.etag) throw replacedMeanwhile();
    if (plain && head.etag !== etag) throw replacedMeanwhile();
    return written;
  }

  /** It is published: what a predecessor had uploaded is of no use any more. */
  async #ended(): Promise<void> {
    if (this.#staged?.is !== "parts") return await this.discard();
    this.#staged = undefined;
    await this.object.target.uploads.ended(this.object.attempt.file.name);
  }

  /** Without the lease nobody comes to go on with it: a successor has begun anew. */
  worthKeeping(after: ErrorClass | undefined): boolean {
    return after !== "locked" && (this.#staged?.is === "parts" || this.#adopted !== undefined);
  }

  /** The parts stay with the service. */
  keep(): void {
    if (this.#staged?.is === "whole") this.#staged.release();
    this.#staged = undefined;
  }

  /**
   * Drops the upload. Where that fails, it is left to whoever sweeps: it is registered as begun. Without the lease it
   * may be the successor's that is.
   */
  async discard(): Promise<void> {
    const id = this.#staged?.is === "parts" ? this.#staged.upload.id : this.#adopted?.id;
    if (this.#staged?.is === "whole") this.#staged.release();
    this.#staged = undefined;
    this.#adopted = undefined;
    if (id === undefined) return;
    const { target, key, lease, attempt } = this.object;
    try {
      await target.bucket.abortUpload(key, id, AbortSignal.timeout(CLEANUP_MS));
      if (lease.trusted) await target.uploads.ended(attempt.file.name);
    } catch (error) {
      if (!(error instanceof TransferError)) throw error;
    }
  }

  close(): void {
    this.keep();
  }
}

type Headers = Record<string, string>;

function etagOf(base: Base): string {
  return base.is === "version" ? base.etag : "";
}

function dropped(): TransferError {
  return new TransferError("changed", "the upload was dropped by somebody else", { verdict: "ok" });
}

/** Reads the beginning of a body, to its end where it is small. */
async function readSmall(
  { body, offset }: OpenedBody,
  { record, lease, terms, limiter }: WriteAttempt,
): Promise<{ ended: boolean; chunks: Buffer[] }> {
  if (offset !== 0) throw new Error("an upload begins at the beginning");
  const limit = terms.maxFileSizeBytes;
  let bytes = 0;
  const count = async (more: Buffer[]) => {
    const before = bytes;
    for (const chunk of more) bytes += chunk.length;
    record.receivedBytes = bytes;
    if (limit !== undefined && bytes > limit) throw tooLarge(bytes, limit);
    await limiter.take(bytes - before, lease);
  };
  const complete = body.takeIfComplete();
  if (complete) {
    await count(complete);
    return { ended: true, chunks: complete };
  }
  const chunks: Buffer[] = [];
  while (bytes <= SMALL_BYTES) {
    const more = await body.read();
    if (!more) return { ended: true, chunks };
    chunks.push(...more);
    await count(more);
  }
  return { ended: false, chunks };
}
