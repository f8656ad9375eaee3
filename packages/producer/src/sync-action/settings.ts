import { messageOf, SettingsError } from "@drover/shared/errors";
import type { AddressGuard } from "@drover/shared/storage/http/guard";
import { wantedBy } from "../expand/wanted.js";
import { OwedHooks } from "../pair/owed-hooks.js";
import type { PairRequest } from "../pair/pair-session.js";
import type { Cache } from "./cache.js";
import { adapterOf, SettingsCheck, type SettingsIssue } from "./check-settings.js";
import { canReload, type ReloadTarget, reload } from "./reload.js";
import { SettingsSyncResult } from "./results.js";
import { checkSteps } from "./review-plan.js";
import type { Pace } from "./strategy.js";
import { type SyncContext, syncTree, type TreeRequest } from "./sync-tree.js";
import { withTries } from "./tries.js";
import { withCopies } from "./with-copies.js";

/** Which files are settings. */
export const SETTINGS_PATTERNS = ["*.yml", "*.yaml"];

/** What a sync of settings is asked beside its pair. */
export interface SettingsRequest {
  tree: TreeRequest;
  /** Directory of `ADAPTER.json`; undefined for no schemas. */
  schemaDir: string | undefined;
  /** Whether an invalid file holds back all others. */
  allOrNothing: boolean;
  /** Whether the program is told to load its settings again. */
  reloadConfig: boolean;
  reload: ReloadTarget;
  /** Time limit of each way to tell it. */
  reloadTimeoutMs: number;
  /** Decides where the reload's URL may lead. */
  guard: AddressGuard;
  /** Opens the cache, for a channel. */
  openCache: (() => Promise<Cache>) | undefined;
  pace: Pace;
}

/**
 * Syncs settings files, each of which is checked before it is published on either side, and tells the program to load them
 * again if any was changed. What it could not be told stays owed: the next sync does it.
 *
 * @throws as syncPair.
 */
export async function syncSettings(
  context: SyncContext,
  request: SettingsRequest,
): Promise<SettingsSyncResult> {
  const { tree } = request;
  const { redis, keys } = context.engine;
  const result = new SettingsSyncResult(tree.dryRun);
  const check = new SettingsCheck(request.schemaDir);
  const isSettings = wantedBy((await tree.plan()).spec);
  const reloads = request.reloadConfig && canReload(request.reload);
  let invalid = new Map<string, SettingsIssue[]>();
  let owed: OwedHooks | undefined;
  const pair: PairRequest = {
    ...tree.pair,
    // Whoever was told before, in a way that is not to be had here, is told by the next sync that can.
    ...(reloads ? { hook: "settings" as const } : request.reloadConfig ? {} : { hook: "none" as const }),
    suffixed: true,
    wanted: (wanted) => withCopies(wanted),
  };
  const done = await syncTree(context, { ...tree, pair }, result, async (review) => {
    invalid = await checkSteps(review, { check, allOrNothing: request.allOrNothing, isSettings });
    if (tree.dryRun || !reloads) return;
    owed = new OwedHooks(redis, keys, review.record.id, "settings");
    await owed.takeOver();
    await owed.owe(review.plan.steps.all());
  });
  sayWhere(result, invalid);
  const changed = result.syncedItems.filter(isSettings);
  result.adaptersAffected = [...new Set(changed.map(adapterOf))].sort();
  if (!owed || done.end === "interrupted" || done.end === "half-submitted" || done.end === "goes-on")
    return result;
  if (result.syncedItems.length === 0) await owed.dropOwn();
  if (owed.names.size > 0) await tell(context, request, result, owed);
  return result;
}

/** Puts what was found in a file in the place of what was said of it in one line. */
function sayWhere(result: SettingsSyncResult, invalid: Map<string, SettingsIssue[]>): void {
  const others = result.skipped.filter(({ path }) => !invalid.has(path));
  const found = [...invalid].flatMap(([path, issues]) => issues.map((issue) => ({ path, ...issue })));
  result.skipped.splice(0, result.skipped.length, ...others, ...found);
}

async function tell(
  { signal, events }: SyncContext,
  { reload: target, reloadTimeoutMs, guard, openCache, pace }: SettingsRequest,
  result: SettingsSyncResult,
  owed: OwedHooks,
): Promise<void> {
  const { adaptersAffected: adapters, runs } = result;
  try {
    await withTries(pace, signal, async () => {
      const cache = target.channel === undefined ? undefined : await openCache?.();
      try {
        const means = { guard, cache, timeoutMs: reloadTimeoutMs, signal };
        await reload(target, { event: "settings.changed", adapters, runs }, means);
      } finally {
        cache?.close();
      }
    });
    await owed.paid();
    result.configReloaded = true;
  } catch (error) {
    result.isSettled = false;
    result.interrupted ||= signal.aborted;
    const why = `the settings were not loaded again, which the next sync asks for: ${messageOf(error)}`;
    result.errors.push({ path: "", why });
    events.warn(why);
  }
}

/**
 * The patterns of the settings files of some adapters.
 *
 * @param adapters names; undefined, or none, for all.
 * @throws SettingsError for a name that no file can have.
 */
export function adapterPatterns(adapters: readonly string[] | undefined): string[] {
  if (adapters === undefined || adapters.length === 0) return SETTINGS_PATTERNS;
  return adapters.flatMap((adapter) => {
    if (adapter === "" || adapter.includes("/"))
      throw new SettingsError(
        `${JSON.stringify(adapter)} is no adapter: it is the name of a file without its extension`,
      );
    const literal = adapter.replace(/[\\*?[\]{}!]/g, "\\$&");
    return [`${literal}.yml`, `${literal}.yaml`];
  });
}
