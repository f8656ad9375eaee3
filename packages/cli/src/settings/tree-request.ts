import { planRun } from "@drover/producer/runs/plan/plan";
import type { TreeRequest } from "@drover/producer/sync-action/sync-tree";
import { SettingsError } from "@drover/shared/errors";
import { type PairFlags, pairRequestOf, pairRunRequestOf } from "./pair-request.js";
import type { Resolved } from "./settings.js";

/**
 * A pair as it is to be synced.
 *
 * @param flags as typed.
 * @throws OptionError, SettingsError for an invalid value.
 */
export function treeRequestOf(
  local: string,
  remote: string,
  flags: PairFlags,
  resolved: Resolved,
): TreeRequest {
  const run = pairRunRequestOf(local, remote, flags, resolved);
  return {
    local,
    plan: () => planRun(run),
    pair: pairRequestOf(flags, resolved),
    dryRun: flags.dryRun ?? false,
  };
}

/** What `--bucket` names: a bucket, perhaps with a prefix, `s3://…`, or a directory that begins with `/` or `.`. */
export function bucketLocation(bucket: string): string {
  if (bucket === "") throw new SettingsError("a bucket must have a name");
  return /^(\w+:\/\/|[/.])/.test(bucket) ? bucket : `s3://${bucket}/`;
}
