import {
  type BigIntStats,
  closeSync,
  constants,
  fsync,
  futimesSync,
  lstatSync,
  mkdirSync,
  openSync,
  renameSync,
  rmdirSync,
  rmSync,
  unlinkSync,
} from "node:fs";
import { copyFile } from "node:fs/promises";
import { promisify } from "node:util";
import { errnoCode, fileError, TransferError } from "@drover/shared/errors";
import { statStamp } from "@drover/shared/protocol/catalog-entry";
import {
  type Directory,
  discardEmpty,
  type LocalTree,
  putBack,
  stagingName,
} from "@drover/shared/storage/local/tree";

const fsyncAsync = promisify(fsync);

/**
 * Removes one file of a local tree. It is first taken away, to a directory whose name carries the fence and which a
 * successor removes before it does anything else: so who lost the lease takes nothing away any more. What was taken is
 * looked at again, and put back where it is not the version that was meant. It keeps its name, so that whoever finds it
 * when nobody else is left can put it back (see LocalTree.sweep).
 */
export class LocalRemoval {
  readonly #directory: Directory | undefined;
  readonly #base: string;
  /** Directory with what was taken, by us or by a predecessor that died. */
  #taken: string | undefined;

  /**
   * @param name of the destination in its tree.
   * @param version stamp of what may be removed, see statStamp.
   * @param lease key of the lease.
   */
  constructor(
    private readonly tree: LocalTree,
    private readonly name: string,
    private readonly version: string,
    private readonly lease: string,
    private readonly fence: string,
  ) {
    this.#directory = tree.find(name);
    this.#base = name.slice(name.lastIndexOf("/") + 1);
  }

  /** Makes sure that no predecessor takes anything away from now on, and goes on with what one has taken. */
  adopt(predecessors: string[]): void {
    const directory = this.#directory;
    if (!directory) return;
    for (const fence of predecessors) {
      const staged = stagingName(this.lease, fence);
      const stat = lstatSync(directory.at(staged), { throwIfNoEntry: false });
      if (stat?.isDirectory()) {
        const taken = this.#look(`${staged}/${this.#base}`);
        if (!taken) discardEmpty(directory.at(staged));
        else if (taken.isFile() && statStamp(taken) === this.version) this.#taken = staged;
        else this.#putBack(staged);
      } else if (stat) unlinkSync(directory.at(staged));
    }
  }

  /**
   * Takes the file away from its place.
   *
   * @param check called last of all: throws where the lease is not ours any more.
   * @returns false where it is not there.
   * @throws TransferError class `changed` where there is another version.
   */
  take(check: () => void): boolean {
    const directory = this.#directory;
    if (!directory) return false;
    if (this.#taken !== undefined) return true;
    const there = this.#look(this.#base);
    if (!there) return false;
    this.#compare(there);
    const staged = stagingName(this.lease, this.fence);
    try {
      mkdirSync(directory.at(staged), 0o700);
      check();
      directory.check();
      renameSync(directory.at(this.#base), directory.at(`${staged}/${this.#base}`));
    } catch (error) {
      discardEmpty(directory.at(staged));
      if (errnoCode(error) === "ENOENT")
        throw new TransferError("locked", `another worker has taken over ${this.tree.path(this.name)}`);
      throw fileError(error, `remove ${this.tree.path(this.name)}`);
    }
    try {
      this.#compare(this.#look(`${staged}/${this.#base}`));
    } catch (error) {
      this.#putBack(staged);
      throw error;
    }
    this.#taken = staged;
    return true;
  }

  #putBack(staged: string): void {
    putBack(this.#directory as Directory, staged, this.#base);
  }

  /** Drops what was taken, or moves it to the same name below `backup`. */
  async finish(backup: LocalTree | undefined, durable: boolean): Promise<void> {
    const directory = this.#directory as Directory;
    const staged = this.#taken as string;
    const taken = directory.at(`${staged}/${this.#base}`);
    try {
      if (backup) await this.#keep(taken, backup, durable);
      else unlinkSync(taken);
    } catch (error) {
      this.#taken = undefined;
      this.#putBack(staged);
      throw fileError(error, backup ? `move ${this.name} to ${backup.root}` : `remove ${this.name}`);
    }
    this.#taken = undefined;
    discardEmpty(directory.at(staged));
    if (durable) await directory.sync();
  }

  async #keep(taken: string, backup: LocalTree, durable: boolean): Promise<void> {
    const directory = backup.directoryOf(this.name);
    try {
      try {
        renameSync(taken, directory.at(this.#base));
      } catch (error) {
        if (errnoCode(error) !== "EXDEV") throw error;
        await backup.sweep(directory); // of those who were killed while they copied
        await this.#copy(taken, directory, durable);
      }
      if (durable) await directory.sync();
    } finally {
      backup.release(directory);
    }
  }

  /** To another file system: whole, then under its name, then removed here. */
  async #copy(taken: string, directory: Directory, durable: boolean): Promise<void> {
    const staged = directory.at(stagingName(this.lease, this.fence));
    const stat = lstatSync(taken);
    try {
      await copyFile(taken, staged, constants.COPYFILE_FICLONE);
      const fd = openSync(staged, constants.O_RDONLY | constants.O_NOFOLLOW); // the file may be read-only
      try {
        if (durable) await fsyncAsync(fd);
        renameSync(staged, directory.at(this.#base));
        futimesSync(fd, stat.atime, stat.mtime); // only now: with an old date it would look abandoned
        if (durable) await fsyncAsync(fd);
      } finally {
        closeSync(fd);
      }
      if (durable) await directory.sync(); // before it is gone here
    } catch (error) {
      rmSync(staged, { force: true });
      throw error;
    }
    unlinkSync(taken);
  }

  /** Removes the directories that the file was the last of, up to the root; a predecessor may not have come to that. */
  prune(): void {
    const parts = this.name.split("/");
    for (parts.pop(); parts.length > 0; parts.pop()) {
      const parent = this.tree.find(parts.join("/"));
      if (!parent) continue;
      try {
        rmdirSync(parent.at(parts.at(-1) as string));
      } catch {
        return; // something is in it, or it is not ours to remove: it stays
      } finally {
        this.tree.release(parent);
      }
    }
  }

  #look(name: string): BigIntStats | undefined {
    return lstatSync((this.#directory as Directory).at(name), { bigint: true, throwIfNoEntry: false });
  }

  #compare(stat: BigIntStats | undefined): void {
    if (stat?.isFile() && statStamp(stat) === this.version) return;
    const why = `${this.tree.path(this.name)} changed since it was found to be removed: it is left alone`;
    throw new TransferError("changed", why, { permanent: true });
  }

  close(): void {
    if (this.#directory) this.tree.release(this.#directory);
  }
}
