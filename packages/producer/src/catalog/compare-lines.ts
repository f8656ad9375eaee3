import { createReadStream, type ReadStream } from "node:fs";
import { parseLines } from "./csv.js";
import type { Row } from "./rows.js";

/** Bytes that are read at once. */
const CHUNK_BYTES = 1 << 20;
/** One line after the other is dear to parse: beyond so many, and such a share of all, all are parsed in one go. */
const FEW = 10_000;
const MOST_PARSED = 0.3;

/** What differs between two files. */
export interface LineDifferences {
  removed(row: Row): void;
  added(row: Row): void;
  /** A path that both have, in lines that are not the same. */
  both(old: Row, now: Row): void;
}

/**
 * Compares two exports that are sorted by path line by line: those that are the same, nearly all of them, are never parsed.
 *
 * @returns false where most lines differ, or the files are not as an export writes them (other columns in one of them, not
 *   sorted, a path twice, line ends in fields, what cannot be read): then nothing of what was told counts, and whoever reads them
 *   properly says what is wrong.
 */
export async function compareLines(
  oldFile: string,
  newFile: string,
  into: LineDifferences,
): Promise<boolean> {
  const olds = new Lines(oldFile);
  const nows = new Lines(newFile);
  try {
    const head = olds.take() ?? (await olds.more());
    if (!head?.startsWith("path,") || head !== (nows.take() ?? (await nows.more()))) return false;
    let [lines, parsed] = [0, 0];
    const rowOf = (line: string) => {
      parsed++;
      return parseLines(`${head}\n${line}\n`)[0] as Row;
    };
    const pathOf = (line: string) => plainPath(line) ?? rowOf(line).path;
    let old = olds.take() ?? (await olds.more());
    let now = nows.take() ?? (await nows.more());
    let last = "";
    while (old !== undefined || now !== undefined) {
      let path: string;
      if (old === now) {
        path = pathOf(old as string);
        old = olds.take() ?? (await olds.more());
        now = nows.take() ?? (await nows.more());
      } else {
        const [before, after] = [old && pathOf(old), now && pathOf(now)];
        const isRemoved = before !== undefined && (after === undefined || before < after);
        const isAdded = after !== undefined && (before === undefined || after < before);
        path = (isAdded ? after : before) as string;
        if (isRemoved) into.removed(rowOf(old as string));
        else if (isAdded) into.added(rowOf(now as string));
        else into.both(rowOf(old as string), rowOf(now as string));
        if (!isAdded) old = olds.take() ?? (await olds.more());
        if (!isRemoved) now = nows.take() ?? (await nows.more());
      }
      if (path <= last) return false;
      lines++;
      if (parsed > FEW && parsed > lines * MOST_PARSED) return false;
      last = path;
    }
    return true;
  } catch {
    return false; // who reads them properly says why
  } finally {
    olds.close();
    nows.close();
  }
}

/** The path of a line that begins with it as it is; undefined where it is quoted, or escaped for spreadsheets. */
function plainPath(line: string): string | undefined {
  const first = line.charCodeAt(0);
  const end = line.indexOf(",");
  return end <= 0 || first === 0x22 || first === 0x27 ? undefined : line.slice(0, end);
}

/** The lines of a file, one character per byte. */
class Lines {
  readonly #stream: ReadStream;
  readonly #chunks: AsyncIterator<string>;
  #text = "";
  #at = 0;
  #ended = false;

  constructor(file: string) {
    this.#stream = createReadStream(file, { encoding: "latin1", highWaterMark: CHUNK_BYTES });
    this.#stream.on("error", () => {}); // thrown to who reads on, if anybody does
    this.#chunks = this.#stream[Symbol.asyncIterator]();
  }

  /** The next line of what was read; undefined if that is at its end. @throws Error for a line that is no whole record. */
  take(): string | undefined {
    const end = this.#text.indexOf("\n", this.#at);
    if (end < 0) return undefined;
    const line = this.#text.slice(this.#at, end);
    this.#at = end + 1;
    return whole(line);
  }

  /** Reads on. @returns the next line; undefined at the end of the file. */
  async more(): Promise<string | undefined> {
    while (!this.#ended) {
      const next = await this.#chunks.next();
      this.#text = this.#text.slice(this.#at) + (next.done ? "" : next.value);
      this.#at = 0;
      this.#ended = next.done === true;
      const line = this.take();
      if (line !== undefined) return line;
    }
    if (this.#text === "") return undefined;
    const line = this.#text;
    this.#text = "";
    return whole(line);
  }

  close(): void {
    this.#stream.destroy();
  }
}

/** @throws Error for a line that does not end where its record does, or is none. */
function whole(line: string): string {
  let quotes = 0;
  for (let at = line.indexOf('"'); at >= 0; at = line.indexOf('"', at + 1)) quotes++;
  if (line === "" || quotes % 2 === 1 || line.endsWith("\r")) throw new Error("not a line of an export");
  return line;
}
