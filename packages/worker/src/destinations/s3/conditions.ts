import { randomBytes } from "node:crypto";
import { setTimeout as sleep } from "node:timers/promises";
import { TransferError } from "@drover/shared/errors";
import { failpoint } from "@drover/shared/failpoint";
import { isProcessDead, PROCESS_NAME } from "@drover/shared/process-name";
import type { Keys } from "@drover/shared/protocol/keys";
import type { Headers } from "@drover/shared/storage/http/client";
import type { S3Bucket, Written } from "@drover/shared/storage/s3/bucket";
import type { ConditionForm } from "@drover/shared/storage/s3/object/limits";
import { isAws } from "@drover/shared/storage/s3/service/service";
import { EMPTY_SHA256, encodeKey } from "@drover/shared/storage/s3/service/sigv4";
import type { S3Tree } from "@drover/shared/storage/s3/tree";
import type { Redis } from "ioredis";

/** What was found out about a service is forgotten after this time. */
const REMEMBERED_MS = 24 * 3_600_000;
/** A probe may take so long. No file cancels it, because other files wait for it, and because it has to clean up. */
const PROBE_MS = 60_000;
/** A probe that began so long ago has ended, even if the clocks of two machines differ. */
const BROKEN_OFF_MS = 15 * 60_000;

/** Requests of a probe that the service throttles are sent so many times in all. */
const TRIES = 5;
/** Wait before the second try. It grows by as much with each one. */
const AGAIN_MS = 200;
/** If the service wants a longer wait than this, the probe fails. */
const MOST_WAIT_MS = 5_000;

/** A kind of request that replaces or removes an object. */
export type Publishing = "put" | "complete" | "copy" | "remove";

/** What the destination was when the file was compared with it. */
export type Base = { is: "absent" } | { is: "version"; etag: string };

/**
 * Which conditions on writes a service supports. A probe finds out, once a day for each service and kind of request: it
 * writes an empty object of its own below the prefix of the destination, and removes it.
 */
export class S3Conditions {
  readonly #known = new Map<Publishing, Promise<ConditionForm>>();
  #trusted: boolean;

  constructor(
    private readonly bucket: S3Bucket,
    private readonly tree: S3Tree,
    private readonly endpoint: string,
    private readonly redis: Redis,
    private readonly keys: Keys,
  ) {
    // AWS documents that it supports them.
    this.#trusted = isAws(endpoint);
  }

  /**
   * The headers that bind a request to the version that was compared.
   *
   * @returns undefined if the service supports no conditions.
   * @throws TransferError if that cannot be found out now.
   */
  async headers(publishing: Publishing, base: Base): Promise<Headers | undefined> {
    const form = await this.#form(publishing);
    if (form === "none") return undefined;
    if (base.is === "absent") return { "if-none-match": "*" };
    return { "if-match": form === "bare" ? base.etag.replaceAll('"', "") : base.etag };
  }

  async #form(publishing: Publishing): Promise<ConditionForm> {
    if (this.#trusted) return "quoted";
    let form = this.#known.get(publishing);
    if (!form) {
      form = this.#recall(publishing);
      this.#known.set(publishing, form);
      form.catch(() => this.#known.delete(publishing));
    }
    return form;
  }

  async #recall(publishing: Publishing): Promise<ConditionForm> {
    const key = this.keys.service(this.endpoint);
    const known = await this.redis.hget(key, publishing);
    if (known !== null) return known as ConditionForm;
    const form = await this.#probe(publishing, AbortSignal.timeout(PROBE_MS));
    if (form === undefined) return "none";
    await this.redis.multi().hset(key, publishing, form).pexpire(key, REMEMBERED_MS).exec();
    return form;
  }

