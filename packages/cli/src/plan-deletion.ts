import { statSync } from "node:fs";
import { resolve } from "node:path";
import type { SourceName } from "@drover/producer/expand/source-name";
import { sourceText } from "@drover/producer/expand/source-name";
import { SettingsError } from "@drover/shared/errors";
import { liesWithin } from "@drover/shared/paths";
import { redactUrl } from "@drover/shared/redact";
import type { RunSpec } from "@drover/shared/run";
import { destinationService } from "@drover/shared/storage/open-tree";
import { isS3 } from "@drover/shared/storage/s3/name";
import { parseMostDeleted } from "./units.js";

/** Flags of `drover sync` that have to do with deleting. */
export interface DeletionFlags {
  delete?: boolean;
  maxDelete?: string;
  backupDir?: string;
  fromFile?: string;
}

/**
 * Understands `--delete` and what belongs to it.
 *
 * @param sources of the command line.
 * @param root of the destination tree.
 * @throws SettingsError where deleting could remove what nobody meant.
 */
export function planDeletion(
  flags: DeletionFlags,
  sources: SourceName[],
  root: string,
  stateDir: string,
): RunSpec["delete"] {
  if (!flags.delete) {
    const alone =
      flags.maxDelete !== undefined ? "--max-delete" : flags.backupDir !== undefined ? "--backup-dir" : "";
    if (alone !== "") throw new SettingsError(`${alone} says how to delete: it needs --delete`);
    return undefined;
  }
  if (flags.fromFile !== undefined)
    throw new SettingsError("--delete needs whole trees: it cannot be used with --from-file");
  for (const source of sources) checkTree(source, root);
  if (isS3(root)) {
    if (flags.backupDir === undefined) return { most: parseMostDeleted(flags.maxDelete ?? "50%") };
    throw new SettingsError("--backup-dir is for local destinations: let the bucket keep versions instead");
  }
  if (liesWithin(stateDir, root))
    throw new SettingsError(
      `--delete would remove Drover's own state in ${stateDir}: choose another --state-dir`,
    );
  const most = parseMostDeleted(flags.maxDelete ?? "50%");
  if (flags.backupDir === undefined) return { most };
  if (flags.backupDir === "") throw new SettingsError("--backup-dir must be a directory");
  const backupDir = resolve(flags.backupDir);
  if (liesWithin(backupDir, root) || liesWithin(root, backupDir))
    throw new SettingsError(
      `--backup-dir ${backupDir} and the destination ${root} lie in each other: keep them apart`,
    );
  return { most, backupDir };
}

/** Only of a tree can be said what it does not have. */
function checkTree(source: SourceName, root: string): void {
  const shown = redactUrl(sourceText(source));
  if (source.is === "s3") {
    if (source.key === "" || source.key.endsWith("/")) return;
    throw new SettingsError(`--delete needs whole trees: write ${shown}/ for everything below ${shown}`);
  }
  if (source.is === "url")
    throw new SettingsError(`--delete needs directories or S3 prefixes, which ${shown} is not`);
  if (!statSync(source.path, { throwIfNoEntry: false })?.isDirectory())
    throw new SettingsError(`--delete needs directories or S3 prefixes: ${shown} is no directory`);
  if (!isS3(root) && liesWithin(source.path, root)) throw sourceWithin(shown, root);
}

/**
 * Refuses to delete where an S3 source lies in the destination: on the same service, that is.
 *
 * @throws SettingsError
 */
export function checkSourcesApart(spec: RunSpec): void {
  const { root, sources } = spec;
  if (!spec.delete || !isS3(root) || destinationService(spec).endpoint !== spec.s3?.endpoint) return;
  const within = sources.find(
    (source) => isS3(source) && `${source.replace(/\/$/, "")}/`.startsWith(`${root}/`),
  );
  if (within !== undefined) throw sourceWithin(within, root);
}

function sourceWithin(source: string, root: string): SettingsError {
  return new SettingsError(
    `--delete would remove the source ${source}, which lies in the destination ${root}`,
  );
}
