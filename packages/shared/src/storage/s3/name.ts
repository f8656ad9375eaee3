import { SettingsError } from "../../errors.js";

/** An object, or what a listing is below of. */
export interface S3Name {
  bucket: string;
  /** As the service knows it, nothing encoded; "" for the whole bucket. */
  key: string;
}

const SCHEME = /^s3:\/\//i;

/**
 * Understands `s3://bucket/key`. The key is written as it is; only `%XX` stands for a byte of UTF-8, so that a key may
 * hold what cannot be in one line. A `%` that no two hexadecimal digits follow stands for itself.
 *
 * @throws SettingsError, never showing what could be a password.
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

/** The one way to write a name on a line: `%`, control characters and line separators are percent-encoded. */
export function s3Text({ bucket, key }: S3Name): string {
  // biome-ignore lint/suspicious/noControlCharactersInRegex: they are what is encoded
  return `s3://${bucket}/${key.replace(/[\u0000-\u001f%\u007f-\u009f\u2028\u2029]/g, encodeURIComponent)}`;
}
