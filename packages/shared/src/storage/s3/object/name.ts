import { SettingsError } from "../../../errors.js";

/** The name of an object, or the prefix of a listing. */
export interface S3Name {
  bucket: string;
  /** As the service knows it, not encoded; "" for the whole bucket. */
  key: string;
  /** Of a bucket that keeps versions. Default: the latest one. */
  versionId?: string;
}

const SCHEME = /^s3:\/\//i;

/**
 * Parses `s3://bucket/key`. The key stands as it is, except that `%XX` means a byte of UTF-8, so that a key may contain
 * line breaks. A `%` without two hexadecimal digits behind it stands for itself.
 *
 * @throws SettingsError; its message never shows what could be a password.
 */
export function parseS3(text: string): S3Name {
  const rest = text.replace(SCHEME, "");
  const slash = rest.indexOf("/");
  const bucket = slash < 0 ? rest : rest.slice(0, slash);
  if (bucket.includes("@")) {
    throw new SettingsError(
      "an s3:// source holds no credentials: name a profile (--s3-profile), or set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY",
    );
  }
  if (bucket.startsWith("arn:"))
    throw new SettingsError(`${bucket} is an ARN: name the access point's alias, s3://ALIAS-s3alias/key`);
  if (!/^[a-z0-9][a-z0-9._-]{1,254}$/i.test(bucket))
    throw new SettingsError(`invalid bucket name ${JSON.stringify(bucket)}: write s3://bucket/key`);
  const written = slash < 0 ? "" : rest.slice(slash + 1);
  try {
    const key = written.replace(/(?:%[0-9a-f]{2})+/gi, (bytes) => decodeURIComponent(bytes));
    encodeURIComponent(key); // refuses half a surrogate pair
    return { bucket, key };
  } catch {
    throw new SettingsError(`the key of s3://${bucket}/… is not valid UTF-8`);
  }
}

/** Writes a name on one line, as {@link parseS3} reads it: `%`, control characters and line separators are percent-encoded. */
export function s3Text({ bucket, key }: S3Name): string {
  // biome-ignore lint/suspicious/noControlCharactersInRegex: they are what is encoded
  return `s3://${bucket}/${key.replace(/[\u0000-\u001f%\u007f-\u009f\u2028\u2029]/g, encodeURIComponent)}`;
}
