/** Least size in bytes of a part of an upload. A file up to this size is one request. */
export const LEAST_PART_BYTES = 16 << 20;

/** The most bytes that S3 copies in one request: 5 GiB. */
export const MOST_COPY_BYTES = 5 * 2 ** 30;

/** How a service reads the ETag of a condition on a write: with quotes as HTTP has it, without them as Ceph 16 has it, or not at all. */
export type ConditionForm = "quoted" | "bare" | "none";
