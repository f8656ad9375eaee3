import type { Engine } from "@drover/shared/engine";
import { messageOf, TransferError } from "@drover/shared/errors";
import { Catalog } from "@drover/shared/protocol/catalog";
import { ListingError } from "@drover/shared/storage/listing-error";
import { destinationOf, openTree, storageOf } from "@drover/shared/storage/registry";
import { type Comparison, compare } from "../compare/compare.js";
import type { Entry } from "../expand/entry.js";
import { expand } from "../expand/expand.js";
import { parseKept } from "../expand/wildcards.js";
import type { PlannedRun } from "../runs/plan/plan.js";
import { pruneEmpty, removeLocal } from "./local-removal.js";
import { ObjectRemoval } from "./object-removal.js";
import { isSameFile } from "./plan-move.js";

/** Files per look at the catalog. */
const BATCH = 500;
/** Files that are removed at once. */
const AT_ONCE = 8;

export interface Moved {
  /** Sources that were removed. */
  removed: number;
  /** Sources that stay. */
  left: number;
  /** Whether the sources were listed to their end. */
  complete: boolean;
}

export interface RemoveSourcesOptions {
  engine: Engine;
  signal: AbortSignal;
  /** Called with what stays, and why, unless the run has said that. */
  left(source: string, why: string): void;
}

/**
 * Removes the sources of a run that ended. Each of them is listed anew, and goes if the catalog says that this version of it
 * was copied and the copy is there as it was left. So it does not matter which run has copied it.
 */
export async function removeSources(
  { spec, secrets }: PlannedRun,
  { engine, signal, left }: RemoveSourcesOptions,
): Promise<Moved> {
  const silent = { spec, signal, warn: () => {} };
  const tree = openTree(spec);
  const check = await destinationOf(spec.root).openCheck?.(tree, silent);
  const { ignoreTimes: _, ...known } = spec;
  const comparison: Comparison = {
    spec: known,
    tree,
    catalog: new Catalog(engine.redis, engine.keys),
    check,
  };
  const objects = spec.s3 ? new ObjectRemoval(spec, signal) : undefined;
  const moved: Moved = { removed: 0, left: 0, complete: true };
  const stays = (source: string, why: string) => {
    moved.left++;
    left(source, why);
  };
  const removeOne = async ({ source, redacted, version = "", destination }: Entry) => {
    const copy = tree.path(destination);
    try {
      if (isSameFile(source, copy) && !/^s3:/.test(source)) return stays(redacted, "it is its own copy");
      const isGone =
        objects && /^s3:/.test(source)
          ? !(await objects.remove(source, version, copy))
          : !removeLocal(source, version);
      if (!isGone) moved.removed++;
    } catch (error) {
      if (!(error instanceof TransferError) || error.class === "cancelled") throw error;
      stays(redacted, error.message);
    }
  };
  const removeBatch = async (entries: Entry[]) => {
    const copied = await compare(comparison, entries);
    const next = entries.entries();
    const work = async () => {
      for (const [at, entry] of next) {
        if (signal.aborted) return;
        const { error, redacted } = entry;
        if (copied[at]) await removeOne(entry);
        else if (!error)
          stays(redacted, "this version of it was not copied, or its copy is not as it was left");
        else if (error.class !== "not-found") moved.left++; // the run has said why
      }
    };
    await Promise.all(Array.from({ length: AT_ONCE }, work));
  };
  try {
    let batch: Entry[] = [];
    const from = { sources: 0, listByte: 0 };
    const { sources, baseUrl, logins } = secrets;
    for await (const found of expand({ ...silent, sources, list: spec.list, baseUrl, logins, from })) {
      if ("passed" in found) continue;
      if (batch.push(found) < BATCH) continue;
      await removeBatch(batch);
      batch = [];
    }
    await removeBatch(batch);
  } catch (error) {
    if (!(error instanceof ListingError)) throw error;
    moved.complete = false;
    left(error.message, messageOf(error.cause ?? error));
  } finally {
    await check?.close();
    await objects?.close();
    tree.close();
  }
  for (const text of secrets.sources) {
    const { storage, text: path } = parseKept(text, spec);
    if (storage === storageOf("/") && storage.isTree(path) && !signal.aborted) pruneEmpty(path);
  }
  return moved;
}
