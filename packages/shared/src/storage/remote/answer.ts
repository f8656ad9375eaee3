import { TransferError } from "../../errors.js";
import type { HttpAnswer } from "../http/client.js";
import { statusError } from "../http/errors.js";

/** A longer answer is not taken for one of a file server. */
const MOST_ANSWER_BYTES = 64 << 20;

/** Reads the whole body of a short answer. @throws TransferError if it breaks off or is too long. */
export async function readAnswer({ body }: HttpAnswer): Promise<string> {
  const chunks: Buffer[] = [];
  let bytes = 0;
  for (let more = await body.read(); more; more = await body.read()) {
    for (const chunk of more) bytes += chunk.length;
    chunks.push(...more);
    if (bytes > MOST_ANSWER_BYTES) {
      body.abort(new Error("too long"));
      throw new TransferError("protocol", "the answer is too long for one of a file server", {
        permanent: true,
        verdict: "ok",
      });
    }
  }
  return Buffer.concat(chunks).toString();
}

/** Drops the body of an answer. */
export function dropBody({ headers, body }: HttpAnswer): void {
  body.discard(Number(headers["content-length"] ?? 0));
}

/** The error that a status of a file server stands for. Drops the body of the answer. */
export function serverError(answer: HttpAnswer, credentials: string): TransferError {
  const { status, headers } = answer;
  dropBody(answer);
  const make = (cls: TransferError["class"], what: string, permanent = true) =>
    new TransferError(cls, `${what} (HTTP status ${status})`, {
      permanent,
      verdict: "ok",
      httpStatus: status,
    });
  if (status === 401) return make("credentials", `the server wants other credentials: set ${credentials}`);
  if (status === 405 || status === 501) return make("unsupported", "the server does not know the request");
  if (status === 413) return make("too-large", "the server does not take a file of this size");
  if (status === 507) return make("disk", "no space left at the server");
  if (status === 423) return make("locked", "the file is locked at the server", false);
  if (status === 404 || status === 409)
    return make("not-found", "the server has no directory for the file", false);
  if (status >= 300 && status < 400) return make("redirect", "the server redirects: name where it leads to");
  return statusError(status, headers);
}

/** The error of a server that does not have what it was sent. */
export function storedOther(what: string): TransferError {
  return new TransferError("checksum", `wrong checksum: the server stored ${what}`, {
    verdict: "ok",
  });
}

/** An ETag without the mark of weakness, which says nothing of which version it is. */
export function plainEtag(etag: string): string {
  return etag.replace(/^W\//, "");
}

/** SHA-256 in a Repr-Digest (RFC 9530), hexadecimal. */
export function sha256Of(digest: string | undefined): string | undefined {
  const base64 = /(?:^|,)\s*sha-256=:([A-Za-z0-9+/=]{44}):/.exec(digest ?? "")?.[1];
  return base64 === undefined ? undefined : Buffer.from(base64, "base64").toString("hex");
}

/** A Repr-Digest (RFC 9530) of a SHA-256. */
export function reprDigest(sha256: string): string {
  return `sha-256=:${Buffer.from(sha256, "hex").toString("base64")}:`;
}

/** The bytes of an answer. */
export async function* bytesOf({ body }: HttpAnswer): AsyncGenerator<Uint8Array> {
  let ended = false;
  try {
    for (let more = await body.read(); more; more = await body.read()) yield* more;
    ended = true;
  } finally {
    if (!ended) body.abort(new Error("not wanted any more"));
  }
}