  /** @returns undefined if this prefix does not allow the probe. */
  async #probe(publishing: Publishing, signal: AbortSignal): Promise<ConditionForm | undefined> {
    await this.sweep(signal);
    // No file can have such a name, see STAGING_NAME.
    const key = this.tree.key(`.drover-${randomBytes(12).toString("base64url")}`);
    const put = (headers: Headers) =>
      patiently(() => this.bucket.put(key, Buffer.alloc(0), EMPTY_SHA256, headers, signal), signal);
    await this.redis.hset(this.keys.probes(this.tree.id), key, `${PROCESS_NAME} ${Date.now()}`);
    try {
      let there: Written;
      try {
        there = await put({});
      } catch (error) {
        // This name is forbidden, but others may be allowed.
        if (isForbidden(error)) return undefined;
        throw error;
      }
      failpoint("probe");
      const etag = there.is === "written" ? there.etag : "";
      const publish = {
        put,
        copy: (headers: Headers) => {
          const source = `/${encodeKey(this.bucket.name)}/${encodeKey(key)}`;
          const reading = there.is === "written" ? this.bucket.copyHeaders(there.headers) : undefined;
          const all = { ...headers, ...reading, "x-amz-metadata-directive": "REPLACE" };
          return patiently(() => this.bucket.copy(key, source, all, signal), signal);
        },
        complete: (headers: Headers) => this.#upload(key, headers, signal),
        remove: (headers: Headers) => patiently(() => this.bucket.remove(key, signal, headers), signal),
      }[publishing];
      if (publishing !== "remove" && !(await refuses(publish, { "if-none-match": "*" }))) return "none";
      if (!(await refuses(publish, { "if-match": '"00000000000000000000000000000000"' }))) return "none";
      if (!(await refuses(publish, { "if-match": etag }))) return "quoted";
      return (await refuses(publish, { "if-match": etag.replaceAll('"', "") })) ? "none" : "bare";
    } finally {
      await this.#remove(key, signal);
    }
  }

  /** Removes the object of a probe. */
  async #remove(key: string, signal: AbortSignal): Promise<void> {
    await patiently(() => this.bucket.remove(key, signal), signal).catch((error) => {
      if (!isForbidden(error)) throw error; // if it is forbidden, an empty object stays, one a day
    });
    await this.redis.hdel(this.keys.probes(this.tree.id), key);
  }

  /**
   * Removes what interrupted probes have left below the prefix.
   *
   * @throws TransferError
   */
  async sweep(signal: AbortSignal): Promise<void> {
    for (const [key, by] of Object.entries(await this.redis.hgetall(this.keys.probes(this.tree.id)))) {
      const [owner = "", begunMs] = by.split(" ");
      if (!isProcessDead(owner) && Date.now() - Number(begunMs) < BROKEN_OFF_MS) continue;
      await this.#dropUploads(key, signal);
      await this.#remove(key, signal);
    }
  }

  async #dropUploads(key: string, signal: AbortSignal): Promise<void> {
    try {
      for (const { uploadId } of await this.bucket.listUploads(key, signal))
        await this.bucket.abortUpload(key, uploadId, signal);
    } catch (error) {
      // If uploads cannot be listed, they are left to the lifecycle rules of the bucket.
      if (!(error instanceof TransferError) || !error.permanent) throw error;
    }
  }

  async #upload(key: string, headers: Headers, signal: AbortSignal): Promise<Written> {
    const id = await patiently(() => this.bucket.createUpload(key, {}, signal), signal);
    try {
      const empty = Buffer.alloc(0);
      const request = { key, uploadId: id, part: 1, body: empty, md5: "1B2M2Y8AsgTpgAmY7PhCfg==", signal };
      const part = await patiently(() => this.bucket.uploadPart(request), signal);
      const etags = [part.is === "written" ? part.etag : ""];
      const completion = { key, uploadId: id, etags, headers, signal };
      return await patiently(() => this.bucket.completeUpload(completion), signal);
    } finally {
      await patiently(() => this.bucket.abortUpload(key, id, signal), signal);
    }
  }
}

function isForbidden(error: unknown): boolean {
  return error instanceof TransferError && error.class === "forbidden";
}

/**
 * Whether a request is refused because of its condition. A service without conditions answers 400 or 501, or accepts.
 */
async function refuses(publish: (headers: Headers) => Promise<Written>, headers: Headers): Promise<boolean> {
  try {
    return (await publish(headers)).is === "refused";
  } catch (error) {
    const isUnknown =
      error instanceof TransferError && (error.httpStatus === 400 || error.httpStatus === 501);
    if (isUnknown) return false;
    throw error;
  }
}

/** Sends a request again if the service throttles it. A throttled request has had no effect. */
async function patiently<T>(ask: () => Promise<T>, signal: AbortSignal): Promise<T> {
  for (let attempt = 1; ; attempt++) {
    try {
      return await ask();
    } catch (error) {
      if (!(error instanceof TransferError) || !error.throttled || attempt >= TRIES) throw error;
      const waitMs = Math.max(AGAIN_MS * attempt, error.retryAfterMs ?? 0);
      if (waitMs > MOST_WAIT_MS || signal.aborted) throw error;
      await sleep(waitMs);
    }
  }
}
