import { randomBytes } from "node:crypto";
import { setTimeout as sleep } from "node:timers/promises";
import { TransferError } from "@drover/shared/errors";
import { failpoint } from "@drover/shared/failpoint";
import { isProcessDead, PROCESS_NAME } from "@drover/shared/process-name";
import type { Keys } from "@drover/shared/protocol/keys";
import type { Headers } from "@drover/shared/storage/http/client";
import type { S3Bucket, Written } from "@drover/shared/storage/s3/bucket";
import { EMPTY_SHA256, encodeKey } from "@drover/shared/storage/s3/sigv4";
import type { S3Tree } from "@drover/shared/storage/s3/tree";
import type { Redis } from "ioredis";

/** What is known of a service is asked anew after so long. */
const REMEMBERED_MS = 24 * 3_600_000;
/** Finding out may take so long: no file breaks it off, since others wait for it, and it cleans up. */
const PROBE_MS = 60_000;
/** Whoever began so long ago is not finding out any more, whatever the clocks of two machines differ by. */
const BROKEN_OFF_MS = 15 * 60_000;

/** A service that is asked too much is asked again, so many times in all, unless it wants more time than this. */
const TRIES = 5;
const AGAIN_MS = 200;
const MOST_WAIT_MS = 5_000;

/** An operation that publishes an object, or removes it. */
export type Publishing = "put" | "complete" | "copy" | "remove";

/** What the destination was when it was compared. */
export type Base = { is: "absent" } | { is: "version"; etag: string };

/**
 * How a service understands a condition on a version: with the quotes of an ETag as HTTP wants it, without them as
 * Ceph 16 does, or not at all.
 */
type Form = "quoted" | "bare" | "none";

/**
 * Under which conditions a service publishes. It is found out by trying, with an empty object of its own below the
 * destination's prefix that is removed again, once a day and service.
 */
export class S3Conditions {
  readonly #known = new Map<Publishing, Promise<Form>>();
  #trusted: boolean;

  constructor(
    private readonly bucket: S3Bucket,
    private readonly tree: S3Tree,
    private readonly endpoint: string,
    private readonly redis: Redis,
    private readonly keys: Keys,
  ) {
    // AWS says that it does.
    this.#trusted = /\.amazonaws\.com(\.cn)?$/.test(new URL(endpoint).hostname);
  }

  /** The headers that bind an operation to what was compared; undefined where the service takes no conditions. */
  async headers(publishing: Publishing, base: Base): Promise<Headers | undefined> {
    const form = await this.#form(publishing);
    if (form === "none") return undefined;
    if (base.is === "absent") return { "if-none-match": "*" };
    return { "if-match": form === "bare" ? base.etag.replaceAll('"', "") : base.etag };
  }

  async #form(publishing: Publishing): Promise<Form> {
    if (this.#trusted) return "quoted";
    let form = this.#known.get(publishing);
    if (!form) {
      form = this.#recall(publishing);
      this.#known.set(publishing, form);
      form.catch(() => this.#known.delete(publishing));
    }
    return form;
  }

  async #recall(publishing: Publishing): Promise<Form> {
    const key = this.keys.service(this.endpoint);
    const known = await this.redis.hget(key, publishing);
    if (known !== null) return known as Form;
    const form = await this.#probe(publishing, AbortSignal.timeout(PROBE_MS));
    if (form === undefined) return "none";
    await this.redis.multi().hset(key, publishing, form).pexpire(key, REMEMBERED_MS).exec();
    return form;
  }

  /** @returns undefined where that cannot be found out here. */
  async #probe(publishing: Publishing, signal: AbortSignal): Promise<Form | undefined> {
    await this.sweep(signal);
    // Such names are no file's: see STAGING_NAME.
    const key = this.tree.key(`.drover-${randomBytes(12).toString("base64url")}`);
    const put = (headers: Headers) =>
      patiently(() => this.bucket.put(key, Buffer.alloc(0), EMPTY_SHA256, headers, signal), signal);
    await this.redis.hset(this.keys.probes(this.tree.id), key, `${PROCESS_NAME} ${Date.now()}`);
    try {
      let there: Written;
      try {
        there = await put({});
      } catch (error) {
        // Whoever may not write such a name may write others.
        if (isForbidden(error)) return undefined;
        throw error;
      }
      failpoint("probe");
      const etag = there.is === "written" ? there.etag : "";
      const publish = {
        put,
        copy: (headers: Headers) => {
          const source = `/${encodeKey(this.bucket.name)}/${encodeKey(key)}`;
          const all = { ...headers, "x-amz-metadata-directive": "REPLACE" };
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

  /** Removes an object that a service was tried with. */
  async #remove(key: string, signal: AbortSignal): Promise<void> {
    await patiently(() => this.bucket.remove(key, signal), signal).catch((error) => {
      if (!isForbidden(error)) throw error; // else it stays: an empty object, once a day
    });
    await this.redis.hdel(this.keys.probes(this.tree.id), key);
  }

  /**
   * Removes what was left below the prefix by whoever was killed, or cut off, while it tried the service.
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
      // Where uploads cannot be listed, they are the bucket's own rules' business.
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

/** Whether an operation is refused for its condition. A service that does not know conditions says so, or takes it. */
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

/** Asks a service again that is asked too much: what it refuses so, it has not done. */
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
