import {
  type BigIntStats,
  closeSync,
  constants,
  fstatSync,
  fsync,
  openSync,
  readlinkSync,
  realpathSync,
  statSync,
} from "node:fs";
import { dirname, join } from "node:path";
import { promisify } from "node:util";
import { errnoCode, TransferError } from "../../errors.js";

const fsyncAsync = promisify(fsync);
export const LINUX = process.platform === "linux";

/** An open directory below a tree's root. */
export class Directory {
  /** Number of files that use it; it stays open until it is 0. */
  users = 0;
  /** Whether it was removed from the tree's cache; then the last user closes it. */
  dropped = false;
  /** When the path was last seen to lead here (monotonic ms). */
  checkedAt = performance.now();
  #checkedThisTurn = false;
  #syncing: Promise<void> | undefined;
  #syncAgain: Promise<void> | undefined;

  constructor(
    readonly path: string,
    readonly fd: number,
    private readonly stat: Pick<BigIntStats, "dev" | "ino" | "birthtimeNs">,
  ) {}

  /** Tells this directory from others: also from one that was removed, had its path, and whose inode it got. */
  get id(): string {
    const { dev, ino, birthtimeNs } = this.stat;
    return `${dev}:${ino}:${birthtimeNs}:${this.path}`;
  }

  /**
   * Path of an entry, resolved from the open directory rather than from the root: the entry stays in this
   * directory whatever is renamed or linked above it. Only Linux has such paths; elsewhere the plain path is
   * used.
   */
  at(name: string): string {
    return LINUX ? `/proc/self/fd/${this.fd}/${name}` : join(this.path, name);
  }

  /** @throws TransferError class `path` if the directory's path now leads elsewhere. */
  check(): void {
    if (this.#checkedThisTurn) return;
    if (leadsTo(this.path, this.fd, this.stat)) {
      this.checkedAt = performance.now();
      this.#checkedThisTurn = true; // one check serves all small files published in this turn of the event loop
      setImmediate(() => {
        this.#checkedThisTurn = false;
      });
      return;
    }
    this.checkedAt = Number.NEGATIVE_INFINITY; // the next file opens it again
    throw new TransferError("path", `${this.path} was moved or replaced while a file was written to it`);
  }

  /**
   * Makes renames in this directory durable, but not the directory itself: see LocalTree.sync. Concurrent callers share
   * one fsync.
   */
  sync(): Promise<void> {
    const start = (): Promise<void> =>
      fsyncAsync(this.fd).finally(() => {
        this.#syncing = this.#syncAgain;
        this.#syncAgain = undefined;
      });
    // A running fsync may have started before our rename, so wait for the next one.
    if (this.#syncing === undefined) {
      this.#syncing = start();
      return this.#syncing;
    }
    this.#syncAgain ??= this.#syncing.then(start, start);
    return this.#syncAgain;
  }
}

/**
 * Whether a path leads to an open directory, and not by a link that somebody has put in its way: then what is written
 * goes to where nobody has allowed it.
 *
 * @param path absolute, without links when it was first resolved.
 */
export function leadsTo(path: string, fd: number, { dev, ino }: Pick<BigIntStats, "dev" | "ino">): boolean {
  const now = statSync(path, { bigint: true, throwIfNoEntry: false });
  if (now?.ino !== ino || now.dev !== dev) return false;
  // The kernel knows where an open directory is, in one call; elsewhere each part of the path is asked about.
  return (LINUX ? readlinkSync(`/proc/self/fd/${fd}`) : realpathSync(path)) === path;
}

/**
 * Makes the entries durable that lead to a directory, as far as its parents lie on the same file system: a mount point was
 * there before. Parents that only others may read are left out.
 *
 * @param path absolute, without links.
 * @param dev device of the directory.
 * @throws the system's error if a parent cannot be synced.
 */
export async function syncParents(path: string, dev: bigint): Promise<void> {
  for (let at = path; at !== dirname(at); ) {
    at = dirname(at);
    let fd: number;
    try {
      fd = openSync(at, constants.O_RDONLY | constants.O_DIRECTORY);
    } catch (error) {
      if (errnoCode(error) === "EACCES") continue;
      throw error;
    }
    try {
      if (fstatSync(fd, { bigint: true }).dev !== dev) return;
      await fsyncAsync(fd);
    } finally {
      closeSync(fd);
    }
  }
}
