import { statSync } from "node:fs";
import type { SourceName } from "@drover/producer/expand/source-name";
import { sourceText } from "@drover/producer/expand/source-name";
import { SettingsError } from "@drover/shared/errors";
import { isBelow, liesWithin } from "@drover/shared/paths";
import { redactUrl } from "@drover/shared/redact";
import type { RunSpec } from "@drover/shared/run";
import { destinationService } from "@drover/shared/storage/registry";
import { isS3 } from "@drover/shared/storage/s3/name";
import { SETTINGS } from "./settings/settings.js";
import { parseMostDeleted } from "./settings/units.js";

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
  if (!isS3(root) && liesWithin(stateDir, root))
    throw new SettingsError(
      `--delete would remove Drover's own state in ${stateDir}: choose another --state-dir`,
    );
  const most = parseMostDeleted(flags.maxDelete ?? "50%");
  if (flags.backupDir === undefined) return { most };
  return { most, backupDir: planBackup(flags.backupDir, sources, root) };
}

/** Where what is removed is kept: of the kind of the destination, and apart from it and from the sources. */
function planBackup(given: string, sources: SourceName[], root: string): string {
  if (given === "") throw new SettingsError("--backup-dir must be a directory, or s3://bucket/prefix");
  const backup = readRoot(given);
  if (isS3(backup) !== isS3(root)) {
    const remedy = isS3(root) ? "s3://bucket/prefix at the service of the destination" : "a directory";
    throw new SettingsError(
      `--backup-dir ${backup} cannot keep what is removed from ${root}: name ${remedy}`,
    );
  }
  if (overlap(backup, root)) throw apart(backup, `the destination ${root}`);
  for (const source of sources)
    if (source.is === "path" && !isS3(backup) && overlap(backup, source.path))
      throw apart(backup, `the source ${source.path}`);
  return backup;
}

function apart(backup: string, what: string): SettingsError {
  return new SettingsError(`--backup-dir ${backup} and ${what} lie in each other: keep them apart`);
}

function readRoot(given: string): string {
  try {
    return SETTINGS["artifact-root"].kind.read(given);
  } catch (error) {
    throw error instanceof SettingsError ? new SettingsError(`--backup-dir: ${error.message}`) : error;
  }
}

/** Whether one of two roots of the same kind lies in the other. */
function overlap(one: string, other: string): boolean {
  const within = isS3(one) ? isBelow : liesWithin;
  return within(one, other) || within(other, one);
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
 * Refuses to delete where an S3 source lies in the destination, or overlaps with the backup: on the same service, that
 * is, which is known only when the profiles are read.
 *
 * @throws SettingsError
 */
export function checkSourcesApart(spec: RunSpec): void {
  const { root, delete: deletion } = spec;
  if (!deletion || !isS3(root) || destinationService(spec).endpoint !== spec.s3?.endpoint) return;
  for (const source of spec.sources.filter(isS3)) {
    const text = source.replace(/\/$/, "");
    if (isBelow(text, root)) throw sourceWithin(source, root);
    if (deletion.backupDir !== undefined && overlap(deletion.backupDir, text))
      throw apart(deletion.backupDir, `the source ${text}`);
  }
}

function sourceWithin(source: string, root: string): SettingsError {
  return new SettingsError(
    `--delete would remove the source ${source}, which lies in the destination ${root}`,
  );
}
