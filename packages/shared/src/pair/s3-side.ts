import { createHash } from "node:crypto";
import { TransferError } from "../errors.js";
import { safeKey } from "../paths.js";
import { HttpClient } from "../storage/http/client.js";
import { type ObjectHead, S3Bucket } from "../storage/s3/bucket.js";
import { S3Lister } from "../storage/s3/listing/lister.js";
import { etagMd5, readMetadata } from "../storage/s3/object/metadata.js";
import { parseS3 } from "../storage/s3/object/name.js";
import { objectHeadersOf, type S3ObjectOptions } from "../storage/s3/object/object-options.js";
import { S3Client } from "../storage/s3/service/client.js";
import { credentialsOf } from "../storage/s3/service/credentials.js";
import { entryOf, etagOfVersion, S3Source } from "../storage/s3/source.js";
import { S3Tree } from "../storage/s3/tree.js";
import type { Opened } from "../storage/source.js";
import type { LookOptions } from "../storage/storage.js";
import {
  type DigestKind,
  type EditTime,
  type FileLook,
  isOwnName,
  type KeptVersions,
  type ListedPath,
  type Look,
  type PairSide,
} from "./side.js";

const CONNECTIONS = 16;
/** Times of objects are whole seconds. */
const SECOND_MS = 2_000;
const METADATA_MS = 1;
/** Answers by which the clock of the service is measured. */
const MOST_OFFSETS = 15;
/** Versions whose HEAD is remembered: more than are examined at once. */
const MOST_HEADS = 64;

/** The objects below a prefix as one side of a pair. */
export class S3Side implements PairSide {
  readonly root: string;
  readonly versions: KeptVersions = {
    areKept: (signal) => this.#bucket.isVersioned(signal),
    idOf: async (name, look, signal) => {
      const { headers } = await this.#headOf(name, look, signal);
      const id = headers["x-amz-version-id"];
      if (id !== undefined) return id;
      throw new TransferError("unsupported", `the service names no version of ${this.location(name)}`, {
        permanent: true,
      });
    },
    source: (name, versionId) => {
      const { bucket } = this.#tree;
      return new S3Source(this.#client, { bucket, key: this.#tree.key(name), versionId });
    },
  };
  readonly #http: HttpClient;
  readonly #client: S3Client;
  readonly #bucket: S3Bucket;
  readonly #tree: S3Tree;
  readonly #offsetsMs: number[] = [];
  /** Of versions that were asked about last, by stamp and name. */
  readonly #heads = new Map<string, ObjectHead>();

  /** @throws TransferError where the run has no S3 settings. */
  constructor(
    root: string,
    private readonly options: LookOptions & { spec: { s3Objects?: S3ObjectOptions | undefined } },
  ) {
    const { s3, timeoutMs, userAgent } = options.spec;
    if (!s3) throw new TransferError("unsupported", "this run has no S3 settings", { permanent: true });
    this.#http = new HttpClient({ timeoutMs, connections: CONNECTIONS, userAgent });
    this.#client = new S3Client(this.#http, s3, credentialsOf(s3));
    this.#tree = new S3Tree(root, s3);
    this.#bucket = new S3Bucket(this.#client, this.#tree.bucket, markerHeadersOf(options.spec.s3Objects));
    this.root = this.#tree.root.replace(/\/$/, ""); // that of a whole bucket ends in it
  }

  location(name: string): string {
    return this.#tree.path(name);
  }

  checkName(name: string): void {
    safeKey(name);
  }

  async *list(signal: AbortSignal): AsyncGenerator<ListedPath> {
    const lister = new S3Lister({ ...this.options, signal, of: "destination" });
    try {
      for await (const found of lister.list(`${this.root}/`, { wanted: () => true, after: undefined })) {
        if (found.is === "failed") {
          const name = found.location.slice(this.root.length + 1);
          yield { name, look: { is: "unknown", why: found.error.message }, hides: false };
        }
        if (found.is !== "file" || isOwnName(found.name)) continue;
        const { name, sizeBytes, mtimeMs, version } = found;
        const etag = etagOfVersion(version ?? "");
        if (etag === undefined)
          yield { name, look: { is: "unknown", why: "the service tells no ETag of it" }, hides: false };
        else
          yield {
            name,
            look: { is: "file", stamp: s3Stamp(sizeBytes, etag), sizeBytes, mtimeMs },
            hides: false,
          };
      }
    } finally {
      await lister.close();
    }
  }

  async look(name: string, signal: AbortSignal): Promise<Look> {
    const head = await this.#head(name, signal);
    if (!head) return { is: "absent" };
    const { etag, sizeBytes, headers } = head;
    const mtimeMs = Date.parse(headers["last-modified"] ?? "") || 0;
    return { is: "file", stamp: s3Stamp(sizeBytes, etag), sizeBytes, mtimeMs };
  }

  async #head(name: string, signal: AbortSignal): Promise<ObjectHead | undefined> {
    const within = AbortSignal.any([signal, AbortSignal.timeout(this.options.spec.timeoutMs)]);
    const askedMs = Date.now();
    const head = await this.#bucket.head(this.#tree.key(name), within, { "x-amz-checksum-mode": "ENABLED" });
    if (head) this.#noteClock(head.headers.date, askedMs);
    return head;
  }

