import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { compilePatterns } from "@drover/producer/expand/patterns";
import { Cache } from "@drover/producer/sync-action/cache";
import { SettingsCheck } from "@drover/producer/sync-action/check-settings";
import { namesIn } from "@drover/producer/sync-action/directory-names";
import { canReload, checkReload } from "@drover/producer/sync-action/reload";
import type { SyncIssue } from "@drover/producer/sync-action/results";
import { sayIssue } from "@drover/producer/sync-action/review-plan";
import { adapterPatterns, syncSettings } from "@drover/producer/sync-action/settings";
import { SettingsError } from "@drover/shared/errors";
import { AddressGuard } from "@drover/shared/storage/http/guard";
import { EXIT } from "../../exit.js";
import { printable } from "../../output.js";
import type { PairFlags } from "../../settings/pair-request.js";
import { reloadOf } from "../../settings/reload-target.js";
import type { Resolved } from "../../settings/settings.js";
import { bucketLocation, treeRequestOf } from "../../settings/tree-request.js";
import type { OutputFlags } from "../options.js";
import { showSync } from "./sync-tree-action.js";

/** Flags of `drover settings`, as typed. */
export interface SettingsFlags extends PairFlags {
  bucket?: string;
  adapter?: string[];
  allOrNothing?: boolean;
  /** False for `--no-reload`. */
  reload?: boolean;
  allowAddress?: string[];
}

/** How often and how fast the program is told again. */
const TRIES = { tries: 3, delayMs: 500 };

/** Syncs settings and shows it. @returns the exit code. */
export async function settings(
  directory: string | undefined,
  flags: SettingsFlags,
  resolved: Resolved,
): Promise<number> {
  const { values } = resolved;
  const { cache, timeout } = values;
  const reload = reloadOf(values);
  checkReload(reload, cache !== undefined);
  const remote = bucketLocation(flags.bucket ?? "settings");
  const pattern = flags.pattern ?? adapterPatterns(flags.adapter);
  const request = {
    tree: treeRequestOf(directory ?? "settings", remote, { ...flags, pattern }, resolved),
    schemaDir: values["schema-dir"],
    allOrNothing: flags.allOrNothing ?? false,
    reloadConfig: flags.reload ?? true,
    reload,
    reloadTimeoutMs: values["reload-timeout"] * 1000,
    guard: new AddressGuard(flags.allowAddress),
    openCache: cache === undefined ? undefined : () => Cache.open(cache, timeout * 1000),
    pace: { ...TRIES, atOnce: values["max-workers"], timeoutMs: timeout * 1000 },
  };
  return await showSync(
    flags,
    resolved,
    (context) => syncSettings(context, request),
    ({ adaptersAffected, configReloaded, dryRun }) => [
      ...(adaptersAffected.length > 0 ? [`adapters ${adaptersAffected.map(printable).join(", ")}`] : []),
      ...(canReload(reload) && !dryRun && configReloaded ? ["reloaded"] : []),
    ],
  );
}

/** Checks settings and shows what is wrong with them. @returns the exit code. */
export async function check(
  given: string | undefined,
  { adapter, json }: OutputFlags & Pick<SettingsFlags, "adapter">,
  schemaDir: string | undefined,
): Promise<number> {
  const directory = given ?? "settings";
  if (!existsSync(directory)) throw new SettingsError(`there is no directory ${directory}`);
  const checking = new SettingsCheck(schemaDir);
  const issues: SyncIssue[] = [];
  let files = 0;
  for await (const path of namesIn(directory, compilePatterns(adapterPatterns(adapter), []))) {
    files++;
    for (const issue of checking.check(path, readFileSync(join(directory, path))))
      issues.push({ path, ...issue });
  }
  if (json) process.stdout.write(`${JSON.stringify({ files, issues }, null, 2)}\n`);
  else {
    for (const { path, ...issue } of issues)
      process.stdout.write(`${printable(join(directory, path))}: ${printable(sayIssue(issue))}\n`);
    process.stdout.write(`${files} files, ${new Set(issues.map(({ path }) => path)).size} of them invalid\n`);
  }
  return issues.length === 0 ? EXIT.ok : EXIT.some;
}
