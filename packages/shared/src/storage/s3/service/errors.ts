import { TransferError, type TransferErrorOptions } from "../../../errors.js";
import type { AnswerHeaders, HttpAnswer } from "../../http/client.js";
import { retryAfterMs, statusError } from "../../http/errors.js";
import { childText, parseXml } from "./xml.js";

/** A longer description of an error is not read. */
const MOST_ERROR_BYTES = 64 << 10;
/** If the description of an error takes longer, its status alone decides. */
const READ_MS = 5_000;

/** The bucket itself is missing, not an object or an upload in it. Its class is `not-found`. */
export class NoSuchBucketError extends TransferError {}

/** The bucket is there and the object is not: its service says so itself. Its class is `not-found`. */
export class NoSuchObjectError extends TransferError {}

/** The body of an error answer. */
interface ErrorBody {
  /** "" if there is none. */
  code: string;
  region: string | undefined;
}

/** Turns an error answer of S3 into the error that it stands for. Reads its body. */
export async function answerError(answer: HttpAnswer, bucket: string): Promise<TransferError> {
  return s3Error(answer.status, answer.headers, await read(answer), bucket);
}

/** The error for an answer that begins with status 200 and has an error in its body. */
export function s3CodeError(code: string, headers: AnswerHeaders, bucket: string): TransferError {
  return s3Error(500, headers, { code, region: undefined }, bucket);
}

async function read(answer: HttpAnswer): Promise<ErrorBody> {
  const chunks: Buffer[] = [];
  let bytes = 0;
  const timer = setTimeout(() => answer.body.abort(new Error("too slow for an error")), READ_MS);
  try {
    for (let read = await answer.body.read(); read; read = await answer.body.read()) {
      chunks.push(...read);
      bytes += read.reduce((sum, chunk) => sum + chunk.length, 0);
      if (bytes > MOST_ERROR_BYTES) {
        answer.body.abort(new Error("too long for an error"));
        return { code: "", region: undefined };
      }
    }
    const error = parseXml(Buffer.concat(chunks).toString());
    return { code: childText(error, "Code") ?? "", region: childText(error, "Region") };
  } catch {
    return { code: "", region: undefined }; // the status alone decides
  } finally {
    clearTimeout(timer);
  }
}

function s3Error(status: number, headers: AnswerHeaders, body: ErrorBody, bucket: string): TransferError {
  const { code } = body;
  const text = `${code === "" ? "" : `${code}, `}HTTP status ${status}${requestOf(headers)}`;
  const make = (cls: TransferError["class"], message: string, options: TransferErrorOptions = {}) =>
    new TransferError(cls, message, { permanent: true, verdict: "ok", httpStatus: status, ...options });
  const region = headers["x-amz-bucket-region"] ?? body.region;
  switch (code) {
    case "NoSuchBucket":
      return new NoSuchBucketError("not-found", `no such bucket: ${bucket} (${text})`, {
        permanent: true,
        verdict: "ok",
      });
    case "NoSuchUpload":
      return make("not-found", `no such upload (${text})`);
    case "BadDigest":
    case "InvalidDigest":
    case "XAmzContentSHA256Mismatch":
      return make("checksum", `the bytes that arrived are not those that were sent (${text})`, {
        permanent: false,
      });
    case "InvalidPart":
      return make("changed", `the service has other parts of the upload than were sent (${text})`, {
        permanent: false,
      });
    case "NotImplemented":
      return make("unsupported", `the service does not do this (${text})`);
    case "QuotaExceeded":
      return make("disk", `no space left (${text})`);
    case "NoSuchKey":
      return new NoSuchObjectError("not-found", `no such object (${text})`, {
        permanent: true,
        verdict: "ok",
        httpStatus: status,
      });
    case "NoSuchVersion":
      return make("not-found", `no such object (${text})`);
    case "AccessDenied":
    case "AllAccessDisabled":
    case "AccountProblem":
      return make("forbidden", `access denied (${text})`);
    case "InvalidAccessKeyId":
    case "SignatureDoesNotMatch":
    case "InvalidToken":
    case "InvalidTokenId":
    case "InvalidSecurity":
    case "ExpiredToken":
    case "ExpiredTokenException":
    case "TokenRefreshRequired":
      return make("credentials", `the credentials are not accepted (${text}): check the keys or the profile`);
    case "RequestTimeTooSkewed":
      return make("credentials", `${clockOff(headers)} (${text}): set this machine's clock`);
    case "InvalidObjectState":
      return make("forbidden", `the object is archived (${text}): restore it first`);
    case "SlowDown":
    case "RequestLimitExceeded":
    case "TooManyRequests": {
      const after = retryAfterMs(headers["retry-after"]);
      return new TransferError("throttled", `too many requests (${text})`, {
        verdict: "fail",
        throttled: true,
        ...(after === undefined ? {} : { retryAfterMs: after }),
      });
    }
    case "RequestTimeout":
    case "OperationAborted":
    case "ConditionalRequestConflict":
      return make("server", `the server asks to try again (${text})`, { permanent: false });
    case "PermanentRedirect":
    case "TemporaryRedirect":
    case "AuthorizationHeaderMalformed":
    case "IllegalLocationConstraintException":
      return make("redirect", elsewhere(bucket, region, text));
  }
  if (status >= 300 && status < 400) return make("redirect", elsewhere(bucket, region, text));
  if (status === 404 && code === "") return make("not-found", `no such object or bucket (${text})`);
  const known = statusError(status, headers);
  const { permanent, verdict, throttled } = known;
  return new TransferError(known.class, known.message.replace(`HTTP status ${status}`, text), {
    permanent,
    verdict,
    throttled,
    httpStatus: status,
    ...(known.retryAfterMs === undefined ? {} : { retryAfterMs: known.retryAfterMs }),
  });
}

/** What the service calls the request, for its support and its logs. */
function requestOf(headers: AnswerHeaders): string {
  const id = headers["x-amz-request-id"];
  return id !== undefined && /^[\w.+/=-]{1,128}$/.test(id) ? `, request ${id}` : "";
}

/** The bucket is not at this endpoint or not in this region. */
function elsewhere(bucket: string, region: string | undefined, text: string): string {
  const where =
    region === undefined
      ? `is not at this endpoint (${text}): check --s3-region and --s3-endpoint`
      : `is in another region (${text}): use --s3-region ${region}`;
  return `the bucket ${bucket} ${where}`;
}

/** Says by how much this machine's clock differs from the service's. */
function clockOff(headers: AnswerHeaders): string {
  const server = Date.parse(headers.date ?? "");
  if (Number.isNaN(server)) return "this machine's clock is wrong";
  const seconds = Math.round((Date.now() - server) / 1000);
  return `this machine's clock is ${Math.abs(seconds)} s ${seconds < 0 ? "behind" : "ahead of"} the server's`;
}
