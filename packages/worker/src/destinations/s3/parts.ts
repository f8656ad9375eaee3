import { TransferError } from "@drover/shared/errors";
import type { ObjectHead } from "@drover/shared/storage/s3/bucket";
import { etagMd5, readMetadata } from "@drover/shared/storage/s3/object/metadata";
import type { SourceEntry } from "@drover/shared/storage/source";
import type { BufferPool } from "../../bytes/buffer-pool.js";
import { digestsOfSource } from "../../bytes/hash/hash-file.js";
import { HashParts } from "../../bytes/hash/hash-parts.js";
import { algorithmsFor, tooLarge } from "../../bytes/receive.js";
import type { OpenedBody, WriteAttempt } from "../destination.js";
import type { DestinationObject } from "./object.js";
import type { ObjectUpload } from "./object-upload.js";
import { BytesInMemory } from "./publishing/bytes-in-memory.js";
import { withMetadataOf } from "./publishing/metadata-only.js";
import { MultipartParts } from "./publishing/multipart.js";
import type { StagedObject } from "./publishing/publication.js";
import { partBytesOf, type S3Upload } from "./upload.js";

/** So many parts of one file are sent at the same time. */
const SENDERS = 4;

/** An opened file whose beginning has been read. */
export interface Begun {
  opened: OpenedBody;
  /** The bytes that have been read. */
  held: Buffer[];
  /** Whether the size and the digest that the source gives are those of the bytes that come. */
  ofFile: boolean;
}

/**
 * Stages a file that is not small. If it fits in one part, it stays in memory. Otherwise it is sent part by part,
 * several at a time while the next one is read. Another thread, which shares the memory of the parts, computes the
 * hashes.
 *
 * The metadata of the object, with the SHA-256, has to be named before the first byte is sent. At that time the SHA-256
 * of a local file is known, because it is hashed ahead, and also one that the user or the source names. Other objects
 * have none.
 *
 * @throws TransferError
 */
export async function receiveParts(
  object: DestinationObject,
  { opened, held, ofFile }: Begun,
  objectUpload: ObjectUpload,
): Promise<StagedObject> {
  const { attempt } = object;
  const { entry } = opened;
  const lengthBytes = ofFile ? entry.sizeBytes : undefined;
  const reader = new Reader(opened, held, attempt);
  const hashes = new HashParts(algorithmsFor(entry));
  const { bufferPool, partBytes } = object.target;
  try {
    const firstBytes = Math.min(
      partBytesOf(1, lengthBytes, partBytes),
      Math.max(lengthBytes ?? Number.POSITIVE_INFINITY, 1),
    );
    let filled = await fill(reader, bufferPool, firstBytes);
    if (reader.ended) {
      const { bytes, release } = filled;
      try {
        const md5 = await hashes.add(bytes);
        const [sha256, other] = (await hashes.finish()) as [string, string | undefined];
        opened.confirm?.();
        const received = { sizeBytes: bytes.length, sha256, sourceDigest: other ?? sha256, lengthBytes };
        return { received, staged: new BytesInMemory(object, { bytes, md5 }, release) };
      } catch (error) {
        release();
        throw error;
      }
    }
    let upload: S3Upload;
    let known: string | undefined;
    try {
      const head = await object.lookAhead();
      const ahead = await hashedAhead(opened, head, lengthBytes, attempt.lease.signal);
      known = ahead?.sha256 ?? attempt.expected ?? (ofFile ? promised(entry) : undefined);
      const there =
        head && ahead?.same && (await object.at(() => withMetadataOf(object, head, entry, ahead.sha256)));
      if (there) {
        opened.body.abort(new Error("it is there"));
        filled.release();
        const received = {
          sizeBytes: head.sizeBytes,
          sha256: ahead.sha256,
          sourceDigest: ahead.sha256,
          lengthBytes,
        };
        return { received, staged: there };
      }
      upload = await objectUpload.begin(object.target.headersOf(entry, known, object.key), "");
    } catch (error) {
      filled.release();
      throw error;
    }
    const sending = new Sending(upload, hashes, attempt.lease.signal);
    try {
      for (let number = 1; ; ) {
        await sending.add(number, filled);
        if (reader.ended) break;
        filled = await fill(reader, bufferPool, partBytesOf(++number, lengthBytes, partBytes));
        if (filled.bytes.length > 0) continue;
        filled.release();
        break;
      }
      await sending.all();
    } catch (error) {
      await sending.stop(error);
      throw error;
    }
    opened.confirm?.();
    const [sha256, other] = (await hashes.finish()) as [string, string | undefined];
    if (opened.path !== undefined && sha256 !== known)
      throw new TransferError("changed", `${opened.path} changed while it was read`);
    const received = { sizeBytes: reader.bytes, sha256, sourceDigest: other ?? sha256, lengthBytes };
    return { received, staged: new MultipartParts(upload) };
  } finally {
    hashes.drop();
  }
}

