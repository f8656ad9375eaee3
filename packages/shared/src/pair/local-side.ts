import {
  type BigIntStats,
  existsSync,
  lstatSync,
  mkdirSync,
  readFileSync,
  renameSync,
  rmdirSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { dirname, join } from "node:path";
import { errnoCode, fileError, TransferError } from "../errors.js";
import { safeRelative } from "../paths.js";
import { ListingError } from "../storage/listing-error.js";
import { digestOfFile } from "../storage/local/digest-of-file.js";
import { walk } from "../storage/local/walk.js";
import {
  type DigestKind,
  type EditTime,
  type FileLook,
  isOwnName,
  type ListedPath,
  type Look,
  type PairSide,
} from "./side.js";

/**
 * An edit so soon before or after a look may leave the stamp as it is, in milliseconds: the clock of a file system ticks. A
 * tick of Linux is 10 ms at most.
 */
export const RACY_MS = 50;
/** Times of files are exact to this, in milliseconds, once they went through a metadata field. */
const TOLERANCE_MS = 1;

/** A directory as one side of a pair. Links are never followed. */
export class LocalSide implements PairSide {
  /** @param root absolute path. */
  constructor(readonly root: string) {}

  location(name: string): string {
    return join(this.root, name);
  }

  checkName(name: string): void {
    safeRelative(name);
  }

  async *list(): AsyncGenerator<ListedPath> {
    // A pair that was synced before has a marker, which is missed before anything is listed.
    if (!existsSync(this.root)) return;
    let last = "";
    for await (const found of walk(this.root, { names: true, wanted: () => true })) {
      if (found.is === "failed") {
        const below = found.path.slice(this.root.length + 1);
        // Names of it came already: of the others nobody knows where they would have been.
        if (below === "" || last.startsWith(`${below}/`)) throw new ListingError(found.path, found.error);
        yield { name: `${below}/`, look: { is: "unknown", why: found.error.message }, hides: true };
        continue;
      }
      if (found.is !== "named") continue;
      const { relative: name, kind } = found;
      last = name;
      if (isOwnName(name)) continue;
      if (kind === "l") yield { name, look: { is: "unknown", why: "it is a symbolic link" }, hides: true };
      else if (kind === "o")
        yield { name, look: { is: "unknown", why: "it is not a regular file" }, hides: false };
      else if (name.includes("\ufffd"))
        yield { name, look: { is: "unknown", why: "its name is not valid UTF-8" }, hides: false };
      else {
        const look = this.#look(name);
        if (look.is !== "absent") yield { name, look, hides: false };
      }
    }
  }

  async look(name: string): Promise<Look> {
    return this.#look(name);
  }

  #look(name: string): Look {
    let stat: BigIntStats | undefined;
    try {
      stat = lstatSync(this.location(name), { bigint: true, throwIfNoEntry: false });
    } catch (error) {
      if (errnoCode(error) === "ENOTDIR") return { is: "absent" };
      return { is: "unknown", why: fileError(error, "look at it").message };
    }
    if (!stat) return this.#behindLink(name) ?? { is: "absent" };
    if (stat.isDirectory()) return { is: "absent" }; // there is no file
    if (!stat.isFile()) return { is: "unknown", why: "it is not a regular file" };
    return this.#behindLink(name) ?? fileLook(stat, Date.now());
  }

  /** A directory on the way that is a link, so that nothing is known of what is behind it. */
  #behindLink(name: string): Look | undefined {
    for (let at = name.indexOf("/"); at >= 0; at = name.indexOf("/", at + 1)) {
      const above = lstatSync(this.location(name.slice(0, at)), { throwIfNoEntry: false });
      if (!above || above.isFile()) return undefined;
      if (!above.isDirectory()) return { is: "unknown", why: "it is behind a symbolic link" };
    }
    return undefined;
  }

  async digest(name: string, look: FileLook, which: DigestKind): Promise<string> {
    const digest = await digestOfFile(this.location(name), which === "md5" ? "md5" : "sha256");
    const now = this.#look(name);
    if (now.is !== "file" || now.stamp !== look.stamp)
      throw new TransferError("changed", `${this.location(name)} changed while it was read`);
    return digest;
  }

  read(name: string, look: FileLook): Promise<string> {
    return this.digest(name, look, "sha256");
  }

  async bytes(name: string, stamp: string): Promise<Buffer> {
    const path = this.location(name);
    let bytes: Buffer;
    try {
      bytes = readFileSync(path);
    } catch (error) {
      throw fileError(error, `read ${path}`);
    }
    const now = this.#look(name);
    if (now.is === "file" && now.stamp === stamp) return bytes;
    throw new TransferError("changed", `${path} changed while it was read`);
  }

  async edited(_name: string, { mtimeMs }: FileLook): Promise<EditTime> {
    return { ms: Math.min(mtimeMs, Date.now()), toleranceMs: TOLERANCE_MS };
  }

  async readOwn(name: string): Promise<string | undefined> {
    try {
      return readFileSync(this.location(name), "utf8");
    } catch (error) {
      if (errnoCode(error) === "ENOENT") return undefined;
      throw fileError(error, `read ${this.location(name)}`);
    }
  }

  async writeOwn(name: string, text: string): Promise<void> {
    const path = this.location(name);
    try {
      mkdirSync(this.root, { recursive: true });
      writeFileSync(`${path}.new`, text, { flush: true });
      renameSync(`${path}.new`, path);
    } catch (error) {
      throw fileError(error, `write ${path}`);
    }
  }

  async removeOwn(name: string): Promise<void> {
    rmSync(this.location(name), { force: true });
  }

  async removeKept(location: string, runId: string): Promise<void> {
    const end = location.lastIndexOf(`/${runId}/`);
    if (end < 0) return;
    rmSync(location, { force: true });
    for (let at = dirname(location); at.length > end; at = dirname(at)) {
      try {
        rmdirSync(at);
      } catch {
        return; // something is in it, or it is gone
      }
    }
  }

  clockOffsetMs(): number {
    return 0;
  }

  async close(): Promise<void> {}
}

/**
 * A version of a local file.
 *
 * @param nowMs when it was looked at (Unix ms).
 */
export function fileLook(stat: BigIntStats, nowMs: number): FileLook {
  const lastMs = Math.max(Number(stat.mtimeMs), Number(stat.ctimeMs));
  return {
    is: "file",
    stamp: localStamp(stat),
    sizeBytes: Number(stat.size),
    mtimeMs: Number(stat.mtimeNs) / 1e6,
    mode: Number(stat.mode & 0o777n),
    ...(nowMs - lastMs < RACY_MS ? { racy: true } : {}),
  };
}

/** `size:mtime in ns:inode:ctime in ns`: any edit changes it, even one that sets the modification time back. */
export function localStamp({
  size,
  mtimeNs,
  ino,
  ctimeNs,
}: Pick<BigIntStats, "size" | "mtimeNs" | "ino" | "ctimeNs">): string {
  return `${size}:${mtimeNs}:${ino}:${ctimeNs}`;
}
