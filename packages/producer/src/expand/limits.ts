import type { RunSpec } from "@drover/shared/run";

/** Of what is found in directories and prefixes, what is taken by its size and age. */
export type Limits = Pick<RunSpec, "minSizeBytes" | "maxSizeBytes" | "minMtimeMs" | "maxMtimeMs">;

/** Why such limits and URLs do not go together. */
export const URL_LIMITS =
  "the size and age of a URL are not known before it is fetched: --min-size, --max-size, --min-age and --max-age are for directories and S3 prefixes";

/** Whether there are any. */
export function limited(limits: Limits): boolean {
  const { minSizeBytes, maxSizeBytes, minMtimeMs, maxMtimeMs } = limits;
  return [minSizeBytes, maxSizeBytes, minMtimeMs, maxMtimeMs].some((limit) => limit !== undefined);
}

/** Whether a file lies within the limits; each of them is allowed itself. */
export function isWithin(limits: Limits, sizeBytes: number, mtimeMs: number): boolean {
  return (
    sizeBytes >= (limits.minSizeBytes ?? 0) &&
    sizeBytes <= (limits.maxSizeBytes ?? Number.POSITIVE_INFINITY) &&
    mtimeMs >= (limits.minMtimeMs ?? Number.NEGATIVE_INFINITY) &&
    mtimeMs <= (limits.maxMtimeMs ?? Number.POSITIVE_INFINITY)
  );
}
