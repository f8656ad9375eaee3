import { createHash } from "node:crypto";
import type { IncomingHttpHeaders } from "node:http";

const KEPT = "x-amz-server-side-encryption-customer-";
const COPIED = "x-amz-copy-source-server-side-encryption-customer-";
const ALGORITHM = `${KEPT}algorithm`;
const MD5 = `${KEPT}key-md5`;

/** What an object that is encrypted with a key of the user tells; nothing of one that is not. */
export function encryption(headers: IncomingHttpHeaders | Record<string, string>): Record<string, string> {
  const algorithm = headers[ALGORITHM];
  return algorithm === undefined ? {} : { [ALGORITHM]: String(algorithm), [MD5]: String(headers[MD5]) };
}

/** An ETag (without quotes) that is no MD5 of the bytes where these are encrypted. */
export function etagOf(bytes: Buffer, headers: Record<string, string>): string {
  return createHash("md5")
    .update(headers[MD5] ?? "")
    .update(bytes)
    .digest("hex");
}

/** Headers of an object, of which a copy gets its own. */
export function withoutEncryption(headers: Record<string, string>): Record<string, string> {
  const { [ALGORITHM]: algorithm, [MD5]: _, etag, ...rest } = headers;
  return algorithm === undefined && etag !== undefined ? { ...rest, etag } : rest;
}

/** Why a request may not use an object, as S3 says it; undefined if it has its key, or needs none. */
export function refusal(
  object: Record<string, string>,
  headers: IncomingHttpHeaders,
  by: "key" | "copied key" = "key",
): { status: number; code: string } | undefined {
  const prefix = by === "key" ? KEPT : COPIED;
  const key = headers[`${prefix}key`];
  if ((object[MD5] === undefined) !== (key === undefined)) return { status: 400, code: "InvalidRequest" };
  if (key === undefined) return undefined;
  const bytes = Buffer.from(String(key), "base64");
  const md5 = createHash("md5").update(bytes).digest("base64");
  if (
    bytes.length !== 32 ||
    headers[`${prefix}algorithm`] !== "AES256" ||
    headers[`${prefix}key-md5`] !== md5
  )
    return { status: 400, code: "InvalidArgument" };
  return md5 === object[MD5] ? undefined : { status: 403, code: "AccessDenied" };
}
