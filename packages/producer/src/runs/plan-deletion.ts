import { statSync } from "node:fs";
import { SettingsError } from "@drover/shared/errors";
import { isBelow, liesWithin } from "@drover/shared/paths";
import { redactUrl } from "@drover/shared/redact";
import type { RunSpec } from "@drover/shared/run";
import { destinationService } from "@drover/shared/storage/open-tree";
import { isS3 } from "@drover/shared/storage/s3/name";
import type { SourceName } from "../expand/source-name.js";
import { sourceText } from "../expand/source-name.js";
import { readRoot } from "./read-root.js";
import type { RunRequest } from "./request.js";

/**
 * Checks what a request says of deleting.
 *
 * @param sources of the request.
 * @param root of the destination tree.
 * @throws SettingsError where deleting could remove what nobody meant.
 */
export function planDeletion(request: RunRequest, sources: SourceName[], root: string): RunSpec["delete"] {
  const { delete: deletion } = request.destination;
  if (!deletion) return undefined;
  if (request.selection.list !== undefined)
    throw new SettingsError("--delete needs whole trees: it cannot be used with --from-file");
  for (const source of sources) checkTree(source, root);
  if (!isS3(root) && liesWithin(request.stateDir, root))
    throw new SettingsError(
      `--delete would remove Drover's own state in ${request.stateDir}: choose another --state-dir`,
    );
  const { most, backupDir } = deletion;
  if (backupDir === undefined) return { most };
  const backup = readRoot(backupDir, request.directory);
  checkBackup(backup, sources, root);
  return { most, backupDir: backup };
}

/** What keeps what is removed must be of the kind of the destination, and apart from it and from the sources. */
function checkBackup(backup: string, sources: SourceName[], root: string): void {
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
}

function apart(backup: string, what: string): SettingsError {
  return new SettingsError(`--backup-dir ${backup} and ${what} lie in each other: keep them apart`);
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
