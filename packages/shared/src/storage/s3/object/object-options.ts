import { z } from "zod";
import { CANNED_ACLS } from "./canned-acls.js";
import { LARGEST_PART_BYTES, SMALLEST_PART_BYTES } from "./limits.js";

/** Keys of metadata that say what an object holds: Drover's own, and the MD5 of rclone. */
const OWN_METADATA = ["drover-sha256", "mtime", "mode", "md5chksum"];

/** Most bytes of metadata (keys and values) that S3 takes, less what Drover's own take at most. */
const MOST_METADATA_BYTES = 2048 - 160;
const MOST_TAGS = 10;

const printable = z.string().regex(/^[!-~]([ -~]*[!-~])?$/, "printable ASCII, without spaces around it");

const metadata = z
  .record(z.string(), printable)
  .refine((given) => Object.keys(given).every((key) => /^[a-z0-9!#$%&'*+.^_`|~-]+$/.test(key)), {
    error: "keys are in lower case: letters, digits and -_.",
  })
  .refine((given) => OWN_METADATA.every((key) => given[key] === undefined), {
    error: `${OWN_METADATA.join(", ")} are written by Drover: choose another key`,
  })
  .refine((given) => Object.entries(given).flat().join("").length <= MOST_METADATA_BYTES, {
    error: `keys and values have at most ${MOST_METADATA_BYTES} bytes in all`,
  });

const tags = z
  .record(z.string().min(1).max(128), z.string().max(256))
  .refine((given) => Object.keys(given).length <= MOST_TAGS, {
    error: `an object has at most ${MOST_TAGS} tags`,
  })
  .refine((given) => Object.keys(given).every((key) => !/^aws:/i.test(key)), {
    error: "keys that begin with aws: are those of AWS",
  });

/** What the objects that a run writes are to have. What is absent is as the source and the service have it. */
export const s3ObjectOptionsSchema = z.strictObject({
  storageClass: z
    .string()
    .regex(/^[\w-]{1,64}$/, "a name such as STANDARD_IA")
    .optional(),
  /** Encryption by the service: with its own keys, or with one of KMS. */
  sse: z.enum(["AES256", "aws:kms"]).optional(),
  /** Key of KMS: id, alias or ARN. */
  sseKmsKeyId: printable.optional(),
  acl: z.enum(CANNED_ACLS).optional(),
  cacheControl: printable.optional(),
  contentType: printable.optional(),
  contentDisposition: printable.optional(),
  contentEncoding: printable.optional(),
  contentLanguage: printable.optional(),
  /** More metadata (`x-amz-meta-…`); of the source's, what has the same key is replaced. */
  metadata: metadata.optional(),
  /** All tags of the object. */
  tags: tags.optional(),
  /** Size of a part in bytes; larger where an object would have more than 10,000 of them. */
  partBytes: z.number().int().min(SMALLEST_PART_BYTES).max(LARGEST_PART_BYTES).optional(),
});
export type S3ObjectOptions = z.infer<typeof s3ObjectOptionsSchema>;

/** What options say, as headers of requests that make an object. */
export interface ObjectHeaders {
  /** Where and how it is stored: of everything that is written, copies in backups too. Undefined for nothing. */
  place: Record<string, string> | undefined;
  /** Its content's headers and its metadata, in place of the source's. Undefined for none. */
  content: Record<string, string> | undefined;
  /** Its tags, encoded. Undefined for none of its own. */
  tagging: string | undefined;
}

/** Translates options, once for all objects. */
export function objectHeadersOf(options: S3ObjectOptions = {}): ObjectHeaders {
  const { metadata = {}, tags = {} } = options;
  const place = given({
    "x-amz-storage-class": options.storageClass,
    "x-amz-server-side-encryption": options.sse,
    "x-amz-server-side-encryption-aws-kms-key-id": options.sseKmsKeyId,
    "x-amz-acl": options.acl,
  });
  const content = given({
    "cache-control": options.cacheControl,
    "content-type": options.contentType,
    "content-disposition": options.contentDisposition,
    "content-encoding": options.contentEncoding,
    "content-language": options.contentLanguage,
    ...Object.fromEntries(Object.entries(metadata).map(([key, value]) => [`x-amz-meta-${key}`, value])),
  });
  const pairs = Object.entries(tags).map((pair) => pair.map(encodeURIComponent).join("="));
  return { place, content, tagging: pairs.length === 0 ? undefined : pairs.join("&") };
}

/** The headers that have a value; undefined where none has. */
function given(headers: Record<string, string | undefined>): Record<string, string> | undefined {
  const entries = Object.entries(headers).filter(
    (entry): entry is [string, string] => entry[1] !== undefined,
  );
  return entries.length === 0 ? undefined : Object.fromEntries(entries);
}
