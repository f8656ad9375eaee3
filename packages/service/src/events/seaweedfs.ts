import { z } from "zod";
import { MalformedRecordError, type StorageEvent } from "./event.js";
import { checked, keySchema, sizeSchema } from "./fields.js";

const entrySchema = z.object({
  name: z.string().max(4096).optional(),
  is_directory: z.boolean().optional(),
  attributes: z.object({ file_size: sizeSchema, mtime: sizeSchema }).optional().catch(undefined),
});
const eventSchema = z.object({
  /** Path of the entry in the filer, before the change. */
  key: keySchema,
  event_type: z.enum(["create", "update", "delete", "rename"]),
  message: z
    .object({
      old_entry: entrySchema.nullish(),
      new_entry: entrySchema.nullish(),
      new_parent_path: z.string().max(4096).optional(),
    })
    .nullish(),
});
type SeaweedEvent = z.infer<typeof eventSchema>;

/** Where a filer keeps buckets, unless it is told otherwise. */
const BUCKETS = "/buckets/";
/** Where it keeps the parts of uploads in a bucket. */
const UPLOADS = ".uploads/";

/**
 * Reads an event of SeaweedFS's webhook. Keys are paths of its filer, `/buckets/BUCKET/KEY`, and raw.
 *
 * `rename` means no more than that there was an entry before: a file that is replaced at its place is told of in the
 * same way. So a removal of the old path belongs to it only if the new one is another.
 *
 * @returns no events for directories, parts of uploads, and what lies outside of buckets.
 * @throws {MalformedRecordError}
 */
export function readSeaweedFs(event: unknown): StorageEvent[] {
  const read = checked(eventSchema, event);
  const entry = read.message?.new_entry ?? read.message?.old_entry;
  if (entry?.is_directory) return [];
  const removed = () => eventAt("removed", read.key, undefined);
  if (read.event_type === "delete") return removed();
  const target = targetOf(read);
  const created = eventAt("created", target, read.message?.new_entry);
  return target === read.key ? created : [...removed(), ...created];
}

/** Path of the entry after the change. */
function targetOf({ key, event_type, message }: SeaweedEvent): string {
  const name = message?.new_entry?.name;
  if (name !== undefined && message?.new_parent_path)
    return `${message.new_parent_path.replace(/\/$/, "")}/${name}`;
  if (event_type === "rename") throw new MalformedRecordError("message: a rename that does not say where to");
  return key;
}

function eventAt(
  type: StorageEvent["type"],
  path: string,
  entry: z.infer<typeof entrySchema> | null | undefined,
): StorageEvent[] {
  if (!path.startsWith(BUCKETS)) return [];
  const slash = path.indexOf("/", BUCKETS.length);
  const bucket = path.slice(BUCKETS.length, slash);
  const key = path.slice(slash + 1);
  if (slash < 0 || bucket === "" || key === "" || key.startsWith(UPLOADS)) return [];
  const mtimeSeconds = entry?.attributes?.mtime;
  return [
    {
      origin: "seaweedfs",
      type,
      bucket,
      key,
      sizeBytes: entry?.attributes?.file_size,
      timeMs: mtimeSeconds === undefined ? undefined : mtimeSeconds * 1000,
    },
  ];
}
