import { z } from "zod";
import { MalformedRecordError, type Origin, type StorageEvent } from "./event.js";
import { bareEtag, bucketSchema, checked, keySchema, sizeSchema, textSchema, timeMsOf } from "./fields.js";

const recordSchema = z.object({
  eventSource: z.string(),
  eventName: z.string().max(200),
  eventTime: textSchema,
  userIdentity: z.object({ PrincipalId: z.unknown() }).optional().catch(undefined),
  s3: z.object({
    bucket: z.object({ name: bucketSchema }),
    object: z.object({
      key: keySchema,
      size: sizeSchema,
      eTag: textSchema,
      versionId: textSchema,
      sequencer: textSchema,
    }),
  }),
});
type S3Record = z.infer<typeof recordSchema>;

/** Names of events without `s3:`, which Ceph and versitygw put before them. */
const CREATED = /^(ObjectCreated:|ObjectSynced:Create)/;
const REMOVED =
  /^(ObjectRemoved:|LifecycleExpiration:|ObjectSynced:Delet|ObjectLifecycle:Expiration:Current)/;

/**
 * Reads a record of the S3 event structure, as AWS, Ceph and versitygw send it.
 *
 * @returns undefined for an event that neither creates nor removes an object, such as a change of its tags.
 * @throws {MalformedRecordError}
 */
export function readS3Record(record: unknown): StorageEvent | undefined {
  const read = checked(recordSchema, record);
  const type = typeOf(read.eventName.replace(/^s3:/, ""));
  if (type === undefined) return undefined;
  const origin = originOf(read);
  const { bucket, object } = read.s3;
  return {
    origin,
    type,
    bucket: bucket.name,
    key: origin === "aws" ? formDecoded(object.key) : object.key,
    sizeBytes: type === "created" ? object.size : undefined,
    etag: type === "created" ? bareEtag(object.eTag) : undefined,
    versionId: object.versionId,
    sequencer: object.sequencer,
    timeMs: timeMsOf(read.eventTime),
  };
}

function typeOf(eventName: string): StorageEvent["type"] | undefined {
  if (CREATED.test(eventName)) return "created";
  return REMOVED.test(eventName) ? "removed" : undefined;
}

/**
 * versitygw stamps its records `aws:s3`, so that nothing tells them apart for certain. What its records have and AWS's
 * do not: `userIdentity.PrincipalId` with a capital P, in all versions.
 */
function originOf(record: S3Record): Origin {
  if (record.eventSource === "ceph:s3") return "ceph";
  if (record.eventSource !== "aws:s3") throw new MalformedRecordError("eventSource: not aws:s3 or ceph:s3");
  return record.userIdentity?.PrincipalId !== undefined ? "versitygw" : "aws";
}

/** AWS encodes keys like a form: `+` is a space, `%2B` a plus. */
function formDecoded(key: string): string {
  try {
    return decodeURIComponent(key.replaceAll("+", " "));
  } catch (error) {
    if (error instanceof URIError) throw new MalformedRecordError("s3.object.key: not form-encoded UTF-8");
    throw error;
  }
}
