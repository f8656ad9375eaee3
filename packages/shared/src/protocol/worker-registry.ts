import type { Redis } from "ioredis";
import { z } from "zod";
import type { Keys } from "./keys.js";

/** A worker is listed for this time after its last report, in milliseconds. */
export const ALIVE_MS = 15_000;

const presenceSchema = z.object({
  id: z.string(),
  host: z.string(),
  pid: z.number(),
  startedMs: z.number(),
  concurrency: z.number(),
  /** Directories that it writes below. */
  roots: z.array(z.string()),
  /** It dispatches and sweeps for the fleet. */
  leads: z.boolean(),
  /** It ends what it has, and takes nothing more. */
  draining: z.boolean(),
  /** Number of files that it carries. A worker of an earlier version does not tell it, nor the rates. */
  files: z.number().optional(),
  /** Files that ended, and bytes that were copied, in a second: on average of the last half minute. */
  perSecond: z.object({ files: z.number(), bytes: z.number() }).default({ files: 0, bytes: 0 }),
  /** Files that it copies now. */
  carrying: z.array(
    z.object({
      run: z.string(),
      source: z.string(),
      destination: z.string(),
      sinceMs: z.number(),
      receivedBytes: z.number(),
      sizeBytes: z.number().optional(),
    }),
  ),
});
/** What a worker of a fleet reports of itself. */
export type WorkerPresence = z.infer<typeof presenceSchema>;

/** The workers of a fleet that are alive, as they last reported. */
export async function aliveWorkers(redis: Redis, keys: Keys): Promise<WorkerPresence[]> {
  // A report expires by the clock of Redis: those of the machines may differ.
  const ids = await redis.zrange(keys.workers(), "0", "-1");
  const all = await Promise.all(ids.map((id) => redis.get(keys.worker(id))));
  return all.flatMap((text) => (text === null ? [] : [presenceSchema.parse(JSON.parse(text))]));
}
