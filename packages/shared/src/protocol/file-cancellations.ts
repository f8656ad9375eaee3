import type { Redis } from "ioredis";
import { z } from "zod";
import type { Keys } from "./keys.js";

const cancellationSchema = z.object({
  run: z.string(),
  /** Index of the file in its run. */
  index: z.number(),
  /** Chunk that the file was found in. */
  chunk: z.string(),
  /** Hash of its destination, as leases have it. */
  lease: z.string(),
});
/** A file of a fleet's run that somebody wants cancelled. */
export type FileCancellation = z.infer<typeof cancellationSchema>;

/**
 * Asks a fleet to cancel files: the leader ends those that wait, and workers those that they carry. What other runs wait for
 * is still carried.
 */
export async function askToCancel(redis: Redis, keys: Keys, files: FileCancellation[]): Promise<void> {
  if (files.length > 0)
    await redis.sadd(keys.fileCancellations(), ...files.map((file) => JSON.stringify(file)));
}

/** Files that are to be cancelled and may not have ended. */
export async function fileCancellations(redis: Redis, keys: Keys): Promise<FileCancellation[]> {
  const all = await redis.smembers(keys.fileCancellations());
  return all.map((text) => cancellationSchema.parse(JSON.parse(text)));
}

/** Forgets a file that has ended. */
export async function forgetCancellation(redis: Redis, keys: Keys, file: FileCancellation): Promise<void> {
  await redis.srem(keys.fileCancellations(), JSON.stringify(file));
}
