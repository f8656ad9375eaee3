import {
  closeSync,
  constants,
  copyFileSync,
  fstatSync,
  fsync,
  ftruncateSync,
  futimesSync,
  openSync,
  renameSync,
  writeSync,
  writev,
} from "node:fs";
import { promisify } from "node:util";
import { type ErrorClass, errnoCode, fileError, TransferError } from "@drover/shared/errors";
import { failpoint } from "@drover/shared/failpoint";
import { statStamp } from "@drover/shared/protocol/catalog-entry";
import {
  type Directory,
  type LocalTree,
  publish,
  remove,
  stagingName,
} from "@drover/shared/storage/local/tree";
import type { Source, SourceEntry } from "@drover/shared/storage/source";
import { type ResumeRecord, WORTH_RESUMING_BYTES } from "../../attempt/resume-record.js";
import { sha256OfFile } from "../../bytes/hash/hash-file.js";
import type { OpenedBody, Published, Received, Staging, WriteAttempt } from "../destination.js";
import { receiveLocally } from "./receive.js";
import type { StagingFile } from "./staging-file.js";

const { O_CREAT, O_EXCL, O_NOFOLLOW, O_RDWR } = constants;
const fsyncAsync = promisify(fsync);
const writevAsync = promisify(writev);

/** The staged bytes of one file: made in the destination's directory, published whole or not at all. */
export class LocalStaging implements Staging, StagingFile {
  readonly #name: string;
  readonly directory: Directory;
  #fd = -1;
  #made = false;

  constructor(
    private readonly tree: LocalTree,
    private readonly attempt: WriteAttempt,
  ) {
    const { lease, file } = attempt;
    this.#name = stagingName(lease.key, lease.fence);
    this.directory = tree.directoryOf(file.name);
  }

  get fd(): number {
    return this.#fd;
  }

  /** @param alive the predecessor may still run: its file is copied, since it may go on writing to it. */
  adopt(predecessors: string[], noted: ResumeRecord | undefined, alive: boolean): boolean {
    const { lease, terms } = this.attempt;
    let adopted = false;
    const record = terms.resume && noted?.strongEtag ? noted : undefined;
    for (const fence of predecessors) {
      const name = stagingName(lease.key, fence);
      if (record?.fence === fence && record.contiguousBytes > 0)
        adopted = this.#takeOver(name, record, alive);
      remove(this.directory, name);
    }
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
        // What lies behind the noted bytes is unknown, unless it is in pieces that are noted too.
        if (record.pieces.length === 0) ftruncateSync(this.#fd, record.contiguousBytes);
        return true;
      }
    } catch (error) {
      if (errnoCode(error) !== "ENOENT" && errnoCode(error) !== "ELOOP")
        throw fileError(error, `resume in ${this.directory.path}`);
    }
    this.discard();
    return false;
  }

  /** Copies what a predecessor staged. A link in its place is refused. */
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

  /** Makes the staging file, empty. Of a part that was taken over nothing is left: it may be of another mode, too. */
  create(mode: number | undefined): void {
    this.discard();
    this.attempt.lease.check();
    try {
      this.#fd = openSync(
        this.directory.at(this.#name),
        O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW,
        mode ?? 0o666,
      );
      this.#made = true;
    } catch (error) {
      if (errnoCode(error) === "ENOENT") {
        // Whoever removed the last file in it removed the directory, too.
        this.tree.forget(this.directory);
        throw new TransferError("io", `${this.directory.path} was removed meanwhile`, { cause: error });
      }
      throw fileError(error, `write in ${this.directory.path}`);
    }
  }

  /** A whole small file at once. Synchronous: for a few hundred KiB the thread pool costs more than the write. */
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
        rest = [Buffer.concat(rest).subarray(bytesWritten)]; // a short write: a signal, or a disk that is nearly full
      }
    } catch (error) {
      throw fileError(error, `write in ${this.directory.path}`);
    }
  }

  async publish(received: Received, entry: SourceEntry): Promise<Published> {
    const same = await this.#sameAsDestination(received, entry);
    if (same !== undefined) {
      this.discard();
      return { outcome: "unchanged", stamp: same };
    }
    const stamp = await this.commit(entry, this.attempt.terms.durable, () => failpoint("commit"));
    return { outcome: "copied", stamp };
  }

  /**
   * The destination's stamp when it has these very bytes already: then it is left alone, its mtime too. Not so where the
   * source is a file with a mode, and mode or mtime are others by now: they are part of what is copied.
   */
  async #sameAsDestination({ sizeBytes, sha256 }: Received, entry: SourceEntry): Promise<string | undefined> {
    const { path } = this.attempt.file;
    const stat = this.tree.stat(path);
    if (!stat?.isFile() || Number(stat.size) !== sizeBytes) return undefined;
    const { mode, mtimeMs } = entry;
    if (mode !== undefined) {
      if (fstatSync(this.#fd).mode !== Number(stat.mode)) return undefined;
      if (mtimeMs !== undefined && Math.abs(mtimeMs - Number(stat.mtimeNs) / 1e6) > 1) return undefined;
    }
    return (await sha256OfFile(path)) === sha256 ? statStamp(stat) : undefined;
  }

  /**
   * Publishes the staged file: times set, synced where asked, renamed while the lease is trusted.
   *
   * @returns the stamp of the destination, for the catalog.
   */
  async commit(entry: SourceEntry, durable: boolean, beforeRename: () => void): Promise<string> {
    const { file, lease } = this.attempt;
    try {
      if (durable) await fsyncAsync(this.#fd);
      beforeRename();
      lease.check();
      publish(this.directory, this.#name, file.name);
      this.#made = false;
      // Only now: staging with an old date would look abandoned to whoever sweeps the directory.
      if (entry.mtimeMs !== undefined) {
        // A negative number would be taken for the time of day.
        const time = entry.mtimeMs < 0 ? new Date(entry.mtimeMs) : entry.mtimeMs / 1000;
        futimesSync(this.#fd, time, time);
      }
      const stamp = statStamp(fstatSync(this.#fd, { bigint: true }));
      closeSync(this.#fd);
      this.#fd = -1;
      if (durable) await this.directory.sync();
      return stamp;
    } catch (error) {
      throw fileError(error, `write ${file.path}`);
    }
  }

  worthKeeping(after: ErrorClass | undefined): boolean {
    const { record } = this.attempt;
    return after !== "changed" && record.strongEtag !== "" && record.contiguousBytes >= WORTH_RESUMING_BYTES;
  }

  /** Keeps the staged part for a successor. */
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
