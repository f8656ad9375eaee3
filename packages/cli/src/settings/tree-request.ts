import type { TreeRequest } from "@drover/producer/sync-action/sync-tree";
import { SettingsError } from "@drover/shared/errors";
import { withDestination } from "./destination.js";
import { type PairFlags, pairRequestOf } from "./pair-request.js";
import { requestOf } from "./run-request.js";
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
  const { backupDir: _, maxDelete: __, delete: ___, ...ofRun } = flags;
  return {
    run: requestOf([treeOf(remote)], ofRun, withDestination(resolved, "DIR", local)),
    pair: pairRequestOf(flags, resolved),
    dryRun: flags.dryRun ?? false,
  };
}

/** A prefix is a tree, whether it ends in a slash or not. */
function treeOf(remote: string): string {
  return /^s3:\/\//i.test(remote) && !remote.endsWith("/") ? `${remote}/` : remote;
}

/** What `--bucket` names: a bucket, perhaps with a prefix, `s3://…`, or a directory that begins with `/` or `.`. */
export function bucketLocation(bucket: string): string {
  if (bucket === "") throw new SettingsError("a bucket must have a name");
  return /^(\w+:\/\/|[/.])/.test(bucket) ? bucket : `s3://${bucket}/`;
}
