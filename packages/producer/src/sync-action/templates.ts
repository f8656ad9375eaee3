import { messageOf, TransferError } from "@drover/shared/errors";
import { allPairs, PairStore } from "@drover/shared/pair/store";
import { ListingError } from "@drover/shared/storage/listing-error";
import { storageOf } from "@drover/shared/storage/registry";
import type { Wanted } from "../expand/patterns.js";
import { wantedBy } from "../expand/wanted.js";
import { PairGuardError } from "../pair/guards.js";
import { OwedHooks } from "../pair/owed-hooks.js";
import type { PairRequest } from "../pair/pair-session.js";
import type { Cache } from "./cache.js";
import { namesIn } from "./directory-names.js";
import { invalidateTemplates } from "./invalidate-templates.js";
import { TemplateSyncResult } from "./results.js";
import type { Pace } from "./strategy.js";
import { type SyncContext, syncTree, type TreeRequest } from "./sync-tree.js";
import { withTries } from "./tries.js";
import { withCopies } from "./with-copies.js";

/** What a sync of templates is asked beside its pairs. */
export interface TemplatesRequest {
  /** One for each directory, all with the same other side. The first directory wins a name. */
  trees: readonly TreeRequest[];
  /** Opens the cache of the program; undefined where it has none. */
  openCache: (() => Promise<Cache>) | undefined;
  pace: Pace;
}

/**
 * Syncs directories of templates with one place, and removes from the program's cache what it holds of those that were changed.
 * What could not be removed stays owed: the next sync does it.
 *
 * @throws as syncPair.
 */
export async function syncTemplates(
  context: SyncContext,
  request: TemplatesRequest,
): Promise<TemplateSyncResult> {
  const { trees } = request;
  const result = new TemplateSyncResult(trees.some(({ dryRun }) => dryRun));
  const owned = trees.length === 1 ? undefined : await ownersOf(context, trees, result);
  for (const [at, tree] of trees.entries()) {
    try {
      await syncDirectory(context, request, { tree, owned: owned?.[at] }, result);
    } catch (error) {
      if (result.runs.length === 0 || !isStopped(error)) throw error;
      // Others were changed already: that is told, with why this one was not.
      const why = `${tree.local} was not synced: ${messageOf(error)}`;
      result.errors.push({ path: "", why });
      result.isSettled = false;
      context.events.warn(why);
    }
  }
  return result;
}

/** Whether an error stopped a sync before its first change. */
function isStopped(error: unknown): boolean {
  return error instanceof PairGuardError || error instanceof TransferError || error instanceof ListingError;
}

async function syncDirectory(
  context: SyncContext,
  { openCache, pace }: TemplatesRequest,
  { tree, owned }: { tree: TreeRequest; owned: Wanted | undefined },
  result: TemplateSyncResult,
): Promise<void> {
  const { redis, keys } = context.engine;
  let owed: OwedHooks | undefined;
  const pair: PairRequest = {
    ...tree.pair,
    // Without the cache, what it still has stays owed where an earlier sync knew it.
    ...(openCache ? { hook: "templates" as const } : {}),
    wanted: (byPatterns) => withCopies(byPatterns, owned),
  };
  const done = await syncTree(context, { ...tree, pair }, result, async ({ record, plan }) => {
    if (tree.dryRun || !openCache) return;
    owed = new OwedHooks(redis, keys, record.id, "templates");
    await owed.takeOver();
    await owed.owe(plan.steps.all());
  });
  if (
    !owed ||
    !openCache ||
    done.end === "interrupted" ||
    done.end === "half-submitted" ||
    done.end === "goes-on"
  )
    return;
  if (owed.names.size === 0) return;
  try {
    const names = owed.names;
    await withTries(pace, context.signal, async () => {
      const cache = await openCache();
      try {
        await invalidateTemplates(cache, names, result, context.signal);
      } finally {
        cache.close();
      }
    });
    await owed.paid();
  } catch (error) {
    result.isSettled = false;
    result.interrupted ||= context.signal.aborted;
    const why = `the cache still has ${owed.names.size} changed templates, which the next sync removes: ${messageOf(error)}`;
    result.errors.push({ path: "", why });
    context.events.warn(why);
  }
}

/**
 * Which directory has which names: the first one that has a file of that name. A file that was synced with a directory and is
 * gone from it was deleted, also where a later directory has one of its name; that one is synced the next time.
 */
async function ownersOf(
  { engine, events }: SyncContext,
  trees: readonly TreeRequest[],
  result: TemplateSyncResult,
): Promise<Wanted[]> {
  const owners = new Map<string, number>();
  const pairs = await allPairs(engine.redis, engine.keys);
  const all = [];
  for (const { plan } of trees) {
    const { spec } = await plan();
    const remote = (spec.sources[0] as string).replace(/(?<=[^/])\/$/, "");
    const endpoint = storageOf(remote).name === "s3" ? (spec.s3?.endpoint ?? "") : "";
    const pair = pairs.find(
      (each) => each.local === spec.root && each.remote === remote && each.endpoint === endpoint,
    );
    const wanted = wantedBy(spec);
    const present = new Set<string>();
    for await (const name of namesIn(spec.root, wanted)) present.add(name);
    const store = pair && new PairStore(engine.redis, engine.keys, pair.id);
    const tracked = new Set<string>();
    if (store)
      for await (const page of store.ancestors())
        for (const [name] of page) if (wanted(name)) tracked.add(name);
    all.push({ root: spec.root, present, tracked, store });
  }
  for (const [at, { root, present, tracked }] of all.entries()) {
    for (const name of [...present, ...tracked]) {
      const owner = owners.get(name);
      if (owner === undefined) owners.set(name, at);
      else if (owner !== at && present.has(name)) {
        const used = all[owner] as (typeof all)[number];
        result.collisions.push({ path: name, used: used.root, ignored: root });
        events.warn(`${name} is in ${used.root} and in ${root}: the first one is synced`);
      }
    }
  }
  // What another directory has taken over is not of this one any more: nothing follows from its absence there.
  for (const [at, { tracked, store }] of all.entries()) {
    const lost = [...tracked].filter((name) => owners.get(name) !== at);
    if (!trees[at]?.dryRun) await store?.setAncestors(lost.map((name) => [name, undefined]));
  }
  return trees.map((_, at) => (name) => (owners.get(name) ?? 0) === at);
}
