import {
  closeSync,
  constants,
  fchmodSync,
  fchownSync,
  fstatSync,
  fsyncSync,
  lstatSync,
  openSync,
} from "node:fs";
import { errnoCode, fileError } from "@drover/shared/errors";
import { failpoint } from "@drover/shared/failpoint";
import type { FileFacts } from "@drover/shared/leave";
import { baseName } from "@drover/shared/paths";
import type { Permissions } from "@drover/shared/permissions";
import { decodeCatalog, statStamp } from "@drover/shared/protocol/catalog-entry";
import type { RunSpec } from "@drover/shared/run";
import { localFacts } from "@drover/shared/storage/local/facts";
import { LocalTree } from "@drover/shared/storage/local/tree";
import { sha256OfFile } from "../../bytes/hash/hash-file.js";
import {
  type Before,
  type Destination,
  type FormerFile,
  type KeptPermissions,
  type Moved,
  notAsItMustBe,
  type Refuse,
  vouchedFor,
  type WriteAttempt,
} from "../destination.js";
import { LocalBackup } from "./backup.js";
import { moveLocal } from "./move.js";
import { LocalRemoval } from "./removal.js";
import { LocalStaging } from "./staging.js";

const { O_NOFOLLOW, O_NONBLOCK, O_RDONLY } = constants;

/** A tree on a local file system. */
export class LocalDestination implements Destination {
  #backup: LocalBackup | undefined;

  /**
   * @param keeps where overwritten and removed files are kept. By default they are not.
   * @param refuse why nothing may be kept there, if so. It is asked again when the directory is opened.
   */
  constructor(
    private readonly tree: LocalTree,
    private readonly keeps?: RunSpec["backup"],
    private readonly refuse: Refuse = () => undefined,
  ) {}

  async before(attempt: WriteAttempt): Promise<Before> {
    const { file, expected, admitted } = attempt;
    const nothing: Before = { entry: undefined, known: "", expected: false };
    const entry = decodeCatalog(admitted.catalog);
    if (!entry && expected === undefined) return nothing;
    const directory = this.tree.find(file.name);
    if (!directory) return nothing;
    try {
      const name = baseName(file.name);
      const stat = lstatSync(directory.at(name), { bigint: true, throwIfNoEntry: false });
      if (!stat?.isFile()) return nothing;
      if (entry && entry.stamp === statStamp(stat)) return vouchedFor(entry, attempt);
      if (expected === undefined) return nothing;
      const sha256 = await sha256OfFile(directory, name);
      if (sha256 !== expected) return nothing;
      // Who has published it may have been killed before it was synced.
      if (attempt.terms.durable) await this.tree.sync(directory);
      const found = { source: "", version: "", sha256, stamp: statStamp(stat), sizeBytes: Number(stat.size) };
      return { entry: found, known: "", expected: true };
    } finally {
      this.tree.release(directory);
    }
  }

  async look({ file }: WriteAttempt): Promise<FileFacts | undefined> {
    const directory = this.tree.find(file.name);
    if (!directory) return undefined;
    try {
      const stat = lstatSync(directory.at(baseName(file.name)), { bigint: true, throwIfNoEntry: false });
      return stat && localFacts(stat, this.tree.path(file.name));
    } finally {
      this.tree.release(directory);
    }
  }

  stage(attempt: WriteAttempt): LocalStaging {
    return new LocalStaging(this.tree, attempt, () => this.#openBackup());
  }

  async permit(
    { file, lease, terms }: WriteAttempt,
    { mode, owner, grants }: Permissions,
  ): Promise<KeptPermissions> {
    const directory = this.tree.find(file.name);
    if (!directory) return { all: false };
    let fd = -1;
    try {
      fd = openSync(directory.at(baseName(file.name)), O_RDONLY | O_NOFOLLOW | O_NONBLOCK);
      lease.check();
      const hasOwner = owner === undefined || changeOwner(fd, owner);
      // A new owner may take bits away.
      if (mode !== undefined) fchmodSync(fd, mode & 0o777);
      if (terms.durable) fsyncSync(fd);
      const hasMode = mode === undefined || (fstatSync(fd).mode & 0o777) === (mode & 0o777);
      return { all: hasOwner && hasMode && grants === undefined };
    } catch (error) {
      if (isWithoutPermissions(error)) return { all: false };
      throw fileError(error, `change the permissions of ${file.path}`);
    } finally {
      if (fd >= 0) closeSync(fd);
      this.tree.release(directory);
    }
  }

  async move(attempt: WriteAttempt, former: FormerFile): Promise<Moved | undefined> {
    if (this.keeps) return undefined;
    return await moveLocal(this.tree, attempt, former);
  }

  async remove({ file, lease, admitted, terms, must }: WriteAttempt, stamp: string): Promise<void> {
    const removal = new LocalRemoval(this.tree, file.name, stamp, lease.key, lease.fence);
    try {
      removal.adopt(admitted.predecessors);
      const lastLook = () => {
        lease.check();
        const whole = must?.is === "version" ? must.whole : undefined;
        if (whole !== undefined && removal.wholeStamp() !== whole) throw notAsItMustBe(file.path);
      };
      if (removal.take(lastLook)) {
        failpoint("taken");
        await removal.finish(this.#backupFor(removal), terms.durable);
      }
      failpoint("removed");
      removal.prune();
    } finally {
      removal.close();
    }
  }

  /** @throws TransferError if there is none to be had; then the file is back in its place. */
  #backupFor(removal: LocalRemoval): LocalBackup | undefined {
    try {
      return this.#openBackup();
    } catch (error) {
      removal.putBack();
      throw error;
    }
  }

  /** @throws TransferError class `path` if this worker must not write there. */
  #openBackup(): LocalBackup | undefined {
    if (!this.keeps || this.#backup) return this.#backup;
    const { dir, suffix } = this.keeps;
    this.#backup = new LocalBackup(dir === undefined ? this.tree : this.#openTree(dir), suffix);
    return this.#backup;
  }

  #openTree(root: string): LocalTree {
    const refused = this.refuse(root);
    if (refused) throw refused;
    const tree = new LocalTree(root);
    const refusedNow = this.refuse(tree.root); // a link may have appeared on the way to it
    if (refusedNow) throw refusedNow;
    return tree;
  }

  close(): void {
    if (this.#backup?.tree !== this.tree) this.#backup?.tree.close();
  }
}

/** @param owner `uid` or `uid:gid`. @returns false where it is somebody else, or may not be changed. */
function changeOwner(fd: number, owner: string): boolean {
  const ids = /^(\d{1,10})(?::(\d{1,10}))?$/.exec(owner);
  if (!ids) return false;
  const stat = fstatSync(fd);
  const uid = Number(ids[1]);
  const gid = ids[2] === undefined ? stat.gid : Number(ids[2]);
  if (uid === stat.uid && gid === stat.gid) return true;
  try {
    fchownSync(fd, uid, gid);
    return true;
  } catch (error) {
    if (errnoCode(error) === "EPERM" || errnoCode(error) === "EINVAL" || isWithoutPermissions(error))
      return false;
    throw error;
  }
}

/** Whether the file system has no permissions. */
function isWithoutPermissions(error: unknown): boolean {
  return /^(ENOTSUP|EOPNOTSUPP|ENOSYS)$/.test(errnoCode(error) ?? "");
}
