import { createReadStream } from "node:fs";
import { Readable } from "node:stream";
import { errnoCode, SettingsError } from "@drover/shared/errors";
import { type CsvError, parse } from "csv-parse";
import { stringify } from "csv-stringify/sync";
import { COLUMNS, type Column, checkRow, type Read, type Row } from "./rows.js";

const MARK = Buffer.from("\ufeff");
/** A record may not be longer: a quote that is never closed must not fill the memory. */
const MOST_RECORD_BYTES = 1 << 20;
/** What a spreadsheet takes for a formula, also in full width; and the apostrophe that keeps it from that. */
const FORMULA = /^(?:[=+\-@\t\r\n']|\u00ef\u00bc[\u008b\u008d\u009d\u00a0])/;

/** The first line of an export. */
export function csvHead(): string {
  return `${COLUMNS.join(",")}\n`;
}

/** Rows as lines of CSV (RFC 4180, but `\n` between lines), a character for each byte. */
export function csvLines(rows: Row[]): string {
  return stringify(
    rows.map(({ path, sizeBytes, sha256, mode, sourceId, version, stamp }) => [
      guarded(path),
      String(sizeBytes),
      sha256,
      mode,
      sourceId,
      guarded(version),
      guarded(stamp),
    ]),
    { quoted_match: /\r/ },
  );
}

/** A name may begin like a formula, which whoever opens the file in a spreadsheet would run. */
function guarded(text: string): string {
  return FORMULA.test(text) ? `'${text}` : text;
}

function unguarded(text: string | undefined): string | undefined {
  return text?.startsWith("'") ? text.slice(1) : text;
}

/**
 * Rows of a CSV file with a line of names at its top. Columns that are not ours are passed over.
 *
 * @param needed columns that must be there.
 * @throws SettingsError naming file and line for whatever cannot be read.
 */
export async function* readCsv(file: string, needed: Column[]): AsyncGenerator<Read> {
  const input = Readable.from(withoutMark(createReadStream(file, { highWaterMark: 1 << 18 })));
  const parser = parse({
    encoding: "latin1",
    info: true,
    record_delimiter: ["\n", "\r\n"],
    skip_empty_lines: true,
    max_record_size: MOST_RECORD_BYTES,
  });
  input.on("error", (error) => parser.destroy(error));
  input.pipe(parser);
  let at: Map<Column, number> | undefined;
  try {
    for await (const { record, info } of parser as AsyncIterable<{
      record: string[];
      info: { lines: number };
    }>) {
      if (!at) {
        at = columnsOf(record, needed, file);
        continue;
      }
      const fields: Partial<Record<Column, string>> = {};
      for (const [column, position] of at) fields[column] = record[position] ?? "";
      for (const column of ["path", "version", "stamp"] as const) {
        const text = unguarded(fields[column]);
        if (text !== undefined) fields[column] = text;
      }
      yield { row: checkRow(fields, `${file}, line ${info.lines}`), line: info.lines };
    }
  } catch (error) {
    throw readable(error, file);
  } finally {
    input.destroy();
    parser.destroy();
  }
  if (!at) throw new SettingsError(`${file} is empty: a catalog begins with a line of column names`);
}

/** A byte order mark is left out here: the parser would take it for a reason to decode the bytes. */
async function* withoutMark(chunks: AsyncIterable<Buffer>): AsyncGenerator<Buffer> {
  let first = true;
  for await (const chunk of chunks) {
    yield first && chunk.indexOf(MARK) === 0 ? chunk.subarray(MARK.length) : chunk;
    first = false;
  }
}

function columnsOf(names: string[], needed: Column[], file: string): Map<Column, number> {
  const at = new Map<Column, number>();
  names.forEach((name, position) => {
    if (!(COLUMNS as readonly string[]).includes(name)) return;
    if (at.has(name as Column)) throw new SettingsError(`${file}, line 1: two columns are called ${name}`);
    at.set(name as Column, position);
  });
  const missing = needed.filter((column) => !at.has(column));
  if (missing.length > 0)
    throw new SettingsError(
      `${file}, line 1: no column ${missing.join(", ")}: this is no export of a catalog`,
    );
  return at;
}

function readable(error: unknown, file: string): unknown {
  const { code, lines } = error as CsvError & { lines?: number };
  if (/^(CSV_|INVALID_OPENING_QUOTE)/.test(code ?? "")) {
    // What was read is left out: it may be a megabyte of anything.
    const what = (error as Error).message.replace(/ (on|at) line \d+/, "").replace(/, value is .*/s, "");
    return new SettingsError(`${file}, line ${lines}: ${what}`);
  }
  if (errnoCode(error) !== undefined) return new SettingsError(`cannot read ${file} (${errnoCode(error)})`);
  return error;
}
