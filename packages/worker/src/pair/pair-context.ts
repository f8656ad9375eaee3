import type { Side } from "@drover/shared/pair/decide";
import { openSide } from "@drover/shared/pair/open-side";
import type { PairSides } from "@drover/shared/pair/side";
import { PairStore } from "@drover/shared/pair/store";
import type { RunSpec } from "@drover/shared/run";
import { below, openTree } from "@drover/shared/storage/registry";
import type { Tree } from "@drover/shared/storage/tree";
import type { Destination } from "../destinations/destination.js";
import { type DestinationOptions, openDestination } from "../destinations/registry.js";

/** One side of a pair, to be written. */
export interface PairEnd {
  tree: Tree;
  /** Writes without keeping what is replaced or removed. */
  plain: Destination;
  /** Keeps it in the backup of the run. */
  keeping: Destination;
  /** Location of a path in the backup. */
  kept(name: string): string;
  /**
   * Keeps it in another part of the backup.
   *
   * @param part its name.
   */
  again(part: string): Pick<PairEnd, "keeping" | "kept">;
  /** Closes all of that. */
  close(): void;
}

/** What the files of a run that syncs a pair share. */
export interface PairContext {
  spec: NonNullable<RunSpec["pair"]>;
  store: PairStore;
  sides: PairSides;
  ends: Record<Side, PairEnd>;
  close(): Promise<void>;
}

/** Opens both sides of a run that syncs a pair. @throws TransferError if a tree cannot be opened. */
export function openPair(options: Omit<DestinationOptions, "tree">): PairContext {
  const { spec, redis, keys } = options;
  const { pair, root } = spec;
  if (!pair) throw new Error("the run syncs no pair");
  const stop = new AbortController();
  const sides = {
    local: openSide(root, spec, stop.signal),
    remote: openSide(pair.remote, spec, stop.signal),
  };
  const ends = {
    local: openEnd(root, pair.backupDirs.local, options),
    remote: openEnd(pair.remote, pair.backupDirs.remote, options),
  };
  return {
    spec: pair,
    store: new PairStore(redis, keys, pair.id),
    sides,
    ends,
    async close() {
      stop.abort();
      for (const end of Object.values(ends)) end.close();
      await Promise.all([sides.local.close(), sides.remote.close()]);
    },
  };
}

function openEnd(root: string, backupDir: string, options: Omit<DestinationOptions, "tree">): PairEnd {
  // As if a run had this root alone.
  const { pair: _, ...spec } = { ...options.spec, root };
  const tree = openTree(spec);
  const keepIn = (dir: string) => ({
    keeping: openDestination({ ...options, spec: { ...spec, backup: { dir, suffix: "" } }, tree }),
    kept: (name: string) => below(dir, name),
  });
  const plain = openDestination({ ...options, spec, tree });
  const first = keepIn(backupDir);
  const parts = new Map<string, ReturnType<typeof keepIn>>();
  return {
    tree,
    plain,
    ...first,
    again(name) {
      // No path of a pair has such a name.
      const part = parts.get(name) ?? keepIn(below(backupDir, `.drover-pair-again-${name}`));
      parts.set(name, part);
      return part;
    },
    close() {
      for (const each of [plain, first.keeping, ...[...parts.values()].map(({ keeping }) => keeping), tree])
        each.close();
    },
  };
}
