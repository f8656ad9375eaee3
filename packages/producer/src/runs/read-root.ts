import { resolve } from "node:path";
import { isS3, parseS3, s3Text } from "@drover/shared/storage/s3/name";
import { refuseOneSlash } from "../expand/source-name.js";

/**
 * Understands where files go: a directory, or `s3://bucket/prefix`.
 *
 * @param directory what a relative path is relative to.
 * @returns an absolute path, or the prefix without a slash at its end.
 * @throws SettingsError for what is neither.
 */
export function readRoot(text: string, directory: string): string {
  refuseOneSlash(text);
  if (!isS3(text)) return resolve(directory, text);
  const { bucket, key } = parseS3(text);
  return s3Text({ bucket, key: key.replace(/\/$/, "") }).replace(/\/$/, "");
}
