/** Least size in bytes of a part of an upload. A file up to this size is one request. */
export const LEAST_PART_BYTES = 16 << 20;

/** Least and most size in bytes of a part that a service takes; the last part may be smaller. */
export const SMALLEST_PART_BYTES = 5 << 20;
export const LARGEST_PART_BYTES = 5 * 2 ** 30;

/** The most bytes that S3 copies in one request: 5 GiB. */
export const MOST_COPY_BYTES = 5 * 2 ** 30;

/** How a service reads the ETag of a condition on a write: with quotes as HTTP has it, without them as Ceph 16 has it, or not at all. */
export type ConditionForm = "quoted" | "bare" | "none";
