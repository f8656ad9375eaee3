import { hash } from "node:crypto";
import { TransferError } from "@drover/shared/errors";
import { failpoint } from "@drover/shared/failpoint";
import type { Headers } from "@drover/shared/storage/http/client";
import type { UploadedPart } from "@drover/shared/storage/s3/bucket";
import { encodeResumeRecord, type ResumeRecord } from "../../attempt/resume-record.js";
import type { DestinationObject } from "./object.js";
import { S3Upload } from "./upload.js";

/** Dropping an upload may take so long, even without the lease. */
const CLEANUP_MS = 60_000;

/** An upload that a predecessor has begun. */
interface Adopted {
  id: string;
  /** Hash of the metadata that it was begun with. */
  metadata: string;
  parts: Map<number, UploadedPart>;
}

/** The multipart upload of an attempt, if it needs one: from its beginning, or from a predecessor, to its end. */
export class ObjectUpload {
  #adopted: Adopted | undefined;
  #begun: S3Upload | undefined;

  constructor(private readonly object: DestinationObject) {}

  /** Whether this attempt has begun one, or has continued one. */
  get isBegun(): boolean {
    return this.#begun !== undefined;
  }

  /** Whether there is one that a successor can continue. */
  get isThere(): boolean {
    return this.isBegun || this.#adopted !== undefined;
  }

  /**
   * Takes over the upload of a predecessor, or drops it.
   *
   * @param alive whether the predecessor may still run.
   * @returns whether it is ours now.
   * @throws TransferError
   */
  async adopt(noted: ResumeRecord | undefined, alive: boolean): Promise<boolean> {
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
      // A predecessor that still runs could publish what it has uploaded. Without its upload it cannot.
      await object.target.bucket.abortUpload(object.key, upload.id, lease.signal);
      return false;
    });
  }

  /** @returns undefined if the upload is gone, or if the service does not list parts. */
  async #partsOf(uploadId: string) {
    const { target, key, lease } = this.object;
    try {
      return await target.bucket.listParts(key, uploadId, lease.signal);
    } catch (error) {
      if (error instanceof TransferError && error.permanent) return undefined;
      throw error;
    }
  }

  /**
   * Begins the upload, or continues that of a predecessor if it is of the same file. Redis knows of it before this
   * returns.
   *
   * @param headers metadata of the object.
   * @param version whatever else must be the same for an upload to be continued.
   * @throws TransferError
   */
  async begin(headers: Headers, version: string): Promise<S3Upload> {
    const { object } = this;
    const { target, key, lease } = object;
    const { record, file } = object.attempt;
    const begunWith = JSON.stringify([headers, version, ...target.begunWith]);
    const metadata = hash("sha256", begunWith, "base64url").slice(0, 16);
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
      this.#begun = upload;
      record.upload = { id: upload.id, metadata };
      if (object.hash !== lease.key) record.upload.object = object.hash;
      failpoint("upload");
      await target.leases.confirm(lease, encodeResumeRecord(record));
      return upload;
    });
  }

  /** To be called once the upload is an object. */
  async completed(): Promise<void> {
    this.#begun = undefined;
    await this.object.target.uploads.ended(this.object.attempt.file.name);
  }

  /** Leaves the parts at the service. */
  keep(): void {
    this.#begun = undefined;
  }

  /**
   * Drops the upload. If that fails, a sweep drops it later, because it is still registered as begun. Without the lease
   * the registered upload may be that of the successor, so it stays registered.
   */
  async drop(): Promise<void> {
    const id = this.#begun?.id ?? this.#adopted?.id;
    this.#begun = undefined;
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
}
