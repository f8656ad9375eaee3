import {
  type BigIntStats,
  closeSync,
  constants,
  fstatSync,
  linkSync,
  lstatSync,
  mkdirSync,
  openSync,
  readdirSync,
  realpathSync,
  renameSync,
  rmdirSync,
  type Stats,
  unlinkSync,
} from "node:fs";
import { opendir } from "node:fs/promises";
import { join } from "node:path";
import { errnoCode, fileError, TransferError } from "../../errors.js";
import { makeDirectory } from "../../make-directory.js";
import { baseName, STAGING_NAME } from "../../paths.js";
import { statStamp } from "../../protocol/catalog-entry.js";
import type { EntryKind, Tree } from "../tree.js";
import { Directory, LINUX, leadsTo, syncParents } from "./directory.js";
import { LocalNames } from "./names.js";

const { O_RDONLY, O_DIRECTORY, O_NOFOLLOW } = constants;
/** Most directories kept open in the cache. */
const OPEN_DIRECTORIES = 128;
/** Most directories whose way from the root is remembered as synced. */
const REACHED_DIRECTORIES = 16_384;
/**
 * Time in ms for which an open directory is trusted before its path is checked again; each commit checks
 * anyway.
 */
const RECHECK_MS = 1000;
/** Age in ms from which untouched staging counts as abandoned. */
const ABANDONED_MS = 25 * 3_600_000;

/**
 * A destination tree on a local file system. Nothing outside of its root is ever written or removed: the root
 * is the directory that it was when the tree was opened, and every component below it is opened without
 * following links.
 */
export class LocalTree extends LocalNames implements Tree {
  /** Identify the root's directory, wherever its path leads later. */
  readonly #dev: bigint;
  readonly #ino: bigint;
  readonly #open = new Map<string, Directory>();
  readonly #swept = new Set<string>();
  /** Syncs of the way from the root to a directory, by the directory's id; the oldest first. */
  readonly #reached = new Map<string, Promise<void>>();

  /** @throws TransferError if the root cannot be created or is not a directory. */
  constructor(root: string) {
    const { path, dev, ino } = makeRoot(root);
    super(path);
    this.#dev = dev;
    this.#ino = ino;
  }

  isAsLeft(name: string, stamp: string): boolean {
    const stat = this.stat(this.path(name));
    return stat?.isFile() === true && statStamp(stat) === stamp;
  }

  look(name: string): EntryKind {
    const directory = this.find(name);
    if (!directory) return "nothing";
    try {
      const stat = lstatSync(directory.at(baseName(name)), { throwIfNoEntry: false });
      if (!stat) return "nothing";
      return stat.isDirectory() ? "directory" : isSpecial(stat) ? "special" : "file";
    } finally {
      this.release(directory);
    }
  }

  /** Stat of a destination (absolute path), without following a link; undefined if it does not exist. */
  stat(path: string) {
    try {
      return lstatSync(path, { bigint: true, throwIfNoEntry: false });
    } catch (error) {
      if (errnoCode(error) === "ENOTDIR") return undefined;
      throw fileError(error, `look at ${path}`);
    }
  }

  /**
   * Opens (or creates) the directory of a destination. Give it back with {@link release}.
   *
   * @param name relative to the root, checked by {@link safeRelative}.
   * @throws TransferError class `path` if a component is a link or a file, or the root was moved or replaced.
   */
  directoryOf(name: string): Directory {
    return this.#cached(name, openOrMake) as Directory;
  }

