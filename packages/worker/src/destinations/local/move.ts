import { type BigIntStats, linkSync, lstatSync, renameSync } from "node:fs";
import { errnoCode, fileError, TransferError } from "@drover/shared/errors";
import { failpoint } from "@drover/shared/failpoint";
import { baseName } from "@drover/shared/paths";
import { decodeCatalog, statStamp } from "@drover/shared/protocol/catalog-entry";
import type { Directory } from "@drover/shared/storage/local/directory";
import { type LocalTree, remove } from "@drover/shared/storage/local/tree";
import { stagingName } from "@drover/shared/storage/staging-name";
import type { FormerFile, Moved, WriteAttempt } from "../destination.js";
import { LocalRemoval } from "./removal.js";

/**
 * Moves a file of a local tree: link to a staging name → look at it → rename → remove the former name. Until its new name is
 * there the former one is. The staging name carries the fence, and a successor removes it first, as that of a copy. Each
 * step may be repeated: links of one file have one stamp.
 *
 * @returns undefined where the file, or what has its new name, is not what the catalog says, and where the file system has no
 *   links.
 */
export async function moveLocal(
  tree: LocalTree,
  attempt: WriteAttempt,
  { attempt: former, entry }: FormerFile,
): Promise<Moved | undefined> {
  const { terms } = attempt;
  const removal = new LocalRemoval(tree, former.file.name, entry.stamp, former.lease.key, former.lease.fence);
  const directory = tree.directoryOf(attempt.file.name);
  try {
    removal.adopt(former.admitted.predecessors);
    const target = look(directory, baseName(attempt.file.name));
    if (!isFile(target, entry.stamp)) {
      if (target && !isFile(target, decodeCatalog(attempt.admitted.catalog)?.stamp)) return undefined;
      if (!link(tree, attempt, { attempt: former, entry }, directory)) return undefined;
      if (terms.durable) await tree.sync(directory);
      failpoint("linked");
    }
    if (removal.take(() => former.lease.check())) {
      failpoint("taken");
      await removal.finish(undefined, terms.durable);
    }
    removal.prune();
    return { stamp: entry.stamp };
  } finally {
    removal.close();
    tree.release(directory);
  }
}

/** Gives a file its new name beside its former one. @returns false if it is not to be had, or cannot be linked. */
function link(
  tree: LocalTree,
  { file, lease }: WriteAttempt,
  { attempt: former, entry }: FormerFile,
  directory: Directory,
): boolean {
  const source = tree.find(former.file.name);
  if (!source) return false;
  const staged = stagingName(lease.key, lease.fence);
  try {
    linkSync(source.at(baseName(former.file.name)), directory.at(staged));
    try {
      if (!isFile(look(directory, staged), entry.stamp)) return false;
      lease.check();
      directory.check();
      renameSync(directory.at(staged), directory.at(baseName(file.name)));
      return true;
    } finally {
      remove(directory, staged);
    }
  } catch (error) {
    const code = errnoCode(error) ?? "";
    if (/^(EPERM|EXDEV|EMLINK|ENOTSUP|EOPNOTSUPP|ENOSYS)$/.test(code)) return false;
    // Either name is gone: the file's, or the staged one, which a successor removes.
    if (code === "ENOENT" && !look(source, baseName(former.file.name))) return false;
    if (code === "ENOENT") throw new TransferError("locked", `another worker has taken over ${file.path}`);
    throw fileError(error, `move ${former.file.path} to ${file.path}`);
  } finally {
    tree.release(source);
  }
}

function look(directory: Directory, name: string): BigIntStats | undefined {
  return lstatSync(directory.at(name), { bigint: true, throwIfNoEntry: false });
}

function isFile(stat: BigIntStats | undefined, stamp: string | undefined): boolean {
  return stat?.isFile() === true && statStamp(stat) === stamp;
}
