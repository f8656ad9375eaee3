import { TransferError } from "../../errors.js";
import type { ByteRange, Opened, Source, SourceDigest, SourceEntry, VersionRef } from "../source.js";
import type { AnswerHeaders, Headers, HttpAnswer, HttpClient } from "./client.js";
import { statusError } from "./errors.js";
import { changedWhileRead, discard, rangeOf } from "./range.js";

/**
 * The validators of a response as one string: `e<ETag>`, or the date, or "". A weak ETag has the date after it,
 * `eW/"…";m…`, since it may stay the same while the bytes change.
 */
export function versionOf(headers: AnswerHeaders): string {
  const { etag } = headers;
  const date = dateOf(headers);
  if (!etag) return date;
  return isStrong(etag) || date === "" ? `e${etag}` : `e${etag};${date}`;
}

/**
 * `m<Last-Modified>;<size>` if the file was modified at least two seconds before the response (a later change
 * within the same second would keep the date), or "".
 */
function dateOf(headers: AnswerHeaders): string {
  const modified = headers["last-modified"];
  if (modified === undefined || headers["content-length"] === undefined) return "";
  const age = Date.parse(headers.date ?? "") - Date.parse(modified);
  // A date in the future is as good as one in the past: it is only compared for equality.
  return age >= 2000 || age < 0 ? `m${modified};${headers["content-length"]}` : "";
}

function isStrong(etag: string): boolean {
  return etag.startsWith('"');
}

/** The ETag in a version; undefined if it has none. */
function etagOf(version: string): string | undefined {
  return /^e(.*?)(?:;m[^"]*;[^";]*)?$/.exec(version)?.[1];
}

/**
 * Whether a complete response is of the known version. The server does not say so, as it would by a 304, so a
 * weak ETag counts only together with a date.
 */
function isVersion(known: string, { version, strongEtag }: SourceEntry, headers: AnswerHeaders): boolean {
  return known !== "" && version === known && (strongEtag !== "" || dateOf(headers) !== "");
}

/** Opens http(s) sources: conditionally if a version is known, with a range to resume. */
export class HttpSource implements Source {
  /**
   * @param url including its secrets.
   * @param headers the user's, for the URL's origin.
   */
  constructor(
    private readonly client: Pick<HttpClient, "get">,
    private readonly url: string,
    private readonly headers: Headers,
  ) {}

  async open(known: string, signal: AbortSignal): Promise<Opened> {
    // Only an ETag is sent as a condition. A server may answer If-Modified-Since with 304 for a file that was
    // replaced by an older one, so a date is compared here, for equality.
    const etag = etagOf(known);
    const extra: Headers = etag === undefined ? {} : { "if-none-match": etag };
    const answer = await this.client.get(this.url, this.headers, extra, signal);
    if (answer.status === 304 && etag !== undefined) {
      discard(answer);
      return { is: "unchanged", entry: entryOf(answer, known) };
    }
    if (answer.status !== 200 && answer.status !== 203) throw refuse(answer);
    checkCodings(answer);
    const entry = entryOf(answer, versionOf(answer.headers));
    if (isVersion(known, entry, answer.headers)) {
      discard(answer);
      return { is: "unchanged", entry };
    }
    return whole(answer, entry);
  }

  async openRange(version: VersionRef, range: ByteRange, signal: AbortSignal): Promise<Opened> {
    const { startByte, lastByte } = range;
    const extra: Headers = { range: `bytes=${startByte}-${lastByte ?? ""}` };
    // A segment must be of the opened version (If-Match, else 412); a resumed transfer may instead start
    // again.
    if (lastByte === undefined) extra["if-range"] = version.strongEtag;
    else extra["if-match"] = version.strongEtag;
    const answer = await this.client.get(this.url, this.headers, extra, signal);
    if (answer.status === 200 || answer.status === 206) checkCodings(answer);
    if (answer.status === 200) return whole(answer, entryOf(answer, versionOf(answer.headers)));
    if (answer.status === 412 || answer.status === 416) {
      discard(answer);
      throw changedWhileRead();
    }
    if (answer.status !== 206) throw refuse(answer);
    const total = rangeOf(answer, version, startByte);
    const opened = entryOf(answer, versionOf(answer.headers));
    return { is: "body", entry: { ...opened, sizeBytes: total }, body: answer.body, offset: startByte };
  }
}

