import type { Redis } from "ioredis";
import { z } from "zod";
import type { Keys } from "./keys.js";

const pauseSchema = z.object({ sinceMs: z.number(), by: z.string(), untilMs: z.number().optional() });
/** Since when (Unix ms) and by whom a fleet's dispatch is paused; if that is the clock, also until when. */
export type DispatchPause = z.infer<typeof pauseSchema>;

/** Who pauses outside of the window of dispatch. */
const CLOCK = "clock";

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

/** Ends the pause by a person. That by the clock stays. */
export async function resumeDispatch(redis: Redis, keys: Keys): Promise<void> {
  await redis.del(keys.dispatchPause());
}

/**
 * Pauses the dispatch of a fleet because its window is closed. The pause ends by itself, or by {@link openDispatch}.
 *
 * @param closed since when, and until when (Unix ms).
 * @param nowMs the time by the same clock.
 */
export async function closeDispatch(
  redis: Redis,
  keys: Keys,
  { sinceMs, untilMs }: { sinceMs: number; untilMs: number },
  nowMs: number,
): Promise<void> {
  const pause: DispatchPause = { sinceMs, by: CLOCK, untilMs };
  await redis.set(keys.dispatchWindow(), JSON.stringify(pause), "PX", Math.max(untilMs - nowMs, 1));
}

/** Ends the pause by the clock. That by a person stays. */
export async function openDispatch(redis: Redis, keys: Keys): Promise<void> {
  await redis.del(keys.dispatchWindow());
}

/** @returns undefined where dispatch is not paused; where both have paused it, the pause by a person. */
export async function dispatchPause(redis: Redis, keys: Keys): Promise<DispatchPause | undefined> {
  const [byPerson, byClock] = await redis.mget(keys.dispatchPause(), keys.dispatchWindow());
  const text = byPerson ?? byClock ?? undefined;
  return text === undefined ? undefined : pauseSchema.parse(JSON.parse(text));
}
