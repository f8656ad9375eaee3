import { type CatalogEntry, decodeCatalog } from "@drover/shared/protocol/catalog-entry";
import { pipelined } from "@drover/shared/redis/script";
import type { MirrorContext } from "../context.js";
import type { WantedEntry } from "./entry.js";

/** Paths in one look at the catalog. */
const LOOK_UP = 1_000;

/** A path in both states. */
export interface Pair {
  path: string;
  wanted: WantedEntry | undefined;
  applied: CatalogEntry | undefined;
}

/** All paths of both states, in no order: both are spread over hashes alike. */
export async function* pairs({ state, engine, tree }: MirrorContext): AsyncGenerator<Pair> {
  const { redis, keys } = engine;
  for await (const { bucket, entries } of state.buckets()) {
    const [found] = (await pipelined(redis, () =>
      redis.pipeline().hgetallBuffer(keys.catalog(tree.id, bucket)),
    )) as [Record<string, Buffer>];
    const applied = new Map(Object.entries(found).map(([path, bytes]) => [path, decodeCatalog(bytes)]));
    for (const [path, wanted] of entries) yield { path, wanted, applied: applied.get(path) };
    for (const [path, entry] of applied)
      if (entry !== undefined && !entries.has(path)) yield { path, wanted: undefined, applied: entry };
  }
}

/** Given paths in both states, in their order. */
export async function pairsOf(
  { state, catalog, tree }: MirrorContext,
  paths: readonly string[],
): Promise<Pair[]> {
  const wanted = await state.lookUp(paths);
  const pairs: Pair[] = [];
  for (let from = 0; from < paths.length; from += LOOK_UP) {
    const some = paths.slice(from, from + LOOK_UP);
    const applied = await catalog.lookUp(tree.id, some);
    for (const [at, path] of some.entries())
      pairs.push({ path, wanted: wanted[from + at], applied: applied[at] });
  }
  return pairs;
}
