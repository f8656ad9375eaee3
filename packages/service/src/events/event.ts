/** Which kind of service told of an event. It decides how keys are encoded and whether sequencers can be compared. */
export type Origin = "aws" | "eventbridge" | "ceph" | "versitygw" | "seaweedfs";

/**
 * A storage says that an object was created (or replaced), or removed. It is a hint, not a fact: notifications come
 * twice, late, out of order or never. Who acts on one looks at the object first.
 */
export interface StorageEvent {
  origin: Origin;
  type: "created" | "removed";
  bucket: string;
  /** The key as the object is called: decoded, once. */
  key: string;
  /** Of a creation alone, where the origin tells it. */
  sizeBytes?: number | undefined;
  /** Of a creation alone, without quotes. */
  etag?: string | undefined;
  /** Absent where the bucket has no versions. */
  versionId?: string | undefined;
  /** Only compareSequence (sequence.ts) knows what it means. */
  sequencer?: string | undefined;
  /** When it happened, Unix ms, by the clock of the origin. */
  timeMs?: number | undefined;
}

/** One record of a notification cannot be understood. The message says why, without what it contained. */
export class MalformedRecordError extends Error {
  override name = "MalformedRecordError";
}
