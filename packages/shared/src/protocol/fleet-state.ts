import type { Redis } from "ioredis";
import { z } from "zod";
import type { Keys } from "./keys.js";

/** What a leader said is believed for this time, in milliseconds: then the fleet has none. */
const BELIEVED_MS = 15_000;

const stateSchema = z.object({
  /** Files that are accepted and not in the queue, those of blocked hosts too. */
  backlogFiles: z.number(),
  /** How many of them wait for hosts whose breakers are open. An estimate, by the sizes of their chunks. */
  blockedFiles: z.number(),
  /** Files that workers could carry now: in the queue or in the backlog, without those of blocked hosts. */
  scalingFiles: z.number(),
  /** Hosts of files that wait, whose breakers are not closed. */
  hosts: z.array(
    z.object({
      host: z.string(),
      breaker: z.enum(["open", "half-open"]),
      /** Until when nothing is asked of it (Unix ms); undefined for one that is tried. */
      openUntilMs: z.number().optional(),
      /** Since when it has not been closed (Unix ms), as far as this leader knows. */
      sinceMs: z.number(),
      /** Files that wait for it, in the queue and in the backlog, and runs that they are of. Leaders of earlier versions say none. */
      files: z.number().default(0),
      runs: z.number().default(0),
    }),
  ),
});

/** What a fleet's leader knows of all that waits. */
export type FleetState = z.infer<typeof stateSchema>;

/** Says how the fleet stands. Its leader does so every second. */
export async function tellFleetState(redis: Redis, keys: Keys, state: FleetState): Promise<void> {
  await redis.set(keys.fleetState(), JSON.stringify(state), "PX", BELIEVED_MS);
}

/** How the fleet stands; undefined while it has no leader. */
export async function fleetState(redis: Redis, keys: Keys): Promise<FleetState | undefined> {
  const text = await redis.get(keys.fleetState());
  return text === null ? undefined : stateSchema.parse(JSON.parse(text));
}
