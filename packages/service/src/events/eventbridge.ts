import { z } from "zod";
import type { StorageEvent } from "./event.js";
import { bareEtag, bucketSchema, checked, keySchema, sizeSchema, textSchema, timeMsOf } from "./fields.js";

const eventSchema = z.object({
  source: z.literal("aws.s3"),
  "detail-type": z.string(),
  time: textSchema,
  detail: z.object({
    bucket: z.object({ name: bucketSchema }),
    object: z.object({
      key: keySchema,
      size: sizeSchema,
      etag: textSchema,
      "version-id": textSchema,
      sequencer: textSchema,
    }),
  }),
});

const TYPES = new Map<string, StorageEvent["type"]>([
  ["Object Created", "created"],
  ["Object Deleted", "removed"],
]);

/**
 * Reads an event of Amazon EventBridge. Its `id` is left out: it is not unique to an event of an object.
 *
 * @returns undefined for an event that neither creates nor removes an object, such as `Object Tags Added`.
 * @throws {MalformedRecordError}
 */
export function readEventBridge(event: unknown): StorageEvent | undefined {
  const read = checked(eventSchema, event);
  const type = TYPES.get(read["detail-type"]);
  if (type === undefined) return undefined;
  const { bucket, object } = read.detail;
  return {
    origin: "eventbridge",
    type,
    bucket: bucket.name,
    key: object.key,
    sizeBytes: type === "created" ? object.size : undefined,
    etag: type === "created" ? bareEtag(object.etag) : undefined,
    versionId: object["version-id"],
    sequencer: object.sequencer,
    timeMs: timeMsOf(read.time),
  };
}