/** A body with the whole file. A server that generates the file can send its digest only in the trailers. */
function whole({ body }: HttpAnswer, entry: SourceEntry): Opened {
  const confirm = () => {
    if (entry.digest || entry.encoding !== "") return;
    const digest = digestOf(body.trailers, true);
    if (digest?.algorithm === "sha256") entry.digest = digest; // other digests would have had to be computed from the start
  };
  return { is: "body", entry, body, offset: 0, confirm };
}

function refuse(answer: HttpAnswer): TransferError {
  discard(answer);
  const error = statusError(answer.status, answer.headers);
  if (answer.status !== 401) return error;
  const { class: cls, message, permanent, verdict } = error;
  const remedy = "--netrc, --bearer-token-file or --header can send a login";
  return new TransferError(cls, `${message}: ${remedy}`, { permanent, verdict });
}

/** Any transfer coding but chunked would have to be undone. None was requested (TE), so none is supported. */
function checkCodings(answer: HttpAnswer): void {
  const codings = answer.headers["transfer-encoding"] ?? "";
  if (/^[\s,]*((chunked|identity)[\s,]*)*$/i.test(codings)) return;
  discard(answer);
  throw new TransferError("encoding", `unsupported Transfer-Encoding ${codings}`, {
    permanent: true,
    verdict: "ok",
  });
}

function entryOf(answer: HttpAnswer, version: string): SourceEntry {
  const { headers } = answer;
  const length = headers["content-length"];
  const modified = Date.parse(headers["last-modified"] ?? "");
  const etag = headers.etag ?? "";
  const encoding = (headers["content-encoding"] ?? "").trim().toLowerCase();
  return {
    sizeBytes:
      length !== undefined && /^\d+$/.test(length) && answer.status !== 304 ? Number(length) : undefined,
    version,
    strongEtag: isStrong(etag) ? etag : "",
    mtimeMs: Number.isNaN(modified) ? undefined : modified,
    framed: length !== undefined || /\bchunked\b/i.test(headers["transfer-encoding"] ?? ""),
    ranges: /\bbytes\b/i.test(headers["accept-ranges"] ?? "") || answer.status === 206,
    encoding: encoding === "identity" ? "" : encoding,
    digest: digestOf(headers, answer.status === 200),
    headers: { "content-type": headers["content-type"] },
  };
}

const DIGEST_HEADERS = ["repr-digest", "content-digest", "digest", "content-md5"];

/**
 * Reads the digest of the headers, SHA-256 first since it is computed anyway: RFC 9530 (Repr-Digest,
 * Content-Digest), RFC 3230 (Digest), RFC 1864.
 */
function digestOf(headers: AnswerHeaders, whole: boolean): SourceDigest | undefined {
  if (DIGEST_HEADERS.every((name) => headers[name] === undefined)) return undefined;
  const fields: [SourceDigest["by"], string | undefined][] = [["repr-digest", headers["repr-digest"]]];
  // These cover the bytes sent, so they apply only to a complete body.
  if (whole) fields.push(["content-digest", headers["content-digest"]]);
  for (const [by, value] of fields) {
    if (value === undefined) continue;
    for (const [name, algorithm] of [
      ["sha-256", "sha256"],
      ["sha-512", "sha512"],
    ] as const) {
      const found = new RegExp(`(?:^|[,\\s])${name}=:([A-Za-z0-9+/=]+):`, "i").exec(value);
      if (found?.[1]) return { by, algorithm, base64: found[1] };
    }
  }
  for (const [name, algorithm] of [
    ["sha-256", "sha256"],
    ["sha-512", "sha512"],
    ["md5", "md5"],
  ] as const) {
    if (headers.digest === undefined) break;
    const found = new RegExp(`(?:^|[,\\s])${name}=([A-Za-z0-9+/=]+)`, "i").exec(headers.digest);
    if (found?.[1]) return { by: "digest", algorithm, base64: found[1] };
  }
  const md5 = headers["content-md5"]?.trim();
  if (whole && md5 && /^[A-Za-z0-9+/]{22}==$/.test(md5))
    return { by: "content-md5", algorithm: "md5", base64: md5 };
  return undefined;
}
