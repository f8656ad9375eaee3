import { createHash, randomBytes } from "node:crypto";
import {
  type BigIntStats,
  closeSync,
  constants,
  createReadStream,
  fchmodSync,
  fstatSync,
  fsync,
  lstatSync,
  openSync,
  renameSync,
  rmdirSync,
  writeSync,
} from "node:fs";
import type { Readable } from "node:stream";
import { promisify } from "node:util";
import { errnoCode, fileError, TransferError } from "@drover/shared/errors";
import { shortHash } from "@drover/shared/ids";
import { baseName, STAGING_NAME, safeRelative } from "@drover/shared/paths";
import { statStamp } from "@drover/shared/protocol/catalog-entry";
import type { Stored, WirePermissions } from "@drover/shared/storage/filemanager/contract";
import { digestOfFile } from "@drover/shared/storage/local/digest-of-file";
import type { Directory } from "@drover/shared/storage/local/directory";
import { LocalLister } from "@drover/shared/storage/local/lister";
import { isSpecial, LocalTree, publish, remove } from "@drover/shared/storage/local/tree";
import { Locks } from "./locks.js";
import { Problem } from "./problem.js";
import { type FileRecord, RECORDS, Records } from "./records.js";

const { O_CREAT, O_EXCL, O_NOFOLLOW, O_RDONLY, O_WRONLY } = constants;
const fsyncAsync = promisify(fsync);

/** What a request is bound to. */
export interface Bound {
  /** ETags that the file may have, or `*` for any file; undefined where it need not be there. */
  ifMatch?: string | undefined;
  /** `*` where no file may be there. */
  ifNoneMatch?: string | undefined;
  /** A decimal number; undefined where the client has none. */
  fence?: string | undefined;
}

/** A file that comes in. */
export interface Incoming {
  body: Readable;
  /** Undefined where only the end tells. */
  lengthBytes: number | undefined;
  /** Hexadecimal; undefined where the client gives none. */
  sha256: string | undefined;
  sourceVersion: string | undefined;
  permissions: WirePermissions;
}

export interface FileStoreOptions {
  root: string;
  /** Whether a file is on the disk before it is told to be stored. */
  durable: boolean;
  /** Files over this size in bytes are refused. Default: none is. */
  mostBytes?: number | undefined;
}

/** A page of a listing. */
export interface Page {
  files: { path: string; size: number; etag: string }[];
  next: string | null;
}

/**
 * The files below a directory. A file is there whole or not at all; it is replaced and removed in the same step in which its
 * ETag is compared. Nothing outside of the directory is touched. Methods throw {@link Problem} and TransferError.
 */
export class FileStore {
  readonly #locks = new Locks();

  private constructor(
    private readonly tree: LocalTree,
    private readonly records: Records,
    private readonly options: FileStoreOptions,
  ) {}

  static async open(options: FileStoreOptions): Promise<FileStore> {
    const tree = new LocalTree(options.root);
    return new FileStore(tree, await Records.open(tree.root), options);
  }

  close(): void {
    this.records.close();
    this.tree.close();
  }