  /** What is known of a version does not change: who examines it asks several times. @throws as {@link digest}. */
  async #headOf(name: string, { stamp }: FileLook, signal: AbortSignal): Promise<ObjectHead> {
    const version = `${stamp} ${name}`;
    const known = this.#heads.get(version);
    if (known) return known;
    const head = await this.#head(name, signal);
    if (!head || s3Stamp(head.sizeBytes, head.etag) !== stamp) throw this.#changed(name);
    if (this.#heads.size >= MOST_HEADS) this.#heads.delete(this.#heads.keys().next().value as string);
    this.#heads.set(version, head);
    return head;
  }

  #changed(name: string): TransferError {
    return new TransferError("changed", `${this.location(name)} changed since it was listed`);
  }

  async digest(
    name: string,
    look: FileLook,
    which: DigestKind,
    signal: AbortSignal,
  ): Promise<string | undefined> {
    const { headers } = await this.#headOf(name, look, signal);
    if (which === "md5") return etagMd5(headers);
    if (which === "noted") return readMetadata(headers).sha256;
    const { digest } = entryOf(headers, look.sizeBytes, true);
    return digest?.by === "x-amz-checksum" && digest.algorithm === "sha256"
      ? Buffer.from(digest.base64, "base64").toString("hex")
      : undefined;
  }

  async read(name: string, { stamp, sizeBytes }: FileLook, signal: AbortSignal): Promise<string> {
    const hash = createHash("sha256");
    let read = 0;
    for await (const chunk of this.#chunks(name, stamp, signal)) {
      hash.update(chunk);
      read += chunk.length;
    }
    if (read !== sizeBytes) throw new TransferError("truncated", `got ${read} of ${sizeBytes} bytes`);
    return hash.digest("hex");
  }

  async bytes(name: string, stamp: string, signal: AbortSignal): Promise<Buffer> {
    const chunks: Buffer[] = [];
    for await (const chunk of this.#chunks(name, stamp, signal)) chunks.push(Buffer.from(chunk));
    return Buffer.concat(chunks);
  }

  /** @throws TransferError class `changed` for another version. */
  async *#chunks(name: string, stamp: string, signal: AbortSignal): AsyncGenerator<Buffer> {
    const { entry, body } = await this.#open(name, signal);
    if (s3Stamp(entry.sizeBytes ?? -1, entry.strongEtag) !== stamp) {
      body.abort(new Error("another version"));
      throw this.#changed(name);
    }
    for (let chunks = await body.read(); chunks; chunks = await body.read()) yield* chunks;
  }

  async #open(name: string, signal: AbortSignal): Promise<Extract<Opened, { is: "body" }>> {
    const source = new S3Source(this.#client, { bucket: this.#tree.bucket, key: this.#tree.key(name) });
    const askedMs = Date.now();
    const opened = await source.open("", signal);
    if (opened.is !== "body") throw new Error("an object without a known version is opened");
    this.#noteClock(opened.entry.headers?.date, askedMs);
    return opened;
  }

  async edited(
    name: string,
    look: FileLook,
    unless: number | undefined,
    signal: AbortSignal,
  ): Promise<EditTime> {
    const { headers } = await this.#headOf(name, look, signal);
    const uploadedMs = Date.parse(headers["last-modified"] ?? "") || look.mtimeMs;
    const noted = readMetadata(headers).mtimeMs;
    const isStale = noted !== undefined && unless !== undefined && Math.abs(noted - unless) <= METADATA_MS;
    if (noted === undefined || isStale) return { ms: uploadedMs, toleranceMs: SECOND_MS };
    // Nothing can have been edited after it was uploaded.
    if (noted > uploadedMs + SECOND_MS) return { ms: uploadedMs, toleranceMs: SECOND_MS };
    return { ms: noted, toleranceMs: METADATA_MS };
  }

  async readOwn(name: string, signal: AbortSignal): Promise<string | undefined> {
    try {
      const { body } = await this.#open(name, signal);
      const chunks: Buffer[] = [];
      for (let some = await body.read(); some; some = await body.read())
        chunks.push(...some.map((each) => Buffer.from(each)));
      return Buffer.concat(chunks).toString();
    } catch (error) {
      if (error instanceof TransferError && error.class === "not-found") return undefined;
      throw error;
    }
  }

  async writeOwn(name: string, text: string, signal: AbortSignal): Promise<void> {
    const bytes = Buffer.from(text);
    const askedMs = Date.now();
    const sha256 = createHash("sha256").update(bytes).digest("hex");
    const written = await this.#bucket.put(this.#tree.key(name), bytes, sha256, {}, signal);
    if (written.is === "written") this.#noteClock(written.headers.date, askedMs);
  }

  async removeOwn(name: string, signal: AbortSignal): Promise<void> {
    await this.#bucket.remove(this.#tree.key(name), signal);
  }

  async removeKept(location: string, runId: string, signal: AbortSignal): Promise<void> {
    const { bucket, key } = parseS3(location);
    if (bucket !== this.#tree.bucket || !key.includes(`/${runId}/`)) return;
    await this.#bucket.remove(key, signal);
  }

  clockOffsetMs(): number {
    const sorted = [...this.#offsetsMs].sort((a, b) => a - b);
    return sorted[sorted.length >> 1] ?? 0;
  }

  /** Notes how far the clock of the service is ahead, by the `Date` of an answer, which is in whole seconds. */
  #noteClock(date: string | undefined, askedMs: number): void {
    const ms = Date.parse(date ?? "");
    if (Number.isNaN(ms) || this.#offsetsMs.length >= MOST_OFFSETS) return;
    this.#offsetsMs.push(ms + 500 - (askedMs + Date.now()) / 2);
  }

  async close(): Promise<void> {
    await this.#http.close();
  }
}

/** `size:ETag`. Every write of other bytes changes it. */
export function s3Stamp(sizeBytes: number, etag: string): string {
  return `${sizeBytes}:${etag}`;
}

/** The ETag in a stamp, with its quotes. */
export function etagOfStamp(stamp: string): string {
  return stamp.slice(stamp.indexOf(":") + 1);
}

/** Markers are read at every sync: they never go to an archive. */
function markerHeadersOf({
  sse,
  sseKmsKeyId,
  acl,
}: S3ObjectOptions = {}): Record<string, string> | undefined {
  return objectHeadersOf({ sse, sseKmsKeyId, acl }).place;
}
