import { SettingsError } from "@drover/shared/errors";
import { storageOf } from "@drover/shared/storage/registry";
import type { S3ObjectOptions } from "@drover/shared/storage/s3/object/object-options";
import type { S3Settings } from "./request.js";

/** The flag of each option. */
const FLAGS: Record<keyof S3ObjectOptions, string> = {
  storageClass: "--s3-storage-class",
  sse: "--s3-sse",
  sseKmsKeyId: "--s3-sse-kms-key-id",
  acl: "--s3-acl",
  cacheControl: "--s3-cache-control",
  contentType: "--s3-content-type",
  contentDisposition: "--s3-content-disposition",
  contentEncoding: "--s3-content-encoding",
  contentLanguage: "--s3-content-language",
  metadata: "--s3-metadata",
  tags: "--s3-tags",
  partBytes: "--s3-part-size",
};

/** The flag of a field of a request, with the key of a pair; undefined for other fields. */
export function flagOfObjects(path: string): string | undefined {
  const [, option = "", key] = /^s3\.objects\.(\w+)(?:\.(.*))?$/.exec(path) ?? [];
  const flag = (FLAGS as Record<string, string>)[option];
  return flag === undefined || key === undefined ? flag : `${flag} ${key}`;
}

/**
 * What the objects below a root are to have.
 *
 * @param root what is written to: of a pair its remote side.
 * @returns undefined if nothing is asked for.
 * @throws SettingsError if something is, and the root is not in S3, or if two options exclude each other.
 */
export function planS3Objects(
  { objects }: Pick<S3Settings, "objects">,
  root: string,
): S3ObjectOptions | undefined {
  const [first] = Object.entries(objects ?? {}).find(([, value]) => value !== undefined) ?? [];
  if (!objects || first === undefined) return undefined;
  if (storageOf(root).settings !== "s3")
    throw new SettingsError(
      `${FLAGS[first as keyof S3ObjectOptions]} is for objects of S3, and ${root} is none: leave it out`,
    );
  if (objects.sseKmsKeyId !== undefined && objects.sse !== "aws:kms")
    throw new SettingsError("--s3-sse-kms-key-id names a key of KMS: it needs --s3-sse aws:kms");
  return objects;
}