  /** Writes a file. @returns what is stored, and whether nothing was there. */
  async put(path: string, incoming: Incoming, bound: Bound): Promise<{ stored: Stored; isNew: boolean }> {
    checkPath(path);
    // What is refused already need not come.
    await this.#locks.with([path], async () => this.#check(path, bound));
    const { mostBytes } = this.options;
    if (mostBytes !== undefined && (incoming.lengthBytes ?? 0) > mostBytes) throw tooLarge(mostBytes);
    const staged = `.drover-${randomBytes(12).toString("base64url")}`;
    const { directory, fd } = this.#create(path, staged);
    try {
      await this.tree.sweep(directory);
      try {
        const { sha256 } = await this.#receive(fd, incoming);
        return await this.#locks.with([path], async () => {
          const isNew = this.#check(path, bound) === undefined;
          const stored = await this.#commit({ path, directory, staged, fd }, sha256, incoming, bound);
          return { stored, isNew };
        });
      } finally {
        closeSync(fd);
        remove(directory, staged);
      }
    } finally {
      this.tree.release(directory);
    }
  }

  /** Creates a staging file beside a file. The caller closes it, and gives the directory back. */
  #create(path: string, staged: string): { directory: Directory; fd: number } {
    for (let tries = 1; ; tries++) {
      const directory = this.tree.directoryOf(path);
      try {
        const fd = openSync(directory.at(staged), O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW, 0o666);
        return { directory, fd };
      } catch (error) {
        this.tree.release(directory);
        if (errnoCode(error) !== "ENOENT" || tries > 1) throw fileError(error, `write in ${directory.path}`);
        this.tree.forget(directory); // it was removed with its last file
      }
    }
  }

  async #receive(fd: number, { body, lengthBytes, sha256 }: Incoming): Promise<{ sha256: string }> {
    const hash = createHash("sha256");
    const { mostBytes } = this.options;
    let bytes = 0;
    for await (const chunk of body as AsyncIterable<Buffer>) {
      bytes += chunk.length;
      if (mostBytes !== undefined && bytes > mostBytes) throw tooLarge(mostBytes);
      hash.update(chunk);
      writeWhole(fd, chunk);
    }
    if (lengthBytes !== undefined && bytes !== lengthBytes)
      throw new Problem(400, "Wrong length", `${bytes} bytes came of ${lengthBytes}`);
    const found = hash.digest("hex");
    if (sha256 !== undefined && sha256 !== found)
      throw new Problem(422, "Wrong digest", "the bytes that came are not those of Repr-Digest");
    return { sha256: found };
  }

  async #commit(
    { path, directory, staged, fd }: { path: string; directory: Directory; staged: string; fd: number },
    sha256: string,
    { permissions, sourceVersion = "" }: Incoming,
    { fence = "" }: Bound,
  ): Promise<Stored> {
    const { durable } = this.options;
    const former = this.records.get(path);
    const { mode, ...others } = { ...this.records.takeKept(path), ...permissions };
    if (mode !== undefined) fchmodSync(fd, Number.parseInt(mode, 8) & 0o777);
    if (durable) await fsyncAsync(fd);
    publish(directory, staged, path);
    if (durable) await this.tree.sync(directory);
    const stat = fstatSync(fd, { bigint: true });
    const record: FileRecord = {
      stamp: statStamp(stat),
      sha256,
      fence: laterOf(former.fence, fence),
      sourceVersion,
      permissions: { ...former.permissions, ...others },
    };
    this.records.set(path, record);
    return storedOf(path, stat, record);
  }

  /** What is stored by a name. @throws Problem 404 */
  async head(path: string): Promise<Stored> {
    const stat = this.#stat(path);
    if (!stat) throw absent();
    return storedOf(path, stat, await this.#recordOf(path, stat));
  }

  /** The record of a file. A file that somebody else has put there is hashed. */
  async #recordOf(path: string, stat: BigIntStats): Promise<FileRecord> {
    const stamp = statStamp(stat);
    const known = this.records.get(path);
    if (known.stamp === stamp) return known;
    const directory = this.tree.directoryOf(path);
    try {
      const sha256 = await digestOfFile(directory.at(baseName(path)), "sha256");
      const record = { ...known, stamp, sha256, sourceVersion: "" };
      const now = this.#stat(path);
      if (now && statStamp(now) === stamp) this.records.set(path, record);
      return record;
    } finally {
      this.tree.release(directory);
    }
  }

  /** Opens a file. @throws Problem 404 */
  async read(path: string): Promise<{ stored: Stored; body: Readable }> {
    const stored = await this.head(path);
    const directory = this.tree.find(path);
    if (!directory) throw absent();
    try {
      const fd = openSync(directory.at(baseName(path)), O_RDONLY | O_NOFOLLOW);
      const stat = fstatSync(fd, { bigint: true });
      if (etagOf(stat) !== stored.etag) {
        closeSync(fd);
        throw new Problem(503, "The file was replaced meanwhile", undefined, { "retry-after": "0" });
      }
      // No more than there was, should it grow.
      const end = stored.size - 1;
      const body = createReadStream("", {
        fd,
        start: 0,
        ...(end < 0 ? {} : { end }),
        highWaterMark: 1 << 18,
      });
      return { stored, body };
    } catch (error) {
      throw error instanceof Problem ? error : fileError(error, `read ${path}`);
    } finally {
      this.tree.release(directory);
    }
  }

  /** Removes a file. Directories that it leaves empty go with it. @throws Problem 404, 412 */
  remove(path: string, bound: Bound): Promise<void> {
    checkPath(path);
    return this.#locks.with([path], async () => {
      const stat = this.#check(path, bound);
      if (!stat) throw absent();
      const directory = this.tree.find(path);
      if (!directory) throw absent();
      try {
        remove(directory, baseName(path));
        if (this.options.durable) await this.tree.sync(directory);
      } finally {
        this.tree.release(directory);
      }
      if (!isStaged(path)) this.#noteFence(path, bound);
      this.#prune(path);
    });
  }

  #noteFence(path: string, { fence }: Bound): void {
    const { fence: former } = this.records.get(path);
    this.records.set(path, {
      stamp: "",
      sha256: "",
      fence: laterOf(former, fence ?? ""),
      sourceVersion: "",
      permissions: {},
    });
  }

  /** Removes the directories above a file as far as they are empty. */
  #prune(path: string): void {
    for (let at = path.lastIndexOf("/"); at > 0; at = path.lastIndexOf("/", at - 1)) {
      const parent = this.tree.find(path.slice(0, at));
      if (!parent) continue;
      try {
        rmdirSync(parent.at(baseName(path.slice(0, at))));
      } catch {
        return; // it is not empty, or somebody else's
      } finally {
        this.tree.release(parent);
      }
    }
  }

  /**
   * Renames a file, over another one if need be.
   *
   * @param bound of the target. @param fromMatch ETags that the file may have; undefined for any.
   * @throws Problem 404, 412
   */
  move(from: string, to: string, bound: Bound, fromMatch: string | undefined): Promise<Stored> {
    checkPath(from);
    checkPath(to);
    if (isStaged(to)) throw new Problem(400, "Invalid path", "a staged name is no target of a move");
    return this.#locks.with([from, to], async () => {
      const stat = this.#check(from, { ifMatch: fromMatch });
      if (!stat) throw absent();
      if (from === to) return storedOf(to, stat, await this.#recordOf(to, stat));
      const target = this.#check(to, bound);
      if (target && isSpecial(target)) throw new Problem(409, "The target is no file");
      const record = await this.#recordOf(from, stat);
      await this.#rename(from, to);
      const former = this.records.get(to);
      const { mode, ...kept } = this.records.takeKept(to);
      const permissions = { ...former.permissions, ...kept, ...record.permissions };
      const fence = laterOf(former.fence, bound.fence ?? "");
      const moved: FileRecord = { ...record, fence, permissions };
      this.records.set(to, moved);
      this.#noteFence(from, {});
      if (mode !== undefined && isStaged(from)) this.#chmod(to, mode);
      this.#prune(from);
      return storedOf(to, this.#stat(to) ?? stat, moved);
    });
  }

  async #rename(from: string, to: string): Promise<void> {
    const source = this.tree.find(from);
    if (!source) throw absent();
    try {
      const target = this.#directoryOf(to);
      try {
        renameSync(source.at(baseName(from)), target.at(baseName(to)));
        if (!this.options.durable) return;
        await this.tree.sync(target);
        if (source.path !== target.path) await this.tree.sync(source);
      } catch (error) {
        if (errnoCode(error) === "ENOENT") throw absent();
        throw fileError(error, `write ${to}`);
      } finally {
        this.tree.release(target);
      }
    } finally {
      this.tree.release(source);
    }
  }

  /** Opens the directory of a file, as it is now. */
  #directoryOf(path: string): Directory {
    const known = this.tree.directoryOf(path);
    try {
      known.check();
      return known;
    } catch {
      this.tree.forget(known);
      this.tree.release(known);
      return this.tree.directoryOf(path);
    }
  }

  /** Sets permissions, or keeps them for a file that is not there yet. @throws Problem 412 */
  setPermissions(
    path: string,
    permissions: WirePermissions,
    bound: Bound,
  ): Promise<{ stored: Stored } | { keptUntilMs: number }> {
    checkPath(path);
    return this.#locks.with([path], async () => {
      const stat = this.#check(path, bound);
      if (!stat) return { keptUntilMs: this.records.keep(path, permissions) };
      const { mode, ...others } = permissions;
      if (mode !== undefined) this.#chmod(path, mode);
      const known = await this.#recordOf(path, stat);
      const record = { ...known, permissions: { ...known.permissions, ...others } };
      this.records.set(path, record);
      return { stored: storedOf(path, this.#stat(path) ?? stat, record) };
    });
  }

  #chmod(path: string, mode: string): void {
    const directory = this.tree.find(path);
    if (!directory) throw absent();
    try {
      const fd = openSync(directory.at(baseName(path)), O_RDONLY | O_NOFOLLOW);
      try {
        fchmodSync(fd, Number.parseInt(mode, 8) & 0o777);
      } finally {
        closeSync(fd);
      }
    } catch (error) {
      throw fileError(error, `set the mode of ${path}`);
    } finally {
      this.tree.release(directory);
    }
  }

  /** Files behind a key, in the order of their keys, without staged ones. */
  async list({ after, prefix, limit }: { after: string; prefix: string; limit: number }): Promise<Page> {
    const files: Page["files"] = [];
    const lister = new LocalLister(undefined);
    const from = after > prefix ? after : "";
    const isWanted = (name: string) =>
      name.startsWith(prefix) && !name.startsWith(`${RECORDS}/`) && !isStaged(name);
    const listed = lister.list(this.tree.root, { wanted: isWanted, after: from === "" ? undefined : from });
    for await (const each of listed) {
      if (each.is === "failed") throw each.error;
      if (each.is !== "file") continue;
      const stat = this.tree.stat(this.tree.path(each.name));
      if (!stat?.isFile()) continue; // a link, or gone
      if (files.length === limit) return { files, next: files.at(-1)?.path ?? null };
      files.push({ path: each.name, size: Number(stat.size), etag: etagOf(stat) });
    }
    return { files, next: null };
  }

  /** @returns what is there; undefined for nothing. @throws Problem 412 if it is not what the request is bound to. */
  #check(path: string, { ifMatch, ifNoneMatch, fence }: Bound): BigIntStats | undefined {
    const stat = this.#stat(path);
    if (fence !== undefined && !isStaged(path) && isOlder(fence, this.records.get(path).fence))
      throw new Problem(412, "An older fence", "a request with a later fence has come for this file");
    if (ifNoneMatch !== undefined && stat) throw new Problem(412, "The file is there");
    if (ifMatch === undefined) return stat;
    const etags = ifMatch.split(",").map((etag) => etag.trim());
    if (!stat || (!etags.includes("*") && !etags.includes(etagOf(stat))))
      throw new Problem(412, "The file is another version");
    return stat;
  }

  /** @throws Problem 409 if it is no file. */
  #stat(path: string): BigIntStats | undefined {
    checkPath(path);
    const directory = this.tree.find(path);
    if (!directory) return undefined;
    try {
      const stat = lstatSync(directory.at(baseName(path)), { bigint: true, throwIfNoEntry: false });
      if (stat && !stat.isFile()) throw new Problem(409, "There is no file by that name, but something else");
      return stat;
    } finally {
      this.tree.release(directory);
    }
  }
}

