import { filesDone } from "@drover/producer/runs/run-files";
import type { RunSummary } from "@drover/producer/runs/summary";
import type { Engine } from "@drover/shared/engine";
import { Catalog } from "@drover/shared/protocol/catalog";
import { destinationOf } from "@drover/shared/storage/registry";
import { writtenMsOf } from "@drover/shared/storage/s3/source";
import { z } from "zod";

/** Names that are looked up in one call. */
const NAMES_AT_ONCE = 1_000;

const keptSchema = z.object({
  run: z.string(),
  ended: z.coerce.number(),
  files: z.coerce.number(),
  removed: z.coerce.number().default(0),
  why: z.string().default(""),
  lag: z.union([z.literal("").transform(() => undefined), z.coerce.number()]),
});

/** What a sync of everything found to do, which no notification had told of. */
export interface Repairs {
  /** The run that copied; of several routes the last one's. */
  run: string;
  endedMs: number;
  /** Files that it copied. */
  copied: number;
  /** Files that it removed. */
  removed: number;
  /** Why nothing was removed although a route deletes, or "". */
  notRemoved: string;
  /** How long the oldest of them had been different (ms); undefined where it copied none, or no time is known. */
  lagMs: number | undefined;
}

/** Works out what a run that copies repaired, as far as its files are still kept. */
export async function repairsOf(engine: Engine, { run, counts }: RunSummary): Promise<Repairs> {
  const endedMs = run.endedMs ?? Date.now();
  const { done } = await filesDone(engine, run, counts, ["copied"]);
  const tree = destinationOf(run.spec.root).namesOf(run.spec.root, run.spec);
  const catalog = new Catalog(engine.redis, engine.keys);
  let oldestMs: number | undefined;
  for (let from = 0; from < done.length; from += NAMES_AT_ONCE) {
    const names = done.slice(from, from + NAMES_AT_ONCE).map(({ name }) => name);
    for (const entry of await catalog.lookUp(tree.id, names)) {
      const writtenMs = entry && writtenMsOf(entry.version);
      if (writtenMs !== undefined && writtenMs < (oldestMs ?? Number.POSITIVE_INFINITY)) oldestMs = writtenMs;
    }
  }
  const lagMs = oldestMs === undefined ? undefined : Math.max(endedMs - oldestMs, 0);
  return { run: run.id, endedMs, copied: counts.copied, removed: 0, notRemoved: "", lagMs };
}

/** Keeps what the last periodic sync repaired. */
export async function keepRepairs(
  { redis, keys }: Engine,
  { run, endedMs, copied, removed, notRemoved, lagMs }: Repairs,
): Promise<void> {
  const kept = { run, ended: endedMs, files: copied, removed, why: notRemoved, lag: lagMs ?? "" };
  await redis.hset(keys.repairs(), kept);
}

/** What the last periodic sync repaired; undefined before there was one. */
export async function lastRepairs({ redis, keys }: Engine): Promise<Repairs | undefined> {
  const hash = await redis.hgetall(keys.repairs());
  if (hash.run === undefined) return undefined;
  const { run, ended, files, removed, why, lag } = keptSchema.parse(hash);
  return { run, endedMs: ended, copied: files, removed, notRemoved: why, lagMs: lag };
}
