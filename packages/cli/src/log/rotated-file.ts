import { closeSync, fstatSync, openSync, renameSync, type Stats, statSync, writeSync } from "node:fs";
import { errnoCode } from "@drover/shared/errors";

/** A log file that has grown to this many bytes becomes `FILE.1`, instead of the one before it. */
const ROTATE_BYTES = 100_000_000;

/**
 * A file of lines that becomes `FILE.1`, instead of the one before it, once it has grown too large. It follows its name:
 * where somebody else renames or removes the file, the next line goes to a new one. Several processes may write to the same.
 */
export class RotatedFile {
  #fd: number;
  #opened: Stats;
  /** Whether the last line is there in part. */
  #torn = false;
  #toldTrouble = false;

  /**
   * @param mostBytes size that a write may grow it beyond; the next line goes to a new file. Default 100 MB.
   * @param onTrouble called once, with an error code such as ENOSPC, when a line cannot be written. Default: nobody is told.
   * @throws Error if the file cannot be opened.
   */
  constructor(
    private readonly path: string,
    private readonly mostBytes = ROTATE_BYTES,
    private readonly onTrouble: (code: string) => void = () => {},
  ) {
    this.#fd = openSync(path, "a", 0o640);
    this.#opened = fstatSync(this.#fd);
  }

  /** Writes a line, with its end. A line that cannot be written is lost: the log must not end what is logged. */
  write(line: string): void {
    this.#follow();
    const bytes = Buffer.from(this.#torn ? `\n${line}` : line);
    let written = 0;
    try {
      while (written < bytes.length) written += writeSync(this.#fd, bytes, written);
      this.#torn = false;
    } catch (error) {
      this.#torn ||= written > 0;
      if (this.#toldTrouble) return;
      this.#toldTrouble = true;
      this.onTrouble(errnoCode(error) ?? "unknown");
    }
  }

  /** Takes a new file where the name is not that of this one any more, or this one is too large. */
  #follow(): void {
    const named = statSync(this.path, { throwIfNoEntry: false });
    try {
      if (named?.ino === this.#opened.ino && named.dev === this.#opened.dev) {
        if (!named.isFile() || named.size <= this.mostBytes) return;
        renameSync(this.path, `${this.path}.1`);
      }
      const fd = openSync(this.path, "a", 0o640);
      closeSync(this.#fd);
      this.#fd = fd;
      this.#opened = fstatSync(fd);
      this.#torn = false;
    } catch {
      // It grows on; the next line tries again.
    }
  }
}
