import { createReadStream } from "node:fs";

const CHUNK_BYTES = 1 << 18;

/** A record of a state file. */
export interface StateLine {
  /** As in a row: bytes, one character each. */
  path: string;
  /** The record as it is in the file, with its line end; one character per byte. */
  text: string;
}

/**
 * Reads the records of a state file that Drover wrote, without taking them apart beyond their paths.
 *
 * @returns them in pages.
 */
export async function* stateLines(file: string): AsyncGenerator<StateLine[]> {
  let rest = "";
  let isHead = true;
  for await (const chunk of createReadStream(file, { highWaterMark: CHUNK_BYTES })) {
    const text = rest + (chunk as Buffer).toString("latin1");
    const page: StateLine[] = [];
    let start = 0;
    for (let end = endOf(text, 0); end >= 0; end = endOf(text, start)) {
      if (!isHead) page.push({ path: pathOf(text, start), text: text.slice(start, end) });
      isHead = false;
      start = end;
    }
    rest = text.slice(start);
    yield page;
  }
  if (rest !== "") throw new Error(`${file} is cut short`);
}

/** Index behind the line end of the record that begins at `start`; -1 if it is not all there. */
function endOf(text: string, start: number): number {
  let isQuoted = false;
  let quote = text.indexOf('"', start);
  for (let end = text.indexOf("\n", start); end >= 0; end = text.indexOf("\n", end + 1)) {
    for (; quote >= 0 && quote < end; quote = text.indexOf('"', quote + 1)) isQuoted = !isQuoted;
    if (!isQuoted) return end + 1;
  }
  return -1;
}

/** The first field of the record that begins at `start`, without quotes and the apostrophe against formulas. */
function pathOf(text: string, start: number): string {
  let path: string;
  if (text[start] !== '"') path = text.slice(start, text.indexOf(",", start));
  else {
    let end = text.indexOf('"', start + 1);
    while (text[end + 1] === '"') end = text.indexOf('"', end + 2);
    path = text.slice(start + 1, end).replaceAll('""', '"');
  }
  return path.startsWith("'") ? path.slice(1) : path;
}
