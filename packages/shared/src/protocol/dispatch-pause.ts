import type { Redis } from "ioredis";
import { z } from "zod";
import type { Keys } from "./keys.js";

const pauseSchema = z.object({ sinceMs: z.number(), by: z.string() });
/** Since when (Unix ms) and by whom a fleet's dispatch is paused. */
export type DispatchPause = z.infer<typeof pauseSchema>;

/**
 * Pauses the dispatch of a fleet: its leader puts no more files into the queue, until {@link resumeDispatch}. Where it is
 * paused already, nothing changes.
 *
 * @param by who does so, for people.
 */
export async function pauseDispatch(redis: Redis, keys: Keys, by: string): Promise<DispatchPause> {
  const pause: DispatchPause = { sinceMs: Date.now(), by };
  await redis.setnx(keys.dispatchPause(), JSON.stringify(pause));
  return (await dispatchPause(redis, keys)) ?? pause;
}

export async function resumeDispatch(redis: Redis, keys: Keys): Promise<void> {
  await redis.del(keys.dispatchPause());
}

/** @returns undefined where dispatch is not paused. */
export async function dispatchPause(redis: Redis, keys: Keys): Promise<DispatchPause | undefined> {
  const text = await redis.get(keys.dispatchPause());
  return text === null ? undefined : pauseSchema.parse(JSON.parse(text));
}
