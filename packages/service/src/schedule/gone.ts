import { findExtraneous } from "@drover/producer/delete/remove-extraneous";
import type { PlannedRun } from "@drover/producer/runs/plan/plan";
import type { Engine } from "@drover/shared/engine";
import type { RunCounts } from "@drover/shared/outcome";
import { Catalog } from "@drover/shared/protocol/catalog";
import { destinationOf, sourceId } from "@drover/shared/storage/registry";
import { s3Text } from "@drover/shared/storage/s3/object/name";
import { type EventRoute, parentOf } from "../intake/route.js";

/** Names that are looked up in one call. */
const NAMES_AT_ONCE = 1_000;

/** Files to be removed, or why none is. */
export interface Gone {
  /** Why nothing may be removed, or "". */
  refused: string;
  /** Keys whose files were brought by Drover, and which the listing does not have. */
  keys: string[];
}

/** A copy of all of a route's objects, after its end. */
export interface EndedCopy {
  planned: PlannedRun;
  counts: RunCounts;
}

/**
 * Lists the objects and the destination of a route anew, and finds the files that Drover brought and whose objects the bucket
 * does not have. Files of others do not count.
 */
export async function findGone(
  { redis, keys }: Pick<Engine, "redis" | "keys">,
  route: EventRoute,
  { planned, counts }: EndedCopy,
  { signal, warn }: { signal: AbortSignal; warn(message: string): void },
): Promise<Gone> {
  const parent = parentOf(route);
  const { sources } = planned.secrets;
  if (counts.files === 0) return { refused: `nothing was found in ${sources[0]}`, keys: [] };
  // What counts for the limit is only known when the catalog has been asked.
  const spec = { ...planned.spec, delete: { most: { percent: 100 } } };
  const tree = destinationOf(spec.root).namesOf(spec.root, spec);
  const arrived = counts.copied + counts.unchanged;
  const listed = { spec, sources, tree, signal, warn };
  const { refused, extraneous } = await findExtraneous(listed, { removed: 0, added: 0, arrived });
  try {
    if (refused !== "") return { refused, keys: [] };
    const catalog = new Catalog(redis, keys);
    const gone: string[] = [];
    let count = 0;
    const take = async (names: string[]) => {
      const entries = await catalog.lookUp(tree.id, names);
      names.forEach((name, at) => {
        const key = parent + name;
        if (entries[at]?.source !== sourceId(s3Text({ bucket: route.bucket, key }), spec)) return;
        if (++count <= route.maxDelete) gone.push(key);
      });
    };
    let names: string[] = [];
    for await (const { name } of extraneous.all()) {
      if (names.push(name) < NAMES_AT_ONCE) continue;
      await take(names);
      names = [];
    }
    await take(names);
    if (count <= route.maxDelete) return { refused: "", keys: gone };
    const why = `${count} files would be removed, and max-delete of the route allows ${route.maxDelete}`;
    return { refused: why, keys: [] };
  } finally {
    extraneous.close();
  }
}
