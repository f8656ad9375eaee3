import type { Catalog } from "@drover/shared/protocol/catalog";
import type { CatalogEntry } from "@drover/shared/protocol/catalog-entry";
import type { RunSpec } from "@drover/shared/run";
import { sourceId, storageOf } from "@drover/shared/storage/registry";
import type { DestinationCheck } from "@drover/shared/storage/storage";
import type { Tree } from "@drover/shared/storage/tree";
import type { Entry } from "../expand/entry.js";
import type { Revalidator } from "./revalidator.js";

/** What files are compared with. */
export interface Comparison {
  spec: RunSpec;
  tree: Tree;
  catalog: Catalog;
  /** Asks about URLs, where the files are carried by the process that compares them. */
  revalidator?: Revalidator | undefined;
  /** Looks at the destination, where that is asked for and the tree itself cannot. */
  check?: DestinationCheck | undefined;
}

/**
 * Finds the files that are known to be unchanged: the destination is as the commit left it, and the source is the version
 * that was last committed. Local files and listed objects come with their version; a URL's server is asked, where there
 * is a revalidator.
 *
 * @returns for each of the entries its catalog entry where it is unchanged, else undefined.
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
  if (comparable.length === 0) return known;
  const found = await catalog.lookUp(
    tree.id,
    comparable.map(({ entry }) => entry.destination),
  );
  const same = comparable.flatMap(({ at, entry }, which) => {
    const last = found[which];
    if (!last || last.source !== sourceId(entry.redacted, spec)) return [];
    if (entry.sha256 !== undefined && entry.sha256 !== last.sha256) return [];
    if (entry.version ? last.version !== entry.version : !last.version.startsWith("e")) return [];
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
