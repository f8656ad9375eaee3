import type { RunSpec } from "@drover/shared/run";

/** Limits of size (bytes) and modification time (Unix ms) for files found in directories and prefixes. */
export type Limits = Pick<RunSpec, "minSizeBytes" | "maxSizeBytes" | "minMtimeMs" | "maxMtimeMs">;

/** Error message for limits in combination with URLs. */
export const URL_LIMITS =
  "the size and age of a URL are not known before it is fetched: --min-size, --max-size, --min-age and --max-age are for directories and S3 prefixes";

/** Whether any limit is set. */
export function limited(limits: Limits): boolean {
  const { minSizeBytes, maxSizeBytes, minMtimeMs, maxMtimeMs } = limits;
  return [minSizeBytes, maxSizeBytes, minMtimeMs, maxMtimeMs].some((limit) => limit !== undefined);
}

/** Whether a file is within the limits, which are inclusive. */
export function isWithin(limits: Limits, sizeBytes: number, mtimeMs: number): boolean {
  return (
    sizeBytes >= (limits.minSizeBytes ?? 0) &&
    sizeBytes <= (limits.maxSizeBytes ?? Number.POSITIVE_INFINITY) &&
    mtimeMs >= (limits.minMtimeMs ?? Number.NEGATIVE_INFINITY) &&
    mtimeMs <= (limits.maxMtimeMs ?? Number.POSITIVE_INFINITY)
  );
}
