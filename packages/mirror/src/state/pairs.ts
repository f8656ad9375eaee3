import { type CatalogEntry, decodeCatalog } from "@drover/shared/protocol/catalog-entry";
import { CATALOG_BUCKETS } from "@drover/shared/protocol/keys";
import { pipelined } from "@drover/shared/redis/script";
import type { MirrorContext } from "../context.js";
import { decodeWanted, type WantedEntry } from "./entry.js";

/** Paths in one look at the catalog. */
const LOOK_UP = 1_000;
/** Hashes of each state that are read at once; the number divides that of all. */
const BUCKETS_AT_ONCE = 32;

/** A path in both states. */
export interface Pair {
  path: string;
  wanted: WantedEntry | undefined;
  applied: CatalogEntry | undefined;
}

/** All paths of both states, in no order: both are spread over hashes alike. */
export async function* pairs({ state, engine, tree }: MirrorContext): AsyncGenerator<Pair> {
  const { redis, keys } = engine;
  for (let from = 0; from < CATALOG_BUCKETS; from += BUCKETS_AT_ONCE) {
    const answers = (await pipelined(redis, () => {
      const pipeline = redis.pipeline();
      for (let at = from; at < from + BUCKETS_AT_ONCE; at++)
        pipeline.hgetallBuffer(state.keys.wanted(at)).hgetallBuffer(keys.catalog(tree.id, at));
      return pipeline;
    })) as Record<string, Buffer>[];
    for (let at = 0; at < answers.length; at += 2) {
      const wanted = answers[at] as Record<string, Buffer>;
      const applied = answers[at + 1] as Record<string, Buffer>;
      const entryOf = (path: string) =>
        Object.hasOwn(applied, path) ? decodeCatalog(applied[path] as Buffer) : undefined;
      for (const [path, bytes] of Object.entries(wanted))
        yield { path, wanted: decodeWanted(bytes), applied: entryOf(path) };
      for (const path of Object.keys(applied))
        if (!Object.hasOwn(wanted, path)) yield { path, wanted: undefined, applied: entryOf(path) };
    }
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
