import {
  type BigIntStats,
  closeSync,
  constants,
  copyFileSync,
  fchmodSync,
  fstatSync,
  fsync,
  ftruncateSync,
  futimesSync,
  linkSync,
  lstatSync,
  openSync,
  renameSync,
  rmdirSync,
  rmSync,
  writeSync,
  writev,
} from "node:fs";
import { promisify } from "node:util";
import { type ErrorClass, errnoCode, fileError, TransferError } from "@drover/shared/errors";
import { failpoint } from "@drover/shared/failpoint";
import { baseName } from "@drover/shared/paths";
import { statStamp } from "@drover/shared/protocol/catalog-entry";
import type { Directory } from "@drover/shared/storage/local/directory";
import { isSpecial, type LocalTree, publish, remove } from "@drover/shared/storage/local/tree";
import type { Source, SourceEntry } from "@drover/shared/storage/source";
import { stagingName } from "@drover/shared/storage/staging-name";
import { type ResumeRecord, WORTH_RESUMING_BYTES } from "../../attempt/resume-record.js";
import { sha256OfFile } from "../../bytes/hash/hash-file.js";
import {
  notAsItMustBe,
  type OpenedBody,
  type Precondition,
  type Published,
  type Received,
  type Staging,
  type WriteAttempt,
} from "../destination.js";
import type { LocalBackup } from "./backup.js";
import { receiveLocally } from "./receive.js";
import type { StagingFile } from "./staging-file.js";

const { O_CREAT, O_EXCL, O_NOFOLLOW, O_RDWR } = constants;
/** Permission bits of every staging file: whoever resumes it has to read and write it. */
const OWNER_BITS = 0o600;
const fsyncAsync = promisify(fsync);
const writevAsync = promisify(writev);

/** The staged bytes of one file: a file in the directory of the destination, which is renamed when it is published. */
export class LocalStaging implements Staging, StagingFile {
  readonly #name: string;
  readonly directory: Directory;
  /** The file as it was right after it got its name; undefined if somebody had touched it already. */
  published: BigIntStats | undefined;
  #fd = -1;
  #made = false;

  /** @param openBackup gives what keeps the file that is overwritten. By default nothing does. */
  constructor(
    private readonly tree: LocalTree,
    private readonly attempt: WriteAttempt,
    private readonly openBackup: () => LocalBackup | undefined = () => undefined,
  ) {
    const { lease, file } = attempt;
    this.#name = stagingName(lease.key, lease.fence);
    this.directory = tree.directoryOf(file.name);
  }

  get fd(): number {
    return this.#fd;
  }

  /**
   * @param alive whether the predecessor may still run. If so, its file is copied, because it may still write to it.
   */
  adopt(predecessors: string[], noted: ResumeRecord | undefined, alive: boolean): boolean {
    const { lease, terms, file } = this.attempt;
    let adopted = false;
    const record = terms.resume && noted?.strongEtag ? noted : undefined;
    for (const fence of predecessors) {
      const name = stagingName(lease.key, fence);
      if (record?.fence === fence && record.contiguousBytes > 0)
        adopted = this.#takeOver(name, record, alive);
      remove(this.directory, name);
    }
    // After that: who finds its staging gone keeps nothing any more.
    if (predecessors.length > 0) this.openBackup()?.fenceOff(file.name, predecessors);
    return adopted;
  }

