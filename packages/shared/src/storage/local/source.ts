import { closeSync, constants, fstatSync, openSync, read, readSync } from "node:fs";
import { promisify } from "node:util";
import { fileError, TransferError } from "../../errors.js";
import { shortHash } from "../../ids.js";
import type { Body, ByteRange, Opened, Source, SourceEntry, VersionRef } from "../source.js";

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
  constructor(private readonly path: string) {}

  async open(known: string): Promise<Opened> {
    return this.#openAt(0, known);
  }

  async openRange({ version }: VersionRef, { startByte }: ByteRange): Promise<Opened> {
    const opened = await this.#openAt(startByte, "");
    if (opened.is === "body" && opened.entry.version !== version) {
      opened.body.abort(new Error("another version"));
      throw new TransferError("changed", "the file changed at the source while it was read");
    }
    return opened;
  }

  async #openAt(offset: number, known: string): Promise<Opened> {
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
    const entry: SourceEntry = {
      sizeBytes: Number(stat.size),
      version: localVersion(stat),
      strongEtag: localVersion(stat),
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
    const body = new LocalBody(fd, this.path, offset, Number(stat.size));
    const confirm = () => {
      if (localVersion(body.statAtEnd as Stat) === entry.version) return;
      throw new TransferError("changed", `${this.path} changed while it was read`);
    };
    return { is: "body", entry, body, offset, path: this.path, confirm };
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
    private readonly sizeBytes: number,
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
      if (bytesRead > 0 && !this.#error) return [buffer.subarray(0, bytesRead)];
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
    if (this.sizeBytes > SMALL_BYTES || this.offset > 0 || !this.#open) return undefined;
    const buffer = Buffer.allocUnsafe(this.sizeBytes);
    try {
      while (this.receivedBytes < buffer.length) {
        const count = readSync(this.fd, buffer, this.receivedBytes, buffer.length - this.receivedBytes, null);
        if (count === 0) break; // it shrank: confirm() reports it
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
