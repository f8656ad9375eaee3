import { closeSync, constants, fstatSync, openSync, read, readSync, realpathSync, statSync } from "node:fs";
import { promisify } from "node:util";
import { errnoCode, fileError, TransferError } from "../../errors.js";
import { shortHash } from "../../ids.js";
import type { Algorithm } from "../../leave.js";
import { isBelow } from "../../paths.js";
import type { Body, ByteRange, Opened, Source, SourceEntry, VersionRef } from "../source.js";
import { digestOfFile } from "./digest-of-file.js";

const readAsync = promisify(read);
const CHUNK_BYTES = 1 << 20;
/** Largest file in bytes that is read at once. */
const SMALL_BYTES = 256 << 10;

interface Stat {
  size: bigint;
  mtimeNs: bigint;
  ctimeNs: bigint;
  ino: bigint;
  dev: bigint;
}

/**
 * Version of a local file. Any write changes one of these fields, even if the modification time is set back.
 * Hashed to save memory, since the catalog has one for every file.
 */
export function localVersion({ size, mtimeNs, ctimeNs, ino, dev }: Stat): string {
  return `l${shortHash(`${size}:${mtimeNs}:${ctimeNs}:${ino}:${dev}`).slice(0, 12)}`;
}

/** A local file to read. Symbolic links are followed. */
export class LocalSource implements Source {
  /** @param within directories, with links resolved, that the file must lie in. Default: anywhere. */
  constructor(
    private readonly path: string,
    private readonly within?: readonly string[],
  ) {}

  async open(known: string): Promise<Opened> {
    return this.#openAt(0, known);
  }

  async look(): Promise<SourceEntry | undefined> {
    try {
      const opened = this.#openAt(0, "");
      if (opened.is === "body") opened.body.abort(new Error("it is only looked at"));
      return opened.entry;
    } catch (error) {
      const isGone = error instanceof TransferError && error.class === "not-found";
      if (isGone || errnoCode((error as Error).cause) === "ENOTDIR") return undefined;
      throw error;
    }
  }

  digest(algorithm: Algorithm): Promise<string> {
    return digestOfFile(this.path, algorithm);
  }

  async openRange({ version }: VersionRef, { startByte }: ByteRange): Promise<Opened> {
    const opened = this.#openAt(startByte, "");
    if (opened.is === "body" && (version === "" || opened.entry.version !== version)) {
      opened.body.abort(new Error("another version"));
      throw new TransferError("changed", "the file changed at the source while it was read");
    }
    return opened;
  }

