import { randomBytes } from "node:crypto";
import {
  type BigIntStats,
  linkSync,
  lstatSync,
  mkdirSync,
  opendirSync,
  readdirSync,
  renameSync,
  rmdirSync,
  statSync,
  unlinkSync,
} from "node:fs";
import { basename, dirname, join } from "node:path";
import { errnoCode, fileError, TransferError } from "@drover/shared/errors";
import { failpoint } from "@drover/shared/failpoint";
import { localVersion } from "@drover/shared/storage/local/source";

/** Names of directories that files are taken away to: names of staging files, so that no listing enters them. */
const TAKEN = /^\.drover-mv[A-Za-z0-9_-]{14}$/;

/**
 * Removes a local file if it is the version that was copied. It is taken away first, to a directory beside it, and looked at
 * once more: whoever replaces it just then loses nothing.
 *
 * @param version of the copied file, see localVersion.
 * @returns false if there is no file.
 * @throws TransferError class `changed` for another version, which stays.
 */
export function removeLocal(path: string, version: string): boolean {
  const there = look(path);
  if (!there) return false;
  // A link stands for the file that it leads to.
  const file = there.isSymbolicLink() ? statSync(path, { bigint: true, throwIfNoEntry: false }) : there;
  if (!file?.isFile() || localVersion(file) !== version) throw changed(path);
  const directory = join(dirname(path), `.drover-mv${randomBytes(11).toString("base64url").slice(0, 14)}`);
  const taken = join(directory, basename(path));
  try {
    mkdirSync(directory, 0o700);
    renameSync(path, taken);
  } catch (error) {
    discardEmpty(directory);
    if (errnoCode(error) === "ENOENT") return false; // another mv was faster
    throw fileError(error, `remove ${path}`);
  }
  failpoint("taken");
  const now = look(taken);
  if (now && !isSame(now, there)) {
    putBack(directory, basename(path));
    throw changed(path);
  }
  try {
    unlinkSync(taken);
  } catch (error) {
    // Another mv has put it back, since it took us for one that was killed: it is at its place.
    if (errnoCode(error) !== "ENOENT") throw fileError(error, `remove ${path}`);
  }
  discardEmpty(directory);
  failpoint("removed");
  return true;
}

/** A rename changes nothing but the time of the last change. */
function isSame(one: BigIntStats, other: BigIntStats): boolean {
  const { dev, ino, size, mtimeNs } = other;
  return one.dev === dev && one.ino === ino && one.size === size && one.mtimeNs === mtimeNs;
}

function changed(path: string): TransferError {
  return new TransferError("changed", `${path} changed since it was copied`, { permanent: true });
}

function look(path: string): BigIntStats | undefined {
  return lstatSync(path, { bigint: true, throwIfNoEntry: false });
}

/** Puts a taken file back to its place. Where another one is there by now, both stay. */
function putBack(directory: string, name: string): void {
  const [taken, place] = [join(directory, name), join(dirname(directory), name)];
  try {
    linkSync(taken, place);
    unlinkSync(taken);
  } catch (error) {
    if (errnoCode(error) === "EEXIST")
      throw new TransferError("changed", `${place} was replaced, and its former version is ${taken}`, {
        permanent: true,
      });
    if (look(place) || !look(taken)) return;
    try {
      renameSync(taken, place); // no hard links here
    } catch (failed) {
      throw fileError(failed, `put back ${place}: it is ${taken}`);
    }
  }
  discardEmpty(directory);
}

function discardEmpty(directory: string): void {
  try {
    rmdirSync(directory);
  } catch {
    // something is in it, or it is gone
  }
}

/**
 * Puts back what a killed removal has taken away, so that it is a source again.
 *
 * @param source a file, or a directory with all that is below it.
 * @param warn told of what could not be put back.
 */
export function putBackTaken(source: string, warn: (message: string) => void): void {
  const isDirectory = statSync(source, { throwIfNoEntry: false })?.isDirectory() === true;
  if (isDirectory) putBackBelow(source, undefined, warn);
  else putBackBelow(dirname(source), basename(source), warn);
}

/** @param only the one file that is put back; undefined for all, and those of directories below, too. */
function putBackBelow(directory: string, only: string | undefined, warn: (message: string) => void): void {
  for (const { name, isDirectory } of entriesOf(directory)) {
    if (!isDirectory) continue;
    const path = join(directory, name);
    if (!TAKEN.test(name)) {
      if (only === undefined) putBackBelow(path, undefined, warn);
      continue;
    }
    try {
      for (const taken of readdirSync(path)) if (only === undefined || only === taken) putBack(path, taken);
    } catch (error) {
      if (errnoCode(error) !== "ENOENT") warn(fileError(error, `put back what is in ${path}`).message);
    }
    discardEmpty(path);
  }
}

/** Removes directories that are empty, or have only such in them, the given one too. Links are not followed. */
export function pruneEmpty(directory: string): void {
  for (const { name, isDirectory } of entriesOf(directory))
    if (isDirectory) pruneEmpty(join(directory, name));
  if (directory !== process.cwd()) discardEmpty(directory);
}

/** The entries of a directory one by one; none where it cannot be read: the listing says so. */
function* entriesOf(directory: string): Generator<{ name: string; isDirectory: boolean }> {
  let opened: ReturnType<typeof opendirSync>;
  try {
    opened = opendirSync(directory);
  } catch {
    return;
  }
  try {
    for (let entry = opened.readSync(); entry; entry = opened.readSync())
      yield { name: entry.name, isDirectory: entry.isDirectory() };
  } finally {
    opened.closeSync();
  }
}
