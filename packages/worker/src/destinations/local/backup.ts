import {
  type BigIntStats,
  closeSync,
  constants,
  fstatSync,
  fsync,
  futimesSync,
  linkSync,
  lstatSync,
  openSync,
  readlinkSync,
  renameSync,
  rmSync,
  symlinkSync,
} from "node:fs";
import { copyFile } from "node:fs/promises";
import { promisify } from "node:util";
import { errnoCode, fileError, TransferError } from "@drover/shared/errors";
import { failpoint } from "@drover/shared/failpoint";
import { baseName } from "@drover/shared/paths";
import { statStamp } from "@drover/shared/protocol/catalog-entry";
import type { Directory } from "@drover/shared/storage/local/directory";
import { isSpecial, type LocalTree, remove } from "@drover/shared/storage/local/tree";
import { stagingName } from "@drover/shared/storage/staging-name";

const { COPYFILE_EXCL, COPYFILE_FICLONE, O_NOFOLLOW, O_NONBLOCK, O_RDONLY } = constants;
const fsyncAsync = promisify(fsync);

/** A file that is about to be replaced. */
export interface Former {
  /** Its directory in the destination. */
  directory: Directory;
  /** Its name in the destination tree. */
  name: string;
  /** Fence of the lease under which it is replaced. */
  fence: string;
  /** Whether the copy and its directories are synced. */
  durable: boolean;
}

/** Keeps files that a run overwrites or removes: in a tree of their own, or beside the new ones. */
export class LocalBackup {
  /**
   * @param tree that keeps them.
   * @param suffix added to their names.
   */
  constructor(
    readonly tree: LocalTree,
    private readonly suffix: string,
  ) {}

  /** Name of the staging file, in the directory that keeps the file. */
  #staged(name: string, fence: string): string {
    return stagingName(this.tree.leaseOf(name + this.suffix), fence);
  }

  /**
   * Makes sure that no former holder of the lease replaces what is kept from now on.
   *
   * @throws TransferError
   */
  fenceOff(name: string, predecessors: string[]): void {
    if (predecessors.length === 0) return;
    const directory = this.tree.find(name);
    if (!directory) return;
    try {
      for (const fence of predecessors) remove(directory, this.#staged(name, fence));
    } finally {
      this.tree.release(directory);
    }
  }

  /**
   * Keeps a file that stays in its place until it is replaced: under a second name where the file system allows that, else
   * as a copy. It replaces what was kept by that name before.
   *
   * @param check called when what is kept cannot be a successor's file any more if the lease is still ours. Throws if
   *   it is not.
   * @returns its stamp; undefined if there is no file.
   * @throws TransferError class `changed` if somebody writes to it meanwhile, `locked` if a successor has fenced us off.
   */
  async keep({ directory, name, fence, durable }: Former, check: () => void): Promise<string | undefined> {
    const from = directory.at(baseName(name));
    const stat = look(from);
    if (!stat || stat.isDirectory() || isSpecial(stat)) return undefined;
    let place: Directory | undefined;
    try {
      place = this.tree.directoryOf(name);
      await this.tree.sweep(place);
      const kept = place.at(baseName(name) + this.suffix);
      const before = look(kept);
      // Otherwise a predecessor has kept it already, under this second name.
      if (before?.ino !== stat.ino || before.dev !== stat.dev) {
        const staged = place.at(this.#staged(name, fence));
        const finish = await stageKept(from, staged, durable);
        failpoint("keep");
        try {
          check();
          place.check();
          renameSync(staged, kept);
        } catch (error) {
          rmSync(staged, { force: true });
          throw errnoCode(error) === "ENOENT" ? takenOver(this.tree.path(name)) : error;
        }
        await finish(kept);
      }
      if (durable) await this.tree.sync(place);
      return statStamp(stat);
    } catch (error) {
      if (!look(from)) return undefined; // somebody has removed it
      throw fileError(error, `keep ${directory.path}/${baseName(name)} in ${this.tree.root}`);
    } finally {
      if (place) this.tree.release(place);
    }
  }

  /**
   * Moves a file here that was taken away from its place.
   *
   * @param from its path now.
   * @param name in the destination tree.
   * @param fence of the lease under which it is removed.
   * @param durable whether the directories are synced.
   */
  async moveHere(from: string, name: string, fence: string, durable: boolean): Promise<void> {
    const place = this.tree.directoryOf(name);
    const kept = place.at(baseName(name) + this.suffix);
    try {
      place.check();
      try {
        renameSync(from, kept);
      } catch (error) {
        if (errnoCode(error) !== "EXDEV") throw error;
        await this.tree.sweep(place); // staging files of workers that were killed while they copied
        const staged = place.at(this.#staged(name, fence));
        try {
          const finish = await copyKept(from, staged, durable);
          place.check();
          renameSync(staged, kept);
          await finish(kept);
        } catch (failed) {
          rmSync(staged, { force: true });
          throw failed;
        }
      }
      if (durable) await this.tree.sync(place); // before it is gone at the destination
      rmSync(from, { force: true }); // it is still there if it was copied, or if both names were of the same file
    } finally {
      this.tree.release(place);
    }
  }
}

/** To be called once the staged file has its name. */
type Finish = (path: string) => Promise<void>;

const nothingLeft: Finish = () => Promise.resolve();

/** Gives a file a second name, or copies it if the file system gives it none. */
async function stageKept(from: string, staged: string, durable: boolean): Promise<Finish> {
  rmSync(staged, { force: true });
  try {
    linkSync(from, staged);
    return nothingLeft;
  } catch {
    // Another file system, one without hard links, or a file of another user.
    return await copyKept(from, staged, durable);
  }
}

/** Copies a file, or a link as such. @throws TransferError class `changed` if somebody writes to it meanwhile. */
async function copyKept(from: string, staged: string, durable: boolean): Promise<Finish> {
  const stat = lstatSync(from, { bigint: true });
  if (stat.isSymbolicLink()) {
    symlinkSync(readlinkSync(from), staged);
    return nothingLeft;
  }
  if (!stat.isFile())
    throw new TransferError("io", `${from} is no file: it cannot be kept`, { permanent: true });
  const source = openSync(from, O_RDONLY | O_NOFOLLOW | O_NONBLOCK);
  try {
    const opened = process.platform === "linux" ? `/proc/self/fd/${source}` : from;
    await copyFile(opened, staged, COPYFILE_EXCL | COPYFILE_FICLONE);
    const now = fstatSync(source, { bigint: true });
    if (statStamp(now) !== statStamp(stat))
      throw new TransferError("changed", "another writer changed the file that was to be kept", {
        verdict: "ok",
      });
  } catch (error) {
    rmSync(staged, { force: true });
    throw error;
  } finally {
    closeSync(source);
  }
  if (durable) await sync(staged);
  // Only after the rename, because a sweep would take a staging file with an old date for abandoned.
  return (path) => sync(path, { times: stat, durable });
}

/** Syncs a file, which may be read-only. @param options sets its times before. */
async function sync(
  path: string,
  options: { times?: BigIntStats; durable: boolean } = { durable: true },
): Promise<void> {
  const fd = openSync(path, O_RDONLY | O_NOFOLLOW);
  try {
    const { times, durable } = options;
    if (times) futimesSync(fd, times.atime, times.mtime);
    if (durable) await fsyncAsync(fd);
  } finally {
    closeSync(fd);
  }
}

function look(path: string): BigIntStats | undefined {
  return lstatSync(path, { bigint: true, throwIfNoEntry: false });
}

function takenOver(path: string): TransferError {
  return new TransferError("locked", `another worker has taken over ${path}`, { verdict: "ok" });
}
