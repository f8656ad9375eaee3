import type { Redis } from "ioredis";
import type { Keys } from "./keys.js";
import { tellScalingScript } from "./lua/tell-scaling.lua.js";

/** Files that an element of the list {@link Keys.scaling} stands for. */
export const FILES_PER_SCALING_UNIT = 100;
/** Longest list: that many units are more than any fleet grows for. */
const MOST_UNITS = 10_000;

/**
 * Tells those who scale a fleet how many files its workers could carry now.
 *
 * @param files the number, which {@link scalingFiles} gives back. The list is as long as it has units of
 *   {@link FILES_PER_SCALING_UNIT} files, begun ones included.
 */
export async function tellScaling(redis: Redis, keys: Keys, files: number): Promise<void> {
  const units = Math.min(Math.ceil(files / FILES_PER_SCALING_UNIT), MOST_UNITS);
  await tellScalingScript.run(redis, [keys.scaling()], [units, files]);
}

/** Files that the workers of a fleet could carry, as its leader has told it last: within a second or two while there is one. */
export async function scalingFiles(redis: Redis, keys: Keys): Promise<number> {
  return Number((await redis.lindex(keys.scaling(), 0)) ?? 0);
}