/** @throws TransferError class `path` for a name that leads elsewhere; staged ones may be named. */
function checkPath(path: string): void {
  const base = baseName(path);
  safeRelative(STAGING_NAME.test(base) ? `${path.slice(0, -base.length)}x` : path);
  if (path === RECORDS || path.startsWith(`${RECORDS}/`))
    throw new TransferError("path", `refused name ${JSON.stringify(path)}: it is the file manager's own`);
}

function isStaged(path: string): boolean {
  return STAGING_NAME.test(baseName(path));
}

function etagOf(stat: BigIntStats): string {
  return `"${shortHash(statStamp(stat))}"`;
}

function storedOf(
  path: string,
  stat: BigIntStats,
  { sha256, sourceVersion, permissions }: FileRecord,
): Stored {
  const mode = (Number(stat.mode) & 0o777).toString(8).padStart(4, "0");
  return {
    path,
    size: Number(stat.size),
    sha256,
    etag: etagOf(stat),
    ...(sourceVersion === "" ? {} : { sourceVersion }),
    permissions: { mode, ...permissions },
  };
}

function isOlder(fence: string, than: string): boolean {
  return than !== "" && BigInt(fence) < BigInt(than);
}

function laterOf(one: string, other: string): string {
  if (one === "" || other === "") return one || other;
  return isOlder(one, other) ? other : one;
}

function writeWhole(fd: number, chunk: Buffer): void {
  try {
    for (let at = 0; at < chunk.length; ) at += writeSync(fd, chunk, at);
  } catch (error) {
    throw fileError(error, "write the file");
  }
}

function absent(): Problem {
  return new Problem(404, "No such file");
}

function tooLarge(mostBytes: number): Problem {
  return new Problem(413, "Too large", `files of at most ${mostBytes} bytes are taken`);
}
