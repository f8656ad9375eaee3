import { setTimeout as sleep } from "node:timers/promises";
import type { Cache } from "./cache.js";
import type { TemplateSyncResult } from "./results.js";

/** After this time keys are removed once more: who read the old template just before may have stored it just after. */
const AGAIN_MS = 1_000;

/**
 * Removes what a cache holds of templates that were changed: `template:PATH`, `template:*:PATH`, and the same of `bccache`. And
 * once more a second later.
 */
export async function invalidateTemplates(
  cache: Cache,
  paths: ReadonlySet<string>,
  result: TemplateSyncResult,
  signal: AbortSignal,
): Promise<void> {
  if (paths.size === 0) return;
  const templates = new Set<string>();
  const bytecode = new Set<string>();
  const remove = async () => {
    for await (const key of removed(cache, "template:", paths)) templates.add(key);
    for await (const key of removed(cache, "bccache:", paths)) bytecode.add(key);
  };
  try {
    await remove();
    await sleep(AGAIN_MS, undefined, { signal });
    await remove();
  } finally {
    for (const key of templates)
      if (!result.cacheInvalidated.includes(key)) result.cacheInvalidated.push(key);
    for (const key of bytecode) if (!result.bytecodeCleared.includes(key)) result.bytecodeCleared.push(key);
  }
}

/** Removes the keys of some paths below a prefix, and yields them. */
async function* removed(cache: Cache, prefix: string, paths: ReadonlySet<string>): AsyncGenerator<string> {
  yield* await cache.unlink([...paths].map((path) => prefix + path));
  for await (const keys of cache.keys(prefix))
    yield* await cache.unlink(keys.filter((key) => isOf(key, prefix, paths)));
}

/** Whether a key is `PREFIX` and a path, or `PREFIX…:` and a path. */
function isOf(key: string, prefix: string, paths: ReadonlySet<string>): boolean {
  for (let at = prefix.length; at > 0; at = key.indexOf(":", at) + 1)
    if (paths.has(key.slice(at))) return true;
  return false;
}
