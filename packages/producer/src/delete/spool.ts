import { closeSync, createReadStream, writeSync } from "node:fs";
import { openTemporary } from "@drover/shared/temporary-file";
import { readList } from "../expand/list.js";

const FLUSH_LINES = 1_000;

/** A list of values in a temporary file, since there may be millions. */
export class Spool<T> {
  readonly #fd = openTemporary();
  #lines: string[] = [];
  count = 0;

  add(value: T): void {
    this.count++;
    if (this.#lines.push(`${JSON.stringify(value)}\n`) >= FLUSH_LINES) this.#flush();
  }

  /** Yields all values in the order in which they were added. */
  async *all(): AsyncGenerator<T> {
    this.#flush();
    const stream = createReadStream("", { fd: this.#fd, start: 0, autoClose: false });
    for await (const line of readList(stream)) yield JSON.parse(line.text) as T;
  }

  close(): void {
    closeSync(this.#fd);
  }

  #flush(): void {
    const bytes = Buffer.from(this.#lines.join(""));
    this.#lines = [];
    for (let done = 0; done < bytes.length; ) done += writeSync(this.#fd, bytes, done);
  }
}
