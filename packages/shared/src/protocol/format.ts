import type { Redis } from "ioredis";
import { SettingsError } from "../errors.js";
import type { RunSpec } from "../run.js";
import type { Keys } from "./keys.js";

/**
 * Number of the format of what this version keeps in Redis. It grows with a change that an earlier version would read wrongly:
 * not with fields that such a version may ignore. Each run has the number that it was recorded with, for all that belongs to
 * it; an entry of the catalog has one of its own, see catalog-entry.ts.
 */
export const FORMAT = 1;

/**
 * Greatest number of the format of a run that this version knows. An earlier worker leaves runs of a greater one to others. 2
 * is that of runs that sync a pair, whose jobs it would not understand, 3 that of runs that say how their objects are stored
 * or encrypted, or which files of the destination are left alone, which it would not do. All other runs are of format 1.
 */
export const RUN_FORMAT = 3;

/** Number of the format that a run is recorded with. */
export function formatOf({ pair, s3Objects, s3CustomerKeys, leave }: RunSpec): number {
  if (s3Objects || s3CustomerKeys || leave) return RUN_FORMAT;
  return pair ? 2 : FORMAT;
}

/** A record is of a format that this version does not know. */
export class OtherFormatError extends SettingsError {
  override name = "OtherFormatError";
}

/**
 * Notes the format of what is in Redis, and looks whether a later version has been at work there.
 *
 * @throws OtherFormatError if it has: what this version would read of its records may be wrong.
 */
export async function checkFormat(redis: Redis, keys: Keys): Promise<void> {
  const [, noted] = await Promise.all([redis.setnx(keys.format(), FORMAT), redis.get(keys.format())]);
  if (Number(noted ?? FORMAT) <= FORMAT) return;
  throw new OtherFormatError(
    `a later version of Drover keeps its records in this Redis (format ${noted}, and this version knows ${FORMAT}): upgrade this one too`,
  );
}