  #cached(name: string, open: OpenStep): Directory | undefined {
    const slash = name.lastIndexOf("/");
    const relative = slash < 0 ? "" : name.slice(0, slash);
    let directory = this.#open.get(relative);
    if (directory && performance.now() - directory.checkedAt > RECHECK_MS) {
      try {
        directory.check();
      } catch {
        this.#drop(relative, directory);
        directory = undefined;
      }
    }
    if (directory) {
      this.#open.delete(relative); // reinserted below as the most recently used
    } else {
      directory = this.#openDirectory(relative, open);
      if (!directory) return undefined;
      if (this.#open.size >= OPEN_DIRECTORIES) {
        const [oldest] = this.#open;
        if (oldest) this.#drop(...oldest);
      }
    }
    this.#open.set(relative, directory);
    directory.users++;
    return directory;
  }

  /**
   * Opens the directory of a destination if it exists, as {@link directoryOf}.
   *
   * @returns undefined if it does not exist.
   */
  find(name: string): Directory | undefined {
    const slash = name.lastIndexOf("/");
    const directory = this.#openDirectory(slash < 0 ? "" : name.slice(0, slash), openThere);
    if (!directory) return undefined;
    directory.dropped = true; // not cached
    directory.users++;
    return directory;
  }

  /** Drops a directory whose path leads elsewhere from the cache, so that it is opened again. */
  forget(directory: Directory): void {
    for (const [relative, open] of this.#open) if (open === directory) this.#drop(relative, directory);
  }

  release(directory: Directory): void {
    directory.users--;
    if (directory.dropped && directory.users === 0) closeSync(directory.fd);
  }

  #drop(relative: string, directory: Directory): void {
    this.#open.delete(relative);
    directory.dropped = true;
    if (directory.users === 0) closeSync(directory.fd);
  }

  #openDirectory(relative: string, open: OpenStep): Directory | undefined {
    let path = this.root;
    let fd = -1;
    try {
      fd = openSync(path, O_RDONLY | O_DIRECTORY);
      this.#checkRoot(fd);
      for (const component of relative === "" ? [] : relative.split("/")) {
        const child = LINUX ? `/proc/self/fd/${fd}/${component}` : join(path, component);
        path = join(path, component);
        const next = open(child);
        closeSync(fd);
        fd = next ?? -1;
        if (next === undefined) return undefined;
      }
      const stat = fstatSync(fd, { bigint: true });
      return new Directory(path, fd, stat);
    } catch (error) {
      if (fd >= 0) closeSync(fd);
      if (errnoCode(error) === "ELOOP" || errnoCode(error) === "ENOTDIR") {
        throw new TransferError("path", `${path} is a link or a file, where a directory is needed`, {
          permanent: true,
        });
      }
      throw fileError(error, `${open === openOrMake ? "make" : "open"} the directory ${path}`);
    }
  }

  /**
   * Makes what was renamed or removed in a directory durable, and the directory itself. It or one above it may be new, and
   * who has made it, be it another worker, may not have synced it yet. So the way from the root to it is synced as well,
   * but only once for each directory.
   *
   * @throws TransferError if it cannot be synced, or was removed meanwhile.
   */
  async sync(directory: Directory): Promise<void> {
    // All of them end before the caller may close the directory.
    for (const ended of await Promise.allSettled([directory.sync(), this.#reach(directory)]))
      if (ended.status === "rejected") throw fileError(ended.reason, `sync ${directory.path}`);
  }

  #reach(directory: Directory): Promise<void> {
    const { id } = directory;
    const known = this.#reached.get(id);
    if (known) return known;
    const reaching = this.#syncWay(directory.path);
    reaching.catch(() => this.#reached.delete(id)); // whoever comes next tries again
    const [oldest] = this.#reached.keys();
    if (oldest !== undefined && this.#reached.size >= REACHED_DIRECTORIES) this.#reached.delete(oldest);
    this.#reached.set(id, reaching);
    return reaching;
  }

  async #syncWay(path: string): Promise<void> {
    if (path === this.root) return syncParents(path, this.#dev);
    const parent = this.#cached(path.slice(this.path("").length), openThere);
    if (!parent) throw new TransferError("io", `${path} was removed meanwhile`);
    try {
      await this.sync(parent);
    } finally {
      this.release(parent);
    }
  }

  /** Permanent, because it is unknown whether the user wants the files at the new place. */
  #checkRoot(fd: number): void {
    const stat = fstatSync(fd, { bigint: true });
    if (stat.ino === this.#ino && stat.dev === this.#dev && leadsTo(this.root, fd, stat)) return;
    throw new TransferError("path", `${this.root} was moved or replaced since it was opened`, {
      permanent: true,
    });
  }

  /**
   * Removes abandoned staging, once per directory and process. Files that were taken for removal are put
   * back: it is unknown whether they were backed up, and the next --delete finds them again.
   */
  async sweep(directory: Directory): Promise<void> {
    if (this.#swept.has(directory.path)) return;
    this.#swept.add(directory.path);
    try {
      for await (const entry of await opendir(directory.at("."))) {
        if (!STAGING_NAME.test(entry.name)) continue;
        const stat = lstatSync(directory.at(entry.name), { throwIfNoEntry: false });
        if (!stat || Date.now() - touchedMs(stat) <= ABANDONED_MS) continue;
        if (stat.isFile()) remove(directory, entry.name);
        else if (stat.isDirectory()) {
          for (const name of readdirSync(directory.at(entry.name))) putBack(directory, entry.name, name);
          discardEmpty(directory.at(entry.name));
        }
      }
    } catch (error) {
      // If the file system reports no entry types, Node stats each entry, which fails for staging that is
      // gone by then. The next process sweeps what is left; no file fails because of it.
      if (errnoCode(error) === undefined && !(error instanceof TransferError)) throw error;
    }
  }

  close(): void {
    for (const [relative, directory] of this.#open) this.#drop(relative, directory);
  }
}

/** Makes the root of a tree if it is not there. @throws TransferError if it cannot be made or is not a directory. */
function makeRoot(root: string): { path: string; dev: bigint; ino: bigint } {
  try {
    makeDirectory(root);
    const path = realpathSync(root);
    const stat = lstatSync(path, { bigint: true });
    if (!stat.isDirectory()) throw new TransferError("path", `${root} is not a directory`);
    return { path, dev: stat.dev, ino: stat.ino };
  } catch (error) {
    throw fileError(error, `use ${root} as a destination`);
  }
}

/** Opens one directory on the way from the root; undefined if it is not there and is not to be made. */
type OpenStep = (path: string) => number | undefined;

function openThere(path: string): number | undefined {
  try {
    return openSync(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW);
  } catch (error) {
    if (errnoCode(error) === "ENOENT") return undefined;
    throw error;
  }
}

function openOrMake(path: string): number {
  const flags = O_RDONLY | O_DIRECTORY | O_NOFOLLOW;
  try {
    return openSync(path, flags);
  } catch (error) {
    if (errnoCode(error) !== "ENOENT") throw error;
  }
  try {
    mkdirSync(path);
  } catch (error) {
    if (errnoCode(error) !== "EEXIST") throw error; // another file's worker has just created it
  }
  return openSync(path, flags);
}

/**
 * When a staging file was last written to. One whose modification time was set to that of its source, shortly before it is
 * published, tells it by its access time. Otherwise that says nothing: whoever reads all files changes it.
 */
function touchedMs({ mtimeMs, birthtimeMs, atimeMs }: Stats): number {
  return mtimeMs < birthtimeMs ? atimeMs : mtimeMs;
}

/** Removes an entry if it exists. */
export function remove(directory: Directory, name: string): void {
  try {
    unlinkSync(directory.at(name));
  } catch (error) {
    const code = errnoCode(error) ?? "";
    if (/^(EISDIR|EPERM)$/.test(code) && discardEmpty(directory.at(name))) return;
    if (code !== "ENOENT") throw fileError(error, `remove ${join(directory.path, name)}`);
  }
}

/**
 * Removes an empty directory.
 *
 * @returns false if it is not a directory; true if it is gone, or was kept because it is not empty.
 */
export function discardEmpty(path: string): boolean {
  try {
    rmdirSync(path);
    return true;
  } catch (error) {
    return /^(ENOENT|ENOTEMPTY|EEXIST)$/.test(errnoCode(error) ?? "");
  }
}

/**
 * Puts a file that was taken for removal back, unless it has been written again, and removes its staging
 * directory.
 *
 * @param staged directory that contains the file under its name.
 */
export function putBack(directory: Directory, staged: string, name: string): void {
  const taken = directory.at(`${staged}/${name}`);
  try {
    try {
      linkSync(taken, directory.at(name));
      unlinkSync(taken);
    } catch (error) {
      if (errnoCode(error) === "ENOENT") return; // it is backed up already
      // Hard links may be forbidden for files of other users and unsupported by the file system.
      if (lstatSync(directory.at(name), { throwIfNoEntry: false })) unlinkSync(taken);
      else renameSync(taken, directory.at(name));
    }
  } catch (error) {
    throw fileError(
      error,
      `put back ${join(directory.path, name)}: it is ${join(directory.path, staged, name)}`,
    );
  }
  discardEmpty(directory.at(staged));
}

/**
 * Renames the staged file to its destination. A reader sees the complete old or the complete new file.
 *
 * @param lastLook called right before the rename.
 */
export function publish(
  directory: Directory,
  staging: string,
  name: string,
  lastLook: () => void = () => {},
): void {
  directory.check();
  const base = name.slice(name.lastIndexOf("/") + 1);
  refuseSpecial(directory, base);
  lastLook();
  try {
    renameSync(directory.at(staging), directory.at(base));
  } catch (error) {
    if (errnoCode(error) === "ENOENT") {
      throw new TransferError("locked", `another worker has taken over ${join(directory.path, base)}`, {
        verdict: "ok",
      });
    }
    if (errnoCode(error) === "EISDIR" || errnoCode(error) === "ENOTEMPTY" || errnoCode(error) === "EEXIST") {
      throw new TransferError("path", `the destination ${join(directory.path, base)} is a directory`, {
        permanent: true,
      });
    }
    throw fileError(error, `write ${join(directory.path, base)}`);
  }
}

/** A rename would replace a device such as `/dev/null`. @throws TransferError class `path` if one is there. */
function refuseSpecial(directory: Directory, base: string): void {
  const stat = lstatSync(directory.at(base), { throwIfNoEntry: false });
  if (stat && isSpecial(stat)) {
    const path = join(directory.path, base);
    throw new TransferError("path", `the destination ${path} is a device, pipe or socket`, {
      permanent: true,
    });
  }
}

/** Whether it is a device, pipe or socket. */
export function isSpecial(stat: Stats | BigIntStats): boolean {
  return !stat.isFile() && !stat.isDirectory() && !stat.isSymbolicLink();
}
