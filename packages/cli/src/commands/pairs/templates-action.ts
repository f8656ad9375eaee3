import { Cache } from "@drover/producer/sync-action/cache";
import { TEMPLATE_PATTERNS } from "@drover/producer/sync-action/directory-names";
import { syncTemplates } from "@drover/producer/sync-action/templates";
import type { PairFlags } from "../../settings/pair-request.js";
import type { Resolved } from "../../settings/settings.js";
import { bucketLocation, treeRequestOf } from "../../settings/tree-request.js";
import { showSync } from "./sync-tree-action.js";

/** Flags of `drover templates`, as typed. */
export interface TemplatesFlags extends PairFlags {
  bucket?: string;
}

/** How often and how fast a cache is asked again. */
const TRIES = { tries: 3, delayMs: 500 };

/** Syncs templates and shows it. @returns the exit code. */
export async function templates(given: string[], flags: TemplatesFlags, resolved: Resolved): Promise<number> {
  const { cache, timeout, "max-workers": atOnce } = resolved.values;
  const remote = bucketLocation(flags.bucket ?? "templates");
  const directories = given.length > 0 ? given : ["templates"];
  const trees = directories.map((directory) =>
    treeRequestOf(directory, remote, { ...flags, pattern: flags.pattern ?? TEMPLATE_PATTERNS }, resolved),
  );
  for (const { pair } of trees) pair.suffixed = true;
  const request = {
    trees,
    openCache: cache === undefined ? undefined : () => Cache.open(cache, timeout * 1000),
    pace: { ...TRIES, atOnce, timeoutMs: timeout * 1000 },
  };
  return await showSync(
    flags,
    resolved,
    (context) => syncTemplates(context, request),
    ({ cacheInvalidated, bytecodeCleared, dryRun }) =>
      cache === undefined || dryRun
        ? []
        : [`${cacheInvalidated.length} cache keys invalidated`, `${bytecodeCleared.length} of bytecode`],
  );
}
