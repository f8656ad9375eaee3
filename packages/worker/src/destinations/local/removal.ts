import { type BigIntStats, lstatSync, mkdirSync, renameSync, rmdirSync, unlinkSync } from "node:fs";
import { errnoCode, fileError, TransferError } from "@drover/shared/errors";
import { statStamp } from "@drover/shared/protocol/catalog-entry";
import type { Directory } from "@drover/shared/storage/local/directory";
import { discardEmpty, type LocalTree, putBack } from "@drover/shared/storage/local/tree";
import { stagingName } from "@drover/shared/storage/staging-name";
import type { LocalBackup } from "./backup.js";

/**
 * Removes one file of a local tree. First the file is taken away: it is moved to a directory whose name contains the
 * fence. A successor removes that directory before it does anything else, so a worker that has lost its lease can take
 * nothing away. Then the file is looked at again, and put back if it is another version than the one to remove. It
 * keeps its name, so that a later sweep can put it back (see LocalTree.sweep).
 */
export class LocalRemoval {
  readonly #directory: Directory | undefined;
  readonly #base: string;
  /** Name of the directory that has the taken file, which we or a predecessor that died has put there. */
  #taken: string | undefined;

  /**
   * @param name of the file in its tree.
   * @param version stamp of the version to remove, see statStamp.
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

  /**
   * Makes sure that no predecessor takes anything away from now on. Continues with a file that one has taken.
   *
   * @param predecessors fences of the former holders of the lease.
   * @throws TransferError
   */
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
   * @param check called last of all. Throws if the lease is not ours any more.
   * @returns false if there is no file.
   * @throws TransferError class `changed` if there is another version, `locked` if a successor has fenced us off.
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

  /** The stamp of the file in its place with the time of its last change; undefined if there is none. */
  wholeStamp(): string | undefined {
    const stat = this.#look(this.#base);
    return stat && `${statStamp(stat)}:${stat.ctimeNs}`;
  }

  #putBack(staged: string): void {
    putBack(this.#directory as Directory, staged, this.#base);
  }

  /** Puts the taken file back to its place. */
  putBack(): void {
    const staged = this.#taken as string;
    this.#taken = undefined;
    this.#putBack(staged);
  }

  /**
   * Drops the taken file, or moves it to `backup`.
   *
   * @param durable whether the directories are synced.
   * @throws TransferError if it could not be kept; then it is back in its place.
   */
  async finish(backup: LocalBackup | undefined, durable: boolean): Promise<void> {
    const directory = this.#directory as Directory;
    const staged = this.#taken as string;
    const taken = directory.at(`${staged}/${this.#base}`);
    try {
      if (backup) await backup.moveHere(taken, this.name, this.fence, durable);
      else unlinkSync(taken);
    } catch (error) {
      this.putBack();
      throw fileError(error, backup ? `move ${this.name} to ${backup.tree.root}` : `remove ${this.name}`);
    }
    this.#taken = undefined;
    discardEmpty(directory.at(staged));
    if (durable) await directory.sync();
  }

  /**
   * Removes the directories that are empty now, up to the root. This also does what a predecessor that died has left
   * undone.
   */
  prune(): void {
    const parts = this.name.split("/");
    for (parts.pop(); parts.length > 0; parts.pop()) {
      const parent = this.tree.find(parts.join("/"));
      if (!parent) continue;
      try {
        rmdirSync(parent.at(parts.at(-1) as string));
      } catch {
        return; // it stays, because something is in it or it is not ours to remove
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
