import { TransferError } from "@drover/shared/errors";
import { failpoint } from "@drover/shared/failpoint";
import type { RunSpec } from "@drover/shared/run";
import { HttpClient } from "@drover/shared/storage/http/client";
import { S3Bucket } from "@drover/shared/storage/s3/bucket";
import { parseS3 } from "@drover/shared/storage/s3/object/name";
import { S3Client } from "@drover/shared/storage/s3/service/client";
import { credentialsOf } from "@drover/shared/storage/s3/service/credentials";
import { destinationService } from "@drover/shared/storage/s3/service/service";
import type { S3Spec } from "@drover/shared/storage/s3/service/spec";
import { entryOf } from "@drover/shared/storage/s3/source";

const CONNECTIONS = 16;

/** Removes objects that were copied. */
export class ObjectRemoval {
  readonly #http: HttpClient;
  readonly #sources: S3Client;
  readonly #destinations: S3Client;
  readonly #isOneService: boolean;

  /** @throws TransferError where the run has no S3 settings. */
  constructor(
    private readonly spec: RunSpec,
    private readonly signal: AbortSignal,
  ) {
    const { s3, s3Destination, timeoutMs, userAgent } = spec;
    if (!s3) throw new TransferError("unsupported", "this run has no S3 settings", { permanent: true });
    this.#http = new HttpClient({ timeoutMs, connections: CONNECTIONS, userAgent });
    const client = (service: S3Spec) => new S3Client(this.#http, service, credentialsOf(service));
    this.#sources = client(s3);
    this.#isOneService = s3Destination === undefined;
    this.#destinations = /^s3:/.test(spec.root) ? client(destinationService(spec)) : this.#sources;
  }

  /**
   * Removes an object if it is the version that was copied: it is asked about right before, and removed under a condition,
   * which services ignore that take none.
   *
   * @param copy where it was copied to.
   * @returns false if there is none.
   * @throws TransferError class `changed` for another version, which stays.
   */
  async remove(location: string, version: string, copy: string): Promise<boolean> {
    const { bucket: bucketName, key } = parseS3(location);
    const bucket = new S3Bucket(this.#sources, bucketName);
    const head = await this.#head(bucket, key);
    if (!head) return false;
    const { etag } = head;
    if (head.version !== version) throw changed(location);
    await this.#refuseSelf(location, copy, head.version);
    failpoint("taken");
    // Services differ in whether they compare ETags with or without their quotes.
    for (const condition of [etag, etag.replaceAll('"', "")]) {
      const removed = await this.#removeIf(bucket, key, condition);
      failpoint("removed");
      if (removed) return true;
      const now = await this.#head(bucket, key);
      if (!now) return true;
      if (now.etag !== etag) break;
    }
    throw changed(location);
  }

  /** @returns false if the condition did not hold. */
  async #removeIf(bucket: S3Bucket, key: string, condition: string): Promise<boolean> {
    try {
      const removed = await bucket.remove(key, this.#within(), { "if-match": condition });
      return removed.is !== "refused";
    } catch (error) {
      const takesNone =
        error instanceof TransferError && (error.httpStatus === 400 || error.httpStatus === 501);
      if (!takesNone) throw error;
      await bucket.remove(key, this.#within());
      return true;
    }
  }

  async #head(bucket: S3Bucket, key: string): Promise<{ etag: string; version: string } | undefined> {
    const head = await bucket.head(key, this.#within());
    if (!head) return undefined;
    return { etag: head.etag, version: entryOf(head.headers, head.sizeBytes, false).version };
  }

  /** Two addresses may lead to one service: an object of the same name, ETag and time there may be this one. */
  async #refuseSelf(location: string, copy: string, version: string): Promise<void> {
    const same = new TransferError("path", `${location} may be its own copy: it stays`, { permanent: true });
    if (!/^s3:/.test(copy)) return;
    const [one, other] = [parseS3(location), parseS3(copy)];
    if (one.bucket !== other.bucket || one.key !== other.key) return;
    if (this.#isOneService) throw same;
    const there = await this.#head(new S3Bucket(this.#destinations, other.bucket), other.key);
    if (!there || there.version === version) throw same;
  }

  #within(): AbortSignal {
    return AbortSignal.any([this.signal, AbortSignal.timeout(this.spec.timeoutMs)]);
  }

  async close(): Promise<void> {
    await this.#http.close();
  }
}

function changed(location: string): TransferError {
  return new TransferError("changed", `${location} changed since it was copied`, { permanent: true });
}