  #openAt(offset: number, known: string): Opened {
    let fd: number;
    try {
      // Non-blocking, so that a pipe does not hang; it is refused below.
      fd = openSync(this.path, constants.O_RDONLY | constants.O_NONBLOCK);
    } catch (error) {
      throw fileError(error, `read ${this.path}`);
    }
    const stat = fstatSync(fd, { bigint: true });
    if (!stat.isFile()) {
      closeSync(fd);
      throw new TransferError("unsupported", `${this.path} is not a regular file`, { permanent: true });
    }
    this.#refuseOutside(fd, stat);
    const sized = stat.size > 0n || !this.#hasContent(fd);
    // The stat of a file of unknown size may stay the same when its content changes.
    const version = sized ? localVersion(stat) : "";
    const entry: SourceEntry = {
      sizeBytes: sized ? Number(stat.size) : undefined,
      version,
      strongEtag: version,
      mtimeMs: Number(stat.mtimeNs / 1000n) / 1000,
      mtimeNs: stat.mtimeNs,
      mode: Number(stat.mode & 0o777n),
      framed: true,
      ranges: false, // parallel segments would only make a disk seek; resuming uses openRange anyway
      encoding: "",
      digest: undefined,
    };
    if (known !== "" && known === entry.version) {
      closeSync(fd);
      return { is: "unchanged", entry };
    }
    const body = new LocalBody(fd, this.path, offset, entry.sizeBytes);
    const confirm = () => {
      if (localVersion(body.statAtEnd as Stat) === localVersion(stat)) return;
      throw new TransferError(
        "changed",
        `${this.path} changed while it was read: sync it again when nothing writes to it`,
      );
    };
    const opened: Opened = { is: "body", entry, body, offset, confirm };
    // A file of unknown size is not read in advance: whoever does that goes by its size.
    return sized ? { ...opened, path: this.path } : opened;
  }

  /** Looks where the opened file is: a directory above it may have become a link since its name was checked. */
  #refuseOutside(fd: number, { dev, ino }: Stat): void {
    if (this.within === undefined) return;
    let isWithin = false;
    try {
      const real = realpathSync(this.path);
      const there = statSync(real, { bigint: true });
      isWithin = there.dev === dev && there.ino === ino && this.within.some((each) => isBelow(real, each));
    } catch {
      // it is gone, or something else is there
    }
    if (isWithin) return;
    closeSync(fd);
    const why = `${this.path} leads out of the directories that may be read`;
    throw new TransferError("path", why, { permanent: true });
  }

  /** Whether a file of 0 bytes, as its stat has it, has bytes: those of /proc and some of FUSE do. */
  #hasContent(fd: number): boolean {
    try {
      return readSync(fd, Buffer.alloc(1), 0, 1, 0) > 0;
    } catch (error) {
      closeSync(fd);
      throw fileError(error, `read ${this.path}`);
    }
  }
}

class LocalBody implements Body {
  receivedBytes = 0;
  readonly starved = false;
  statAtEnd: Stat | undefined;
  #open = true;
  #reading = false;
  #error: Error | undefined;

  constructor(
    private readonly fd: number,
    private readonly path: string,
    private readonly offset: number,
    /** As the stat has it; undefined if it is not known. */
    private readonly sizeBytes: number | undefined,
  ) {}

  async read(): Promise<Buffer[] | null> {
    if (this.#error) throw this.#error;
    if (!this.#open) return null;
    this.#reading = true;
    const buffer = Buffer.allocUnsafeSlow(CHUNK_BYTES);
    try {
      const { bytesRead } = await readAsync(
        this.fd,
        buffer,
        0,
        buffer.length,
        this.offset + this.receivedBytes,
      );
      this.receivedBytes += bytesRead;
      const chunk = buffer.subarray(0, bytesRead);
      // A file of /proc comes in pieces of a page, none of which may hold the memory of a whole chunk.
      if (bytesRead > 0 && !this.#error) return [bytesRead < CHUNK_BYTES / 2 ? Buffer.from(chunk) : chunk];
    } catch (error) {
      throw fileError(error, `read ${this.path}`);
    } finally {
      this.#reading = false;
      if (this.#error) this.#close();
    }
    if (this.#error) throw this.#error;
    this.#close();
    return null;
  }

  takeIfComplete(): Buffer[] | undefined {
    const { sizeBytes } = this;
    if (sizeBytes === undefined || sizeBytes > SMALL_BYTES || this.offset > 0 || !this.#open)
      return undefined;
    const buffer = Buffer.allocUnsafe(sizeBytes + 1); // one more, to see whether the file is longer than it says
    try {
      while (this.receivedBytes < buffer.length) {
        const at = this.receivedBytes;
        const count = readSync(this.fd, buffer, at, buffer.length - at, at);
        if (count === 0) break; // if it shrank, confirm() reports it
        this.receivedBytes += count;
      }
    } catch (error) {
      this.#close();
      throw fileError(error, `read ${this.path}`);
    }
    this.#close();
    return [buffer.subarray(0, this.receivedBytes)];
  }

  abort(error: Error): void {
    this.#error ??= error;
    if (!this.#reading) this.#close();
  }

  #close(): void {
    if (!this.#open) return;
    this.#open = false;
    this.statAtEnd = fstatSync(this.fd, { bigint: true });
    closeSync(this.fd);
  }
}
