import { lstatSync, realpathSync } from "node:fs";
import { SettingsError } from "@drover/shared/errors";
import { redactUrl } from "@drover/shared/redact";
import { below, destinationOf, storageOf } from "@drover/shared/storage/registry";
import type { Storage } from "@drover/shared/storage/storage";
import { listItems } from "../expand/list-items.js";
import { type PlannedSource, parseKept } from "../expand/wildcards.js";
import type { PlannedRun } from "../runs/plan/plan.js";

/**
 * Checks that the sources of a run may be removed once they are copied. Nothing is changed.
 *
 * @throws SettingsError for a source that nothing can be removed from, that is its own destination, or lies in it.
 */
export async function planMove({ spec, secrets, pipe }: PlannedRun): Promise<void> {
  if (pipe !== undefined || spec.listIsStored)
    throw new SettingsError("mv reads its list twice: name a file with --from-file, no pipe");
  if (secrets.baseUrl !== undefined) throw new SettingsError(refusal(secrets.baseUrl));
  const sources = secrets.sources.map((text) => parseKept(text, spec));
  for (const { storage, text } of sources) if (!isRemovable(storage)) throw new SettingsError(refusal(text));
  for (const source of sources) refuseSelf(source, spec);
  if (spec.list === undefined) return;
  for await (const { says } of listItems(spec.list, { listByte: 0 }, { name: spec.list, baseUrl: undefined }))
    if (!("error" in says) && !isRemovable(storageOf(says.source)))
      throw new SettingsError(refusal(says.source));
}

/** Whether files of a storage can be removed as sources. */
export function isRemovable({ destination, listsSizes, schemes }: Storage): boolean {
  return destination !== undefined && listsSizes && !schemes.some((scheme) => scheme.includes("+"));
}

function refusal(source: string): string {
  return `${redactUrl(source)} cannot be moved, since nothing can be removed there: drover cp copies it`;
}

function refuseSelf(source: PlannedSource, spec: PlannedRun["spec"]): void {
  const { storage, text, wildcards } = source;
  if (storage !== storageOf(spec.root)) return;
  const destination = destinationOf(spec.root);
  if (!destination.isShared(spec)) return;
  if (storage.isTree(text) === true) {
    // A file could be written over another one of the source, before that is copied.
    if (!wildcards && destination.contains(spec.root, destination.parseRoot(text, spec.directory)))
      throw new SettingsError(
        `${text} lies in the destination ${spec.root}: move it to a directory that it is not in`,
      );
    return;
  }
  const name = spec.destination ?? storage.fileName(text, spec.layout);
  if (isSameFile(text, below(spec.root, name)))
    throw new SettingsError(`${redactUrl(text)} is the destination itself: choose another`);
}

/** Whether two locations are one file: by name, through links of directories, or by another name of the file system. */
export function isSameFile(one: string, other: string): boolean {
  if (one === other) return true;
  if (!one.startsWith("/") || !other.startsWith("/")) return false;
  try {
    const [a, b] = [lstatSync(one, { bigint: true }), lstatSync(other, { bigint: true })];
    if (a.dev === b.dev && a.ino === b.ino && a.nlink === 1n) return true;
    return !a.isSymbolicLink() && !b.isSymbolicLink() && realpathSync(one) === realpathSync(other);
  } catch {
    return false; // one of them is not there
  }
}
