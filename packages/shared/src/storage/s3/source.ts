import { TransferError } from "../../errors.js";
import type { Access } from "../../permissions.js";
import type { AnswerHeaders, Headers, HttpAnswer } from "../http/client.js";
import { changedWhileRead, discard, rangeOf } from "../http/range.js";
import type { ByteRange, Opened, Source, SourceDigest, SourceEntry, VersionRef } from "../source.js";
import { accessOf, headObject } from "./object/look.js";
import { etagMd5, readMetadata } from "./object/metadata.js";
import type { S3Name } from "./object/name.js";
import type { S3Client } from "./service/client.js";
import { NoSuchObjectError } from "./service/errors.js";

/**
 * The version of an object: its ETag, size in bytes and modification time in seconds, which both a listing and a GET
 * tell. "" if there is no ETag.
 */
export function s3Version(etag: string, sizeBytes: number, mtimeMs: number): string {
  return etag === "" ? "" : `s${etag};${sizeBytes};${Math.floor(mtimeMs / 1000)}`;
}

/** Takes apart what {@link s3Version} made; undefined for any other text. */
function partsOf(version: string): { etag: string; sizeBytes: number; seconds: number } | undefined {
  const match = /^s(.+);(\d+);(-?\d+)$/.exec(version);
  if (!match) return undefined;
  return { etag: match[1] as string, sizeBytes: Number(match[2]), seconds: Number(match[3]) };
}

/** When the object of a version was written (Unix ms, whole seconds); undefined for any other text. */
export function writtenMsOf(version: string): number | undefined {
  const parts = partsOf(version);
  return parts && parts.seconds * 1000;
}

/** The ETag in a version; undefined for any other text. */
export function etagOfVersion(version: string): string | undefined {
  return partsOf(version)?.etag;
}

/**
 * An object to be read. It takes one GET to open it: under If-None-Match if a version is known, and under If-Match for
 * a range.
 */
export class S3Source implements Source {
  constructor(
    private readonly client: S3Client,
    private readonly name: S3Name,
  ) {}

  async open(known: string, signal: AbortSignal): Promise<Opened> {
    const parts = partsOf(known);
    const extra: Headers = { "x-amz-checksum-mode": "ENABLED" };
    if (parts) extra["if-none-match"] = parts.etag;
    const answer = await this.#get(extra, signal);
    if (answer.status === 304 && parts) {
      discard(answer);
      const entry = entryOf(answer.headers, parts.sizeBytes, false);
      const isDated = !Number.isNaN(Date.parse(answer.headers["last-modified"] ?? ""));
      if (!isDated || entry.version === known)
        return { is: "unchanged", entry: { ...entry, version: known } };
      // It was written again with the same bytes: its metadata may be others, and this answer has none.
      const now = await this.look(signal);
      if (now?.strongEtag !== parts.etag) throw changedWhileRead();
      return { is: "unchanged", entry: now };
    }
    if (answer.status !== 200) throw unexpected(answer);
    const length = answer.headers["content-length"];
    const entry = entryOf(answer.headers, length === undefined ? undefined : Number(length), true);
    if (isVersion(known, entry)) {
      discard(answer);
      return { is: "unchanged", entry };
    }
    return { is: "body", entry, body: answer.body, offset: 0 };
  }

  async openRange(version: VersionRef, range: ByteRange, signal: AbortSignal): Promise<Opened> {
    const { startByte, lastByte } = range;
    const { strongEtag, sizeBytes } = version;
    const extra = { range: `bytes=${startByte}-${lastByte ?? ""}`, "if-match": strongEtag };
    const answer = await this.#get(extra, signal);
    if (answer.status === 412 || answer.status === 416) {
      discard(answer);
      throw changedWhileRead();
    }
    const { headers } = answer;
    if (answer.status === 200 && headers.etag === strongEtag) {
      const length = headers["content-length"];
      const whole = entryOf(headers, length === undefined ? undefined : Number(length), true);
      return { is: "body", entry: whole, body: answer.body, offset: 0 };
    }
    if (answer.status === 200) {
      answer.body.abort(new Error("another version"));
      throw changedWhileRead();
    }
    if (answer.status !== 206) throw unexpected(answer);
    rangeOf(answer, version, startByte);
    const opened = entryOf(headers, sizeBytes, true); // no checksum of the range was asked for
    return { is: "body", entry: opened, body: answer.body, offset: startByte };
  }

  async look(signal: AbortSignal): Promise<SourceEntry | undefined> {
    try {
      const headers = { "x-amz-checksum-mode": "ENABLED" };
      const answer = await headObject(this.client, this.name, headers, signal);
      const length = answer.headers["content-length"];
      return entryOf(answer.headers, length === undefined ? undefined : Number(length), true);
    } catch (error) {
      if (error instanceof NoSuchObjectError) return undefined;
      throw error;
    }
  }

