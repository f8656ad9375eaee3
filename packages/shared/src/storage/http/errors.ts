import { errors } from "undici";
import { errnoCode, messageOf, TransferError } from "../../errors.js";

const TLS = /^(CERT_|ERR_TLS|ERR_SSL|DEPTH_ZERO|SELF_SIGNED|UNABLE_TO_|HOSTNAME_MISMATCH|EPROTO)/;
/** The certificate may be good, but nobody that is trusted has signed it. */
const UNKNOWN_AUTHORITY = /^(DEPTH_ZERO_SELF_SIGNED|SELF_SIGNED|UNABLE_TO_(GET_ISSUER|VERIFY))/;

/** What Node advises itself. The authorities of the system count already. */
const NODE_ADVICE = /; if the root CA is installed locally, try running Node\.js with --use-system-ca/;

/** Formats milliseconds as seconds. */
const seconds = (ms: number) => `${Number((ms / 1000).toFixed(1))} s`;

/** Converts a connection error to a {@link TransferError}. All of them count against the host. */
export function connectionError(error: unknown, timeoutMs: number): TransferError {
  if (error instanceof TransferError) return error;
  const inner = (error as { errors?: unknown[] }).errors?.[0] ?? error; // every address of the host failed
  const code = errnoCode(error) ?? errnoCode(inner) ?? "";
  const make = (cls: ConstructorParameters<typeof TransferError>[0], message: string, permanent = false) =>
    new TransferError(cls, message, { verdict: "fail", permanent, cause: error });
  switch (code) {
    case "UND_ERR_CONNECT_TIMEOUT":
    case "ETIMEDOUT":
      return make("timeout", `network timeout: no connection within ${seconds(timeoutMs)}`);
    case "UND_ERR_HEADERS_TIMEOUT":
      return make("timeout", `network timeout: no answer within ${seconds(timeoutMs)}`);
    case "UND_ERR_BODY_TIMEOUT":
      return make("timeout", "network timeout: the body stalled");
    case "ENOTFOUND":
    case "EAI_AGAIN":
    case "EAI_FAIL":
    case "ENODATA":
      return make("dns", `host name not found (${code})`);
    case "ECONNREFUSED":
    case "EHOSTUNREACH":
    case "ENETUNREACH":
    case "EADDRNOTAVAIL":
      return make("connect", `cannot connect (${code})`);
    case "ECONNRESET":
    case "EPIPE":
    case "UND_ERR_SOCKET":
      return make("connect", `connection closed by the server (${code})`);
    case "UND_ERR_RES_CONTENT_LENGTH_MISMATCH":
      return make("protocol", "the body does not have the length that the answer gives");
    case "UND_ERR_HEADERS_OVERFLOW":
      return make("protocol", "the answer's headers are too large");
  }
  if (TLS.test(code)) {
    const hint = UNKNOWN_AUTHORITY.test(code)
      ? "; --ca-file (DROVER_CA_FILE) or SSL_CERT_FILE can name its authority"
      : "";
    const text = messageOf(inner).replace(NODE_ADVICE, "");
    return make("tls", `certificate or TLS error (${code}): ${text}${hint}`, code !== "EPROTO");
  }
  if (code.startsWith("HPE_") || error instanceof errors.HTTPParserError) {
    const why = /\(([^()]*)\)\s*$/.exec(messageOf(error))?.[1] ?? code;
    return make("protocol", `the answer is not valid HTTP (${why})`);
  }
  return make("connect", `network error (${code || messageOf(error)})`);
}

/**
 * Parses Retry-After, delta-seconds or an HTTP date (RFC 9110, 10.2.3). At most an hour, so that a server's
 * mistake cannot delay a file for years.
 *
 * @param now Unix time in ms.
 * @returns milliseconds from now; undefined if absent or invalid.
 */
export function retryAfterMs(value: string | undefined, now = Date.now()): number | undefined {
  if (value === undefined) return undefined;
  const wait = /^\s*\d+\s*$/.test(value) ? Number(value) * 1000 : Date.parse(value) - now;
  if (Number.isNaN(wait)) return undefined;
  return Math.min(Math.max(wait, 0), 3_600_000);
}

/** The error of a response whose status does not deliver the file. */
export function statusError(status: number, headers: { "retry-after"?: string | undefined }): TransferError {
  const text = `HTTP status ${status}`;
  const retryAfter = retryAfterMs(headers["retry-after"]);
  const after = retryAfter === undefined ? {} : { retryAfterMs: retryAfter };
  if (status === 404 || status === 410)
    return new TransferError("not-found", `not found (${text})`, { permanent: true, verdict: "ok" });
  if (status === 401 || status === 403 || status === 407)
    return new TransferError("forbidden", `access denied (${text})`, { permanent: true, verdict: "ok" });
  if (status === 429)
    return new TransferError("throttled", `too many requests (${text})`, {
      verdict: "fail",
      throttled: true,
      ...after,
    });
  if (status === 408 || status === 425)
    return new TransferError("server", `the server asks to try again (${text})`, { verdict: "ok", ...after });
  if (status >= 500)
    return new TransferError("server", `server error (${text})`, {
      verdict: "fail",
      throttled: status === 503,
      ...after,
    });
  return new TransferError("http", `unexpected answer (${text})`, { permanent: true, verdict: "ok" });
}