/** The SHA-256 (hexadecimal) that a source names before the bytes come. */
function promised({ digest }: SourceEntry): string | undefined {
  return digest?.algorithm === "sha256" ? Buffer.from(digest.base64, "base64").toString("hex") : undefined;
}

/** Hashes a local file before it is sent. `same`: whether the destination has the same bytes. */
async function hashedAhead(
  { path }: OpenedBody,
  head: ObjectHead | undefined,
  lengthBytes: number | undefined,
  signal: AbortSignal,
): Promise<{ sha256: string; same: boolean } | undefined> {
  if (path === undefined) return undefined;
  const candidate = head && head.sizeBytes === lengthBytes ? head : undefined;
  const noted = candidate && readMetadata(candidate.headers);
  const md5 =
    candidate &&
    (etagMd5(candidate.headers) ?? (noted?.md5 && Buffer.from(noted.md5, "base64").toString("hex")));
  const wantsMd5 = noted !== undefined && noted.sha256 === undefined && md5 !== undefined;
  const [sha256, ownMd5] = await digestsOfSource(path, wantsMd5 ? ["sha256", "md5"] : ["sha256"], signal);
  const same = wantsMd5 ? md5 === ownMd5 : noted?.sha256 === sha256;
  return { sha256: sha256 as string, same };
}

/** A part in memory. */
interface Filled {
  /** In memory that is shared with the hashing thread. */
  bytes: Uint8Array;
  /** Gives the memory back. */
  release(): void;
}

/** Takes memory from the budget and fills it. Only at the end of the body it is not filled up. */
async function fill(reader: Reader, bufferPool: BufferPool, capacityBytes: number): Promise<Filled> {
  const { memory, release } = await bufferPool.take(capacityBytes);
  try {
    const bytes = memory.subarray(0, await reader.read(memory.subarray(0, capacityBytes)));
    return { bytes, release };
  } catch (error) {
    release();
    throw error;
  }
}

/** Reads a body into given memory. */
class Reader {
  ended = false;
  bytes = 0;
  #chunks: Buffer[];
  #heldBytes: number;

  constructor(
    private readonly opened: OpenedBody,
    /** Bytes that have been read. */
    held: Buffer[],
    private readonly attempt: WriteAttempt,
  ) {
    this.#chunks = held;
    this.#heldBytes = held.reduce((sum, chunk) => sum + chunk.length, 0);
    opened.body.reuseMemory?.();
  }

  /** @returns number of bytes read. It is less than there is room for only at the end of the body. */
  async read(into: Buffer): Promise<number> {
    let at = 0;
    for (;;) {
      while (this.#chunks.length > 0 && at < into.length) {
        const chunk = this.#chunks[0] as Buffer;
        const taken = chunk.copy(into, at);
        at += taken;
        if (taken === chunk.length) this.#chunks.shift();
        else this.#chunks[0] = chunk.subarray(taken);
      }
      this.attempt.lease.check();
      if (this.#chunks.length > 0 || this.ended) break;
      // Also when the memory is full: whether this was the end decides what becomes of the bytes.
      const more = await this.opened.body.read();
      if (more) await this.#count(more);
      else this.ended = true;
    }
    this.bytes += at;
    return at;
  }

  async #count(more: Buffer[]): Promise<void> {
    this.#chunks = more;
    const bytes = more.reduce((sum, chunk) => sum + chunk.length, 0);
    this.#heldBytes += bytes;
    const { record, terms, limiter, lease } = this.attempt;
    record.receivedBytes = this.#heldBytes;
    const limit = terms.maxFileSizeBytes;
    if (limit !== undefined && this.#heldBytes > limit) throw tooLarge(this.#heldBytes, limit);
    await limiter.take(bytes, lease);
  }
}

/** Sends parts, a few at a time. */
class Sending {
  readonly #under = new Set<Promise<void>>();
  readonly #stop = new AbortController();
  readonly #signal: AbortSignal;
  #error: unknown;

  constructor(
    private readonly upload: S3Upload,
    private readonly hashes: HashParts,
    signal: AbortSignal,
  ) {
    this.#signal = AbortSignal.any([this.#stop.signal, signal]);
  }

  /** Begins to send a part. Resolves when there is room for another one. */
  async add(number: number, { bytes, release }: Filled): Promise<void> {
    const sent: Promise<void> = this.hashes
      .add(bytes)
      .then((md5) => this.upload.send(number, bytes, md5, this.#signal))
      .catch((error) => {
        this.#error ??= error;
        this.#stop.abort(error);
      })
      .finally(() => {
        release();
        this.#under.delete(sent);
      });
    this.#under.add(sent);
    if (this.#under.size >= SENDERS) await Promise.race(this.#under);
    if (this.#error !== undefined) throw this.#error;
  }

  /** Resolves when all parts are sent. */
  async all(): Promise<void> {
    await Promise.all(this.#under);
    if (this.#error !== undefined) throw this.#error;
  }

  /** Aborts all requests. Resolves when they have ended. */
  async stop(error: unknown): Promise<void> {
    this.#stop.abort(error);
    this.hashes.drop();
    await Promise.all(this.#under);
  }
}