  access(signal: AbortSignal): Promise<Access> {
    return accessOf(this.client, this.name, signal);
  }

  #get(extra: Headers, signal: AbortSignal): Promise<HttpAnswer> {
    const { bucket, key, versionId } = this.name;
    return this.client.get(bucket, key, versionId === undefined ? {} : { versionId }, extra, signal);
  }
}

function unexpected(answer: HttpAnswer): TransferError {
  discard(answer);
  return new TransferError("http", `unexpected answer (HTTP status ${answer.status})`, {
    permanent: true,
    verdict: "ok",
  });
}

/** Whether a known version is the one of this entry. */
export function isVersion(known: string, entry: SourceEntry): boolean {
  return known !== "" && entry.version === known;
}

/**
 * What an answer says about an object.
 *
 * @param sizeBytes of the whole object.
 * @param whole whether the checksums of the answer are those of the whole object.
 */
export function entryOf(headers: AnswerHeaders, sizeBytes: number | undefined, whole: boolean): SourceEntry {
  const etag = headers.etag ?? "";
  const modified = Date.parse(headers["last-modified"] ?? "");
  const version =
    sizeBytes === undefined || Number.isNaN(modified) ? "" : s3Version(etag, sizeBytes, modified);
  const file = readMetadata(headers);
  return {
    sizeBytes,
    version,
    strongEtag: etag.startsWith('"') ? etag : "",
    // The time of the uploaded file, if its uploader noted it.
    mtimeMs: file.mtimeMs ?? (Number.isNaN(modified) ? undefined : modified),
    ...(file.mtimeNs === undefined ? {} : { mtimeNs: file.mtimeNs }),
    ...(file.mode === undefined ? {} : { mode: file.mode }),
    framed: sizeBytes !== undefined || /\bchunked\b/i.test(headers["transfer-encoding"] ?? ""),
    ranges: true,
    // Content-Encoding is only a note of the uploader: the object is the bytes as they are sent.
    encoding: "",
    digest: whole ? digestOf(headers) : undefined,
    headers,
  };
}

/** Checksums that a service may keep, with their length in base64: those at least as good as an MD5, and weaker ones. */
const STRONG = [
  ["sha256", "x-amz-checksum-sha256", 44],
  ["sha1", "x-amz-checksum-sha1", 28],
] as const;
const WEAK = [
  ["crc64nvme", "x-amz-checksum-crc64nvme", 12],
  ["crc32c", "x-amz-checksum-crc32c", 8],
  ["crc32", "x-amz-checksum-crc32", 8],
] as const;

/** The best digest of the whole object that is known. */
function digestOf(headers: AnswerHeaders): SourceDigest | undefined {
  return digestsOf(headers).next().value ?? undefined;
}

/**
 * The digests of the whole object that are known, the most trustworthy first: of the service, else of the uploader, a CRC
 * of the service last. Tools that replace an object may keep the metadata of the former one, so that what the uploader
 * noted counts only where the ETag is no MD5.
 */
export function* digestsOf(headers: AnswerHeaders): Generator<SourceDigest, undefined> {
  const strong = keptChecksum(headers, STRONG);
  if (strong) yield strong;
  const md5 = etagMd5(headers);
  if (md5 !== undefined) yield { by: "etag", algorithm: "md5", base64: base64Of(md5) };
  else {
    const noted = readMetadata(headers);
    if (noted.sha256 !== undefined)
      yield { by: "x-amz-meta", algorithm: "sha256", base64: base64Of(noted.sha256) };
    if (noted.md5 !== undefined) yield { by: "x-amz-meta", algorithm: "md5", base64: noted.md5 };
  }
  const weak = keptChecksum(headers, WEAK);
  if (weak) yield weak;
}

/** A checksum that the service keeps of the whole object. One that ends in `-N` is of the checksums of its parts. */
function keptChecksum(
  headers: AnswerHeaders,
  of: readonly (readonly [SourceDigest["algorithm"], header: string, length: number])[],
): SourceDigest | undefined {
  if (headers["x-amz-checksum-type"] === "COMPOSITE") return undefined;
  for (const [algorithm, header, length] of of) {
    const base64 = headers[header];
    if (base64?.length === length && /^[A-Za-z0-9+/]+=+$/.test(base64))
      return { by: "x-amz-checksum", algorithm, base64 };
  }
  return undefined;
}

function base64Of(hex: string): string {
  return Buffer.from(hex, "hex").toString("base64");
}
