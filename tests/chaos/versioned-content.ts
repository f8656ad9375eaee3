import { createHash } from "node:crypto";
import { open } from "node:fs/promises";
import type { Content } from "../harness/content.js";
import { Rng } from "./rng.js";

/**
 * Bytes that say where they are from. A file is a row of cells of 16 bytes: version, tag of seed and name, number of
 * the cell, and a mix of the three. So every part of a file tells its version, and that it is in its place.
 */
const CELL_BYTES = 16;
const STEP_BYTES = 256 * 1024;

/** A file whose content depends on its version alone. */
export class VersionedFile {
  readonly #tag: number;

  /** @param aboutBytes its size; each version's own is a little more. 0: every version is empty. */
  constructor(
    private readonly seed: number,
    readonly name: string,
    readonly aboutBytes: number,
  ) {
    this.#tag = createHash("sha256").update(`${seed}\0${name}`).digest().readUInt32LE();
  }

  etag(version: number): string {
    return `"${this.#tag.toString(16)}-${version}"`;
  }

  size(version: number): number {
    if (this.aboutBytes === 0) return 0;
    // Every other version keeps the size of the one before, so that a length alone tells nothing.
    const jitter = new Rng(this.seed, "size", this.name, version >> 1);
    return Math.max(CELL_BYTES, this.aboutBytes) + jitter.int(0, Math.ceil(this.aboutBytes / 8));
  }

  content(version: number): Content {
    const file = this;
    return {
      size: this.size(version),
      *slices(start, end) {
        for (let at = start; at < end; at += STEP_BYTES) {
          yield file.#bytes(version, at, Math.min(at + STEP_BYTES, end));
        }
      },
    };
  }

  #bytes(version: number, start: number, end: number): Buffer {
    const first = Math.floor(start / CELL_BYTES);
    const cells = new Uint32Array((Math.ceil(end / CELL_BYTES) - first) * 4);
    for (let at = 0, cell = first; at < cells.length; at += 4, cell++) {
      cells[at] = version;
      cells[at + 1] = this.#tag;
      cells[at + 2] = cell;
      cells[at + 3] = Math.imul(version ^ this.#tag, 0x9e37_79b1) ^ Math.imul(cell, 0x85eb_ca6b);
    }
    const skip = start - first * CELL_BYTES;
    return Buffer.from(cells.buffer, skip, end - start);
  }

  /** What bytes at a place of the file are: a version, or undefined for none of them. */
  #versionOf(bytes: Buffer, start: number): number | undefined {
    if (bytes.length < 4) return undefined;
    const version = bytes.readUInt32LE();
    return this.#bytes(version, start, start + bytes.length).equals(bytes) ? version : undefined;
  }

  /** Reads all of a file through one descriptor, as any reader does, and tells what it is. */
  async read(path: string): Promise<Reading> {
    let handle: Awaited<ReturnType<typeof open>>;
    try {
      handle = await open(path, "r");
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === "ENOENT") return { is: "absent" };
      throw error;
    }
    try {
      const parts = new Parts();
      const buffer = Buffer.alloc(STEP_BYTES);
      let at = 0;
      for (;;) {
        let filled = 0;
        while (filled < STEP_BYTES) {
          const { bytesRead } = await handle.read(buffer, filled, STEP_BYTES - filled, at + filled);
          if (bytesRead === 0) break;
          filled += bytesRead;
        }
        this.#tell(parts, buffer.subarray(0, filled), at);
        at += filled;
        if (filled < STEP_BYTES) break;
      }
      return this.#judge(parts, at);
    } finally {
      await handle.close();
    }
  }

  #tell(parts: Parts, bytes: Buffer, start: number): void {
    const version = this.#versionOf(bytes, start);
    if (version !== undefined) parts.add(version, start);
    else this.#tellCells(parts, bytes, start);
  }

  #tellCells(parts: Parts, bytes: Buffer, start: number): void {
    for (let at = 0; at < bytes.length; at += CELL_BYTES) {
      const cell = bytes.subarray(at, at + CELL_BYTES);
      // The last cell may be too short to tell; then it is judged by the one before it.
      const before = parts.last;
      const fits =
        typeof before === "number" && this.#bytes(before, start + at, start + at + cell.length).equals(cell);
      parts.add(fits ? before : (this.#versionOf(cell, start + at) ?? "garbage"), start + at);
    }
  }

  #judge(parts: Parts, size: number): Reading {
    if (size === 0 && this.aboutBytes === 0) return { is: "whole", version: "any" };
    const version = parts.last;
    if (parts.count === 1 && typeof version === "number" && size === this.size(version)) {
      return { is: "whole", version };
    }
    const due = typeof version === "number" ? `, which has ${this.size(version)}` : "";
    return { is: "broken", why: `${size} bytes: ${parts.describe()}${due}` };
  }
}

/** What a reader found at a destination. `any`: empty, as every version of it is. */
export type Reading =
  | { is: "absent" }
  | { is: "whole"; version: number | "any" }
  | { is: "broken"; why: string };

/** Stretches of a file that are of one version. */
class Parts {
  count = 0;
  last: number | "garbage" | undefined;
  #text = "";

  add(what: number | "garbage", start: number): void {
    if (what === this.last) return;
    this.last = what;
    this.count += 1;
    if (this.count > 8) return;
    const name = what === "garbage" ? what : `version ${what}`;
    this.#text += `${this.#text === "" ? "" : ", "}${name} from byte ${start}`;
  }

  describe(): string {
    return (this.#text || "nothing") + (this.count > 8 ? ", and more" : "");
  }
}
