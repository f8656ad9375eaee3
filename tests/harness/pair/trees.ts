import { createHash } from "node:crypto";
import fs from "node:fs";
import { dirname, join, relative } from "node:path";
import { filesBelow } from "../drover.js";
import type { FakeS3 } from "../fake-s3.js";
import type { TestS3 } from "../s3.js";

// Users do not run into the faults that are put in the way of Drover: see steps.ts.
const {
  chmodSync,
  lstatSync,
  mkdirSync,
  readFileSync,
  renameSync,
  rmdirSync,
  rmSync,
  utimesSync,
  writeFileSync,
} = {
  ...fs,
};

/** How somebody edits a file: writes into it, or writes another one and renames it, as editors do. */
export type Edit = "in-place" | "rename" | "keeping-mtime";

/** A side of a pair as its users see it. What is Drover's own is not theirs. */
export interface UserTree {
  readonly root: string;
  read(name: string): Promise<string | undefined> | string | undefined;
  write(name: string, text: string, how: Edit): Promise<void> | void;
  remove(name: string): Promise<void> | void;
  /** Every file, by name. */
  all(): Promise<Map<string, string>>;
}

/** One that can be edited between any two steps of a sync in this process. */
export interface QuickTree extends UserTree {
  read(name: string): string | undefined;
  write(name: string, text: string, how: Edit): void;
  remove(name: string): void;
  /** Whether a file may have that name: none is in the way of its directories, nor a directory in its own. */
  canHold(name: string): boolean;
}

/** What is kept again by a run is a version, though. */
const isOwn = (name: string) => /(^|\/)\.drover-(?!pair-again-)/.test(name);

/** Whether one of two names is that of a directory that the other one is in. */
export function isInTheWay(one: string, other: string): boolean {
  return one.startsWith(`${other}/`) || other.startsWith(`${one}/`);
}

/** A directory. */
export class DirectoryTree implements QuickTree {
  #edits = 0;

  constructor(readonly root: string) {
    mkdirSync(root, { recursive: true });
  }

  read(name: string): string | undefined {
    try {
      return readFileSync(join(this.root, name), "utf8");
    } catch (error) {
      if (/ENOENT|ENOTDIR|EISDIR/.test(String(error))) return undefined;
      throw error;
    }
  }

  write(name: string, text: string, how: Edit): void {
    const path = join(this.root, name);
    const stat = lstatSync(path, { throwIfNoEntry: false });
    mkdirSync(dirname(path), { recursive: true });
    if (how === "rename" || !stat) {
      // As programs name them, in a place that is no part of the pair.
      const temporary = join(dirname(this.root), `edit-${this.#edits++}`);
      writeFileSync(temporary, text);
      renameSync(temporary, path);
    } else writeFileSync(path, text);
    if (how === "keeping-mtime" && stat) utimesSync(path, stat.atime, stat.mtime);
  }

  remove(name: string): void {
    rmSync(join(this.root, name), { force: true });
    // Directories that are empty now go with it.
    for (let above = dirname(name); above !== "."; above = dirname(above)) {
      try {
        rmdirSync(join(this.root, above));
      } catch {
        return;
      }
    }
  }

  canHold(name: string): boolean {
    if (this.#stat(name)?.isDirectory()) return false;
    for (let above = dirname(name); above !== "."; above = dirname(above))
      if (this.#stat(above)?.isFile()) return false;
    return true;
  }

  #stat(name: string) {
    try {
      return lstatSync(join(this.root, name), { throwIfNoEntry: false });
    } catch (error) {
      if (/ENOTDIR/.test(String(error))) return undefined; // a file is above it
      throw error;
    }
  }

  setMode(name: string, mode: number): void {
    chmodSync(join(this.root, name), mode);
  }

  modeOf(name: string): number | undefined {
    const stat = this.#stat(name);
    return stat && stat.mode & 0o777;
  }

  async all(): Promise<Map<string, string>> {
    const found = new Map<string, string>();
    for (const path of filesBelow(this.root)) {
      const name = relative(this.root, path);
      if (!isOwn(name)) found.set(name, readFileSync(path, "utf8"));
    }
    return found;
  }
}

/** A prefix of the S3 in this process. */
export class FakeTree implements QuickTree {
  readonly root: string;

  constructor(
    readonly s3: FakeS3,
    private readonly prefix: string,
  ) {
    this.root = `s3://bucket/${prefix}`;
  }

  read(name: string): string | undefined {
    return this.s3.stored(`${this.prefix}/${name}`)?.content.toString();
  }

  write(name: string, text: string, how: Edit): void {
    const key = `${this.prefix}/${name}`;
    const { modified } = this.s3.stored(key) ?? {};
    // A tool that keeps old metadata.
    const kept = how === "keeping-mtime" ? (this.s3.stored(key)?.headers ?? {}) : {};
    const { etag: _, ...headers } = kept;
    // Of some versions the ETag tells no bytes, as where parts were uploaded.
    const opaque = how === "rename" ? { etag: `"${createHash("md5").update(text).digest("hex")}-2"` } : {};
    const all = { ...headers, ...opaque };
    this.s3.put(key, text, all, how === "keeping-mtime" && modified ? modified : new Date());
  }

  remove(name: string): void {
    this.s3.remove(`${this.prefix}/${name}`);
  }

  canHold(name: string): boolean {
    return !this.s3.keys.some((key) => isInTheWay(key.slice(this.prefix.length + 1), name));
  }

  async all(): Promise<Map<string, string>> {
    const found = new Map<string, string>();
    for (const key of this.s3.keys) {
      const name = key.slice(this.prefix.length + 1);
      if (key.startsWith(`${this.prefix}/`) && !isOwn(name)) found.set(name, this.read(name) as string);
    }
    return found;
  }
}

/** A prefix of a real service. */
export class BucketTree implements UserTree {
  readonly root: string;

  constructor(
    readonly s3: TestS3,
    private readonly prefix: string,
  ) {
    this.root = s3.url(prefix);
  }

  async read(name: string): Promise<string | undefined> {
    return (await this.s3.find(`${this.prefix}/${name}`))?.toString();
  }

  async write(name: string, text: string): Promise<void> {
    await this.s3.put(`${this.prefix}/${name}`, text);
  }

  async remove(name: string): Promise<void> {
    await this.s3.remove(`${this.prefix}/${name}`);
  }

  async all(): Promise<Map<string, string>> {
    const found = new Map<string, string>();
    for (const key of await this.s3.list()) {
      const name = key.slice(this.prefix.length + 1);
      if (key.startsWith(`${this.prefix}/`) && !isOwn(name)) found.set(name, (await this.read(name)) ?? "");
    }
    return found;
  }
}
