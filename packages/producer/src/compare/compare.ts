import { accessHash } from "@drover/shared/permissions";
import type { Catalog } from "@drover/shared/protocol/catalog";
import type { CatalogEntry } from "@drover/shared/protocol/catalog-entry";
import type { RunSpec } from "@drover/shared/run";
import { sourceId, storageOf } from "@drover/shared/storage/registry";
import type { DestinationCheck } from "@drover/shared/storage/storage";
import type { Tree } from "@drover/shared/storage/tree";
import type { Entry } from "../expand/entry.js";
import type { Revalidator } from "./revalidator.js";

/** What is needed to compare files with their last sync. */
export interface Comparison {
  spec: RunSpec;
  tree: Tree;
  catalog: Catalog;
  /** Sends conditional requests for URLs; undefined if another process carries the files. */
  revalidator?: Revalidator | undefined;
  /** Checks the destination if that is requested and the tree cannot do it; see openCheck. */
  check?: DestinationCheck | undefined;
}

/**
 * Finds unchanged files: the destination is as the last commit left it, and the source has the version that
 * was committed. The versions of local files and listed objects come with their entries; for a URL the
 * revalidator asks the server.
 *
 * @returns for each entry its catalog entry if it is unchanged, else undefined.
 */
export async function compare(
  { spec, tree, catalog, revalidator, check }: Comparison,
  entries: Entry[],
): Promise<(CatalogEntry | undefined)[]> {
  const comparable = entries.flatMap((entry, at) =>
    !entry.error && (entry.version || (revalidator && storageOf(entry.source).revalidates))
      ? [{ at, entry }]
      : [],
  );
  const known: (CatalogEntry | undefined)[] = new Array(entries.length);
  if (comparable.length === 0 || spec.ignoreTimes || spec.leave?.same === "checksum") return known;
  const found = await catalog.lookUp(
    tree.id,
    comparable.map(({ entry }) => entry.destination),
  );
  const same = comparable.flatMap(({ at, entry }, which) => {
    const last = found[which];
    if (!last || last.source !== sourceId(entry.redacted, spec)) return [];
    if (entry.sha256 !== undefined && entry.sha256 !== last.sha256) return [];
    const { mode, ...access } = entry.asks?.permissions ?? {};
    if (mode !== undefined && mode !== last.mode) return [];
    const asked = accessHash(access);
    if (asked !== undefined && asked !== last.access) return [];
    if (entry.version && last.version !== entry.version) return [];
    if (!entry.version && !storageOf(entry.source).revalidates?.(last.version)) return [];
    if (!tree.isAsLeft(entry.destination, last.stamp)) return [];
    return [{ at, entry, last }];
  });
  const asLeft = await check?.asLeft(
    same.map(({ entry, last }) => ({ name: entry.destination, stamp: last.stamp })),
  );
  const asked: { at: number; url: string; version: string; last: CatalogEntry }[] = [];
  same.forEach(({ at, entry, last }, which) => {
    if (asLeft && !asLeft[which]) return;
    if (entry.version) known[at] = last;
    else asked.push({ at, url: entry.source, version: last.version, last });
  });
  if (!revalidator || asked.length === 0) return known;
  const answers = await revalidator.unchanged(asked);
  asked.forEach(({ at, last }, which) => {
    if (answers[which]) known[at] = last;
  });
  return known;
}
