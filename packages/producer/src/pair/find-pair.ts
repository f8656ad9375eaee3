import { resolve } from "node:path";
import type { Engine } from "@drover/shared/engine";
import { SettingsError } from "@drover/shared/errors";
import { allPairs, type PairRecord, PairStore } from "@drover/shared/pair/store";

/**
 * Finds a pair by its id, the beginning of it, or one of its sides as it was typed.
 *
 * @throws SettingsError if there is none, or more than one.
 */
export async function findPairBy(
  { redis, keys }: Engine,
  text: string,
  directory: string,
): Promise<PairRecord> {
  const pairs = await allPairs(redis, keys);
  const path = resolve(directory, text);
  const remote = text.replace(/\/$/, "");
  const found = pairs.filter(
    ({ id, local, remote: other }) =>
      id === text ||
      (text.length >= 4 && id.startsWith(text)) ||
      [local, other].some((side) => side === path || side === remote),
  );
  if (found.length === 1) return found[0] as PairRecord;
  if (found.length > 1)
    throw new SettingsError(`${text} is a side of ${found.length} pairs: name one by its id (drover pairs)`);
  throw new SettingsError(`no such pair: ${text}; drover pairs lists those that were synced`);
}

/** The pair that a run synced, as long as the run can be taken back. @throws SettingsError if there is none. */
export async function pairOfRun({ redis, keys }: Engine, runId: string): Promise<PairRecord> {
  for (const pair of await allPairs(redis, keys)) {
    const undoable = await new PairStore(redis, keys, pair.id).undoable();
    if (undoable.some((each) => each.runId === runId)) return pair;
  }
  throw new SettingsError(
    `run ${runId} cannot be taken back: it synced no pair, changed nothing, or is too long ago (drover pairs show)`,
  );
}