  #takeOver(name: string, record: ResumeRecord, alive: boolean): boolean {
    const mine = this.directory.at(this.#name);
    try {
      if (alive) this.#copy(name, mine);
      else renameSync(this.directory.at(name), mine);
      this.#made = true;
      this.#fd = openSync(mine, O_RDWR | O_NOFOLLOW);
      const stat = fstatSync(this.#fd);
      if (stat.isFile() && stat.size >= record.contiguousBytes) {
        // Nobody knows what follows the noted bytes, unless spans of it are noted too.
        if (record.spans.length === 0) ftruncateSync(this.#fd, record.contiguousBytes);
        return true;
      }
    } catch (error) {
      // It is gone, a link, or not ours to write: nothing of it is used.
      if (!/^(ENOENT|ELOOP|EACCES)$/.test(errnoCode(error) ?? ""))
        throw fileError(error, `resume in ${this.directory.path}`);
    }
    this.discard();
    return false;
  }

  /** Copies the staging file of a predecessor. Refuses a link in its place. */
  #copy(name: string, mine: string): void {
    const fd = openSync(this.directory.at(name), constants.O_RDONLY | O_NOFOLLOW);
    try {
      const from = process.platform === "linux" ? `/proc/self/fd/${fd}` : this.directory.at(name);
      copyFileSync(from, mine, constants.COPYFILE_EXCL | constants.COPYFILE_FICLONE);
    } finally {
      closeSync(fd);
    }
  }

  async receive(opened: OpenedBody, source: Source | undefined): Promise<Received> {
    await this.tree.sweep(this.directory);
    return receiveLocally(this.attempt, this, opened, source);
  }

  /** Creates the staging file, empty. A file that was taken over is removed, because it may have another mode. */
  create(mode: number | undefined): void {
    this.discard();
    this.attempt.lease.check();
    try {
      this.#fd = openSync(
        this.directory.at(this.#name),
        O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW,
        (mode ?? 0o666) | OWNER_BITS,
      );
      this.#made = true;
    } catch (error) {
      if (errnoCode(error) === "ENOENT") {
        // Somebody removed the last file in the directory, and the directory with it.
        this.tree.forget(this.directory);
        throw new TransferError("io", `${this.directory.path} was removed meanwhile`, { cause: error });
      }
      throw fileError(error, `write in ${this.directory.path}`);
    }
  }

  /** Writes a whole small file. Synchronous, because the thread pool costs more than a write of a few hundred KiB. */
  writeWhole(chunks: Buffer[], sizeBytes: number): void {
    try {
      let at = 0;
      for (const chunk of chunks) {
        for (let from = 0; from < chunk.length; ) {
          const count = writeSync(this.#fd, chunk, from, chunk.length - from, at);
          from += count;
          at += count;
        }
      }
      if (at !== sizeBytes) throw new TransferError("io", `wrote ${at} of ${sizeBytes} bytes`);
    } catch (error) {
      throw fileError(error, `write in ${this.directory.path}`);
    }
  }

  async write(chunks: Buffer[], atByte: number): Promise<number> {
    let rest = chunks.length > 1024 ? [Buffer.concat(chunks)] : chunks;
    let at = atByte;
    try {
      for (;;) {
        const { bytesWritten } = await writevAsync(this.#fd, rest, at);
        at += bytesWritten;
        const all = rest.reduce((sum, chunk) => sum + chunk.length, 0);
        if (bytesWritten === all) return at;
        // A short write, because of a signal or a disk that is nearly full.
        rest = [Buffer.concat(rest).subarray(bytesWritten)];
      }
    } catch (error) {
      throw fileError(error, `write in ${this.directory.path}`);
    }
  }

  async publish(received: Received, entry: SourceEntry): Promise<Published> {
    const { durable } = this.attempt.terms;
    const same = await this.#sameAsDestination(received, entry);
    if (same !== undefined) {
      this.discard();
      // Who has published it may have been killed before it was synced.
      if (durable) await this.tree.sync(this.directory);
      return { outcome: "unchanged", stamp: same };
    }
    const { must } = this.attempt;
    if (must?.is === "absent") this.#clearWay();
    if (must) this.#checkMust(must);
    const backup = this.openBackup();
    const former = backup && (await this.#keepFormer(backup, durable));
    if (must) return await this.#publishOver(must, entry, durable);
    const stamp = await this.commit(entry, durable, () => {
      failpoint("commit");
      if (backup) this.#checkFormer(former);
    });
    return { outcome: "copied", stamp };
  }

  /**
   * Publishes over one version, or nothing, and nothing else. The version that is replaced gets a second name before, so that
   * what somebody writes to it in the last moment is seen. What is left is a program that renames another file to this name
   * between the last look and the rename, which takes microseconds.
   */
  async #publishOver(must: Precondition, entry: SourceEntry, durable: boolean): Promise<Published> {
    const { directory } = this;
    const { lease, file } = this.attempt;
    const destination = directory.at(baseName(file.name));
    const former = stagingName(lease.key, `${lease.fence} former`);
    // What a backup keeps has a second name already, and an edit is in it.
    if (must.is === "version" && must.whole !== undefined && !this.openBackup())
      this.#checkMust(must, must.whole);
    const hasFormer = must.is === "version" && secondName(destination, directory.at(former));
    let isReplaced = false;
    try {
      const linkedNs = hasFormer ? this.#ctimeNs(former) : undefined;
      const lastLook = () => {
        this.#checkMust(must);
        // An edit that kept size and time.
        if (linkedNs !== undefined && this.#ctimeNs(baseName(file.name)) !== linkedNs)
          throw notAsItMustBe(file.path);
      };
      const beforeRename = () => failpoint("commit");
      const stamp =
        must.is === "absent"
          ? await this.commit(entry, durable, beforeRename, publishNew)
          : await this.commit(entry, durable, beforeRename, (at, staged, name) =>
              publish(at, staged, name, lastLook),
            );
      isReplaced = true;
      const stat = this.published;
      const left = hasFormer ? lstatSync(directory.at(former), { bigint: true }) : undefined;
      const late = left && must.is === "version" && statStamp(left) !== must.stamp ? { late: former } : {};
      return { outcome: "copied", stamp, ...(stat ? { stat } : {}), ...late };
    } finally {
      if (hasFormer && !(isReplaced && this.#isLate(former, must))) remove(directory, former);
    }
  }

  #isLate(former: string, must: Precondition): boolean {
    const stat = lstatSync(this.directory.at(former), { bigint: true, throwIfNoEntry: false });
    return stat !== undefined && must.is === "version" && statStamp(stat) !== must.stamp;
  }

  #ctimeNs(name: string): bigint | undefined {
    return lstatSync(this.directory.at(name), { bigint: true, throwIfNoEntry: false })?.ctimeNs;
  }

  /** Directories are not synced: an empty one makes room for a file. @throws TransferError class `path` for one that is not empty. */
  #clearWay(): void {
    const { name, path } = this.attempt.file;
    const at = this.directory.at(baseName(name));
    if (!lstatSync(at, { throwIfNoEntry: false })?.isDirectory()) return;
    try {
      rmdirSync(at);
    } catch (error) {
      const code = errnoCode(error);
      if (code === "ENOENT") return;
      if (code !== "ENOTEMPTY" && code !== "EEXIST")
        throw fileError(error, `remove the empty directory ${path}`);
      const why = `${path} is a directory there, and not empty: move what is in it away`;
      throw new TransferError("path", why, { permanent: true, verdict: "ok" });
    }
  }

  /**
   * @param whole its stamp with the time of its last change, where that has not been moved. Default: that is not compared.
   * @throws TransferError class `changed` if the destination is not what it must be.
   */
  #checkMust(must: Precondition, whole?: string): void {
    const { name, path } = this.attempt.file;
    const stat = lstatSync(this.directory.at(baseName(name)), { bigint: true, throwIfNoEntry: false });
    const isVersion = stat?.isFile() && statStamp(stat) === (must.is === "version" ? must.stamp : "");
    const isWhole = whole === undefined || (stat && `${statStamp(stat)}:${stat.ctimeNs}` === whole);
    const isSo = must.is === "absent" ? !stat : isVersion && isWhole;
    if (!isSo) throw notAsItMustBe(path);
  }

  /** Keeps the file that is to be overwritten. @returns its stamp; undefined if there is none. */
  async #keepFormer(backup: LocalBackup, durable: boolean): Promise<string | undefined> {
    const { directory } = this;
    const { file, lease } = this.attempt;
    const { name } = file;
    const former = await backup.keep({ directory, name, fence: lease.fence, durable }, () => {
      lease.check();
      // A successor removes it before it publishes anything, so what is kept is not the successor's file.
      if (lstatSync(directory.at(this.#name), { throwIfNoEntry: false })) return;
      throw new TransferError("locked", `another worker has taken over ${file.path}`, { verdict: "ok" });
    });
    if (former !== undefined) failpoint("kept");
    return former;
  }

  /** @throws TransferError class `changed` if another file than the kept one would be overwritten. */
  #checkFormer(former: string | undefined): void {
    const { name, path } = this.attempt.file;
    const stat = lstatSync(this.directory.at(baseName(name)), { bigint: true, throwIfNoEntry: false });
    if (!stat || stat.isDirectory() || isSpecial(stat) || statStamp(stat) === former) return;
    throw new TransferError("changed", `another writer replaced ${path} while it was kept`, {
      verdict: "ok",
    });
  }

  /**
   * Compares the destination with what is staged. If the bytes are the same, it is left alone, and so is its mtime. But
   * if the source is a local file, its mode and mtime are part of what is copied, and have to be the same too.
   *
   * @returns stamp of the destination; undefined if it differs.
   * @throws TransferError class `path` if the directory was moved or replaced.
   */
  async #sameAsDestination({ sizeBytes, sha256 }: Received, entry: SourceEntry): Promise<string | undefined> {
    const { directory } = this;
    directory.check();
    const name = baseName(this.attempt.file.name);
    const stat = lstatSync(directory.at(name), { bigint: true, throwIfNoEntry: false });
    if (!stat?.isFile() || Number(stat.size) !== sizeBytes) return undefined;
    const { mode, mtimeMs } = entry;
    if (mode !== undefined && this.attempt.terms.leave?.same !== "checksum") {
      if (modeToPublish(fstatSync(this.#fd).mode, entry) !== Number(stat.mode)) return undefined;
      if (mtimeMs !== undefined && Math.abs(mtimeMs - Number(stat.mtimeNs) / 1e6) > 1) return undefined;
    }
    return (await sha256OfFile(directory, name)) === sha256 ? statStamp(stat) : undefined;
  }

  /**
   * Publishes the staged file: sets its mode and time, and renames it while the lease is trusted.
   *
   * @param durable whether the file, its directory and the way to that are synced.
   * @param beforeRename called right before the lease is checked for the last time.
   * @param give gives the staged file its name. Default: it replaces what has that name.
   * @returns the stamp of the destination, for the catalog.
   * @throws TransferError class `locked` if a successor has fenced this attempt off.
   */
  async commit(
    entry: SourceEntry,
    durable: boolean,
    beforeRename: () => void,
    give: typeof publish = publish,
  ): Promise<string> {
    const { file, lease } = this.attempt;
    try {
      this.#setMode(entry);
      this.#setTime(entry);
      if (durable) await fsyncAsync(this.#fd);
      beforeRename();
      lease.check();
      const staged = statStamp(fstatSync(this.#fd, { bigint: true }));
      give(this.directory, this.#name, file.name);
      this.#made = false;
      const stat = fstatSync(this.#fd, { bigint: true });
      const stamp = statStamp(stat);
      this.published = stamp === staged ? stat : undefined;
      closeSync(this.#fd);
      this.#fd = -1;
      if (durable) await this.tree.sync(this.directory);
      return stamp;
    } catch (error) {
      throw fileError(error, `write ${file.path}`);
    }
  }

  #setMode(entry: SourceEntry): void {
    const { mode } = fstatSync(this.#fd);
    const wanted = modeToPublish(mode, entry);
    if (wanted === mode) return;
    try {
      fchmodSync(this.#fd, wanted & 0o777);
    } catch (error) {
      // A file system without permissions.
      if (!/^(EPERM|ENOTSUP|EOPNOTSUPP|ENOSYS)$/.test(errnoCode(error) ?? "")) throw error;
    }
  }

  /** Sets the modification time. The access time tells a sweep of the directory that the file is not abandoned. */
  #setTime({ mtimeMs }: SourceEntry): void {
    if (mtimeMs === undefined) return;
    // Node takes a negative number for the current time.
    const time = mtimeMs < 0 ? new Date(mtimeMs) : mtimeMs / 1000;
    futimesSync(this.#fd, new Date(), time);
  }

  worthKeeping(after: ErrorClass | undefined): boolean {
    const { record } = this.attempt;
    return after !== "changed" && record.strongEtag !== "" && record.contiguousBytes >= WORTH_RESUMING_BYTES;
  }

  /** Leaves the staging file to a successor. */
  keep(): void {
    if (this.#fd >= 0) closeSync(this.#fd);
    this.#fd = -1;
  }

  discard(): void {
    this.keep();
    if (this.#made) remove(this.directory, this.#name);
    this.#made = false;
  }

  close(): void {
    this.keep();
    this.tree.release(this.directory);
  }
}

/** Gives a file a second name. @returns false where the file system has no second names. */
function secondName(from: string, to: string): boolean {
  try {
    rmSync(to, { force: true });
    linkSync(from, to);
    return true;
  } catch {
    return false;
  }
}

/**
 * Gives a staged file a name that nothing may have.
 *
 * @throws TransferError class `changed` if something has it.
 */
function publishNew(directory: Directory, staging: string, name: string): void {
  directory.check();
  const destination = directory.at(baseName(name));
  try {
    linkSync(directory.at(staging), destination);
  } catch (error) {
    const code = errnoCode(error) ?? "";
    if (code === "EEXIST") throw notAsItMustBe(`${directory.path}/${baseName(name)}`);
    // A file system without second names, or somebody has taken the staged file: then this says so.
    if (!/^(ENOENT|EPERM|ENOTSUP|EOPNOTSUPP|ENOSYS|EMLINK)$/.test(code))
      throw fileError(error, `write ${directory.path}/${baseName(name)}`);
    publish(directory, staging, name);
    return;
  }
  remove(directory, staging);
}

/**
 * Mode of the published file.
 *
 * @param staged mode of its staging file: that of the source, less the umask, with {@link OWNER_BITS}.
 */
function modeToPublish(staged: number, { mode = OWNER_BITS }: SourceEntry): number {
  return staged & ~(OWNER_BITS & ~mode);
}
