import mime from "mime";
import type { AnswerHeaders, Headers } from "../../http/client.js";
import type { SourceEntry } from "../../source.js";

const SHA256 = "x-amz-meta-drover-sha256";
const MTIME = "x-amz-meta-mtime";
const MODE = "x-amz-meta-mode";
/** rclone keeps the MD5 of a multipart upload here. */
const RCLONE_MD5 = "x-amz-meta-md5chksum";

/** What an object's metadata says about the file that it holds. */
export interface FileMetadata {
  /** Hexadecimal; undefined if it was not known when the upload began. */
  sha256: string | undefined;
  /** In base64, as rclone keeps it. */
  md5: string | undefined;
  mtimeMs: number | undefined;
  mtimeNs: bigint | undefined;
  /** Permission bits. */
  mode: number | undefined;
}

/** The headers that a copy of an object keeps. */
const KEPT =
  /^(x-amz-meta-.*|content-type|content-encoding|content-language|content-disposition|cache-control|expires)$/;

/** Picks the headers that a copy of an object keeps. Values that no request can carry are left out. */
export function keptHeaders(headers: AnswerHeaders): Headers {
  const kept: Headers = {};
  for (const [name, value] of Object.entries(headers))
    if (value !== undefined && KEPT.test(name) && /^[ -~]+$/.test(value)) kept[name] = value;
  return kept;
}

/**
 * The headers of the object that a file becomes: those of its source, and its time, mode and SHA-256 as metadata. The
 * time is in seconds and the mode in octal, as rclone writes and reads them. If the source names no type, the object's
 * name decides.
 *
 * @param sha256 hexadecimal.
 * @param name of the object.
 */
export function metadataHeaders(entry: SourceEntry, sha256: string | undefined, name: string): Headers {
  const headers: Headers = keptHeaders(entry.headers ?? {});
  headers["content-type"] ??= mime.getType(name) ?? "application/octet-stream";
  delete headers[MTIME];
  delete headers[MODE];
  delete headers[SHA256];
  const ns =
    entry.mtimeNs ??
    (entry.mtimeMs === undefined ? undefined : BigInt(Math.round(entry.mtimeMs * 1000)) * 1000n);
  if (ns !== undefined) headers[MTIME] = secondsOf(ns);
  if (entry.mode !== undefined) headers[MODE] = modeText(entry.mode);
  if (sha256 !== undefined) headers[SHA256] = sha256;
  return headers;
}

/** The headers of an object with another mode. */
export function withMode(headers: AnswerHeaders, mode: number): Headers {
  return { ...keptHeaders(headers), [MODE]: modeText(mode) };
}

function modeText(mode: number): string {
  return `100${(mode & 0o777).toString(8).padStart(3, "0")}`;
}

/**
 * Whether the metadata of an object has another time or mode than its file. False if the file has no mode, and for an
 * object without time and mode: its uploader wanted it so.
 */
export function isOutdated(headers: AnswerHeaders, entry: SourceEntry): boolean {
  if (entry.mode === undefined) return false;
  const noted = readMetadata(headers);
  const own = readMetadata(metadataHeaders(entry, undefined, ""));
  return (
    (noted.mode !== undefined && noted.mode !== own.mode) ||
    (noted.mtimeNs !== undefined && noted.mtimeNs !== own.mtimeNs)
  );
}

function secondsOf(ns: bigint): string {
  const sign = ns < 0n ? "-" : "";
  const positive = ns < 0n ? -ns : ns;
  const fraction = String(positive % 1_000_000_000n)
    .padStart(9, "0")
    .replace(/0+$/, "");
  return `${sign}${positive / 1_000_000_000n}${fraction === "" ? "" : `.${fraction}`}`;
}

/** Reads the metadata of an object. Values of an unknown form are left out, since anybody may have written them. */
export function readMetadata(headers: AnswerHeaders): FileMetadata {
  const sha256 = headers[SHA256];
  const md5 = headers[RCLONE_MD5];
  const mtime = /^(-?)(\d{1,12})(?:\.(\d{1,9})\d*)?$/.exec(headers[MTIME] ?? "");
  const ns = mtime && BigInt(`${mtime[1]}${mtime[2]}${(mtime[3] ?? "").padEnd(9, "0")}`);
  const mode = /^0?(?:100)?([0-7]{3})$/.exec(headers[MODE] ?? "")?.[1];
  return {
    sha256: sha256 !== undefined && /^[0-9a-f]{64}$/.test(sha256) ? sha256 : undefined,
    md5: md5 !== undefined && /^[A-Za-z0-9+/]{22}==$/.test(md5) ? md5 : undefined,
    mtimeMs: ns == null ? undefined : Number(ns / 1000n) / 1000,
    mtimeNs: ns ?? undefined,
    mode: mode === undefined ? undefined : Number.parseInt(mode, 8),
  };
}

/**
 * The MD5 of an object, hexadecimal, if its ETag is one: it was written in one request and is not encrypted with a key
 * of KMS or of the client.
 */
export function etagMd5(headers: AnswerHeaders): string | undefined {
  const kms = /^aws:kms/.test(headers["x-amz-server-side-encryption"] ?? "");
  const own = headers["x-amz-server-side-encryption-customer-algorithm"] !== undefined;
  return kms || own ? undefined : /^"([0-9a-f]{32})"$/.exec(headers.etag ?? "")?.[1];
}
