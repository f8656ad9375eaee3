import type { Redis } from "ioredis";
import type { Keys } from "./keys.js";
import { tellScalingScript } from "./lua/tell-scaling.lua.js";

/** Files that an element of the list {@link Keys.scaling} stands for. */
export const FILES_PER_SCALING_UNIT = 100;
/** Longest list: more than any fleet grows for. */
const MOST_UNITS = 10_000;

/**
 * Tells KEDA, which can read the length of a key and nothing else, how many files the workers of a fleet could carry. Others ask
 * for the state of the fleet. Unlike that, the list stays when nobody leads: that is when workers are needed.
 *
 * @param files the number; the list is as long as there are units of {@link FILES_PER_SCALING_UNIT}, a begun one included.
 */
export async function tellScaling(redis: Redis, keys: Keys, files: number): Promise<void> {
  const units = Math.min(Math.ceil(files / FILES_PER_SCALING_UNIT), MOST_UNITS);
  await tellScalingScript.run(redis, [keys.scaling()], [units]);
}
