import { z } from "zod";
import { MalformedRecordError } from "./event.js";

/** Longest key in characters that is taken: S3 allows 1,024 bytes, a form-encoded one is up to three times as long. */
const MAX_KEY_CHARS = 4096;

/** What every record must have. */
export const bucketSchema = z.string().min(1).max(255);
export const keySchema = z.string().min(1).max(MAX_KEY_CHARS);
/** What a record may lack: an unusable value counts as none, because an event is only a hint. */
export const textSchema = z.string().min(1).max(1024).optional().catch(undefined);
/** Bytes. SeaweedFS may write 64-bit numbers as text. */
export const sizeSchema = z
  .union([z.number(), z.string().regex(/^\d+$/).transform(Number)])
  .pipe(z.number().int().nonnegative())
  .optional()
  .catch(undefined);

/**
 * Checks one record against a schema.
 *
 * @throws {MalformedRecordError} naming the first field that is missing or wrong.
 */
export function checked<T>(schema: z.ZodType<T>, record: unknown): T {
  const result = schema.safeParse(record);
  if (result.success) return result.data;
  throw new MalformedRecordError(firstIssue(result.error));
}

/** The first thing that is wrong, on one line. */
export function firstIssue(error: z.ZodError): string {
  const issue = error.issues[0];
  return issue ? `${issue.path.join(".") || "record"}: ${issue.message}` : "it has an unknown shape";
}

/** An ETag without the quotes that some services leave around it. */
export function bareEtag(etag: string | undefined): string | undefined {
  return etag?.replace(/^"(.+)"$/, "$1");
}

/** Unix ms of a date as text, or undefined if it is none. */
export function timeMsOf(text: string | undefined): number | undefined {
  const timeMs = text === undefined ? Number.NaN : Date.parse(text);
  return Number.isNaN(timeMs) ? undefined : timeMs;
}
