import { createReadStream } from "node:fs";
import { Readable } from "node:stream";
import { errnoCode, SettingsError } from "@drover/shared/errors";
import { type CsvError, parse } from "csv-parse";
import { parse as parseAll } from "csv-parse/sync";
import { COLUMNS, type Column, checkRow, type Read, type Row, STATE_COLUMNS, TEXTS } from "./rows.js";

const MARK = Buffer.from("\ufeff");
/** Longest record in bytes, so that a quote that is never closed cannot fill the memory. */
const MOST_RECORD_BYTES = 1 << 20;
/**
 * First characters, ASCII or full-width, that a spreadsheet takes for a formula, and the apostrophe that
 * escapes them.
 */
const FORMULA = /^(?:[=+\-@\t\r\n']|\u00ef\u00bc[\u008b\u008d\u009d\u00a0])/;

const ALL_COLUMNS: readonly string[] = [...COLUMNS, ...STATE_COLUMNS];

/** Header line of an export. @param ofState whether it is of a mirror's state. */
export function csvHead(ofState = false): string {
  return `${(ofState ? ALL_COLUMNS : COLUMNS).join(",")}\n`;
}

/**
 * Formats rows as lines of CSV (RFC 4180, but with `\n` between lines), one character per byte.
 *
 * @param ofState whether they are of a mirror's state.
 */
export function csvLines(rows: Row[], ofState = false): string {
  let text = "";
  for (const row of rows) {
    const fields = [
      ...[guarded(row.path), String(row.sizeBytes), row.sha256, row.mode, row.sourceId],
      ...[guarded(row.version), guarded(row.stamp)],
      ...(ofState ? [row.mtime ?? "", guarded(row.owner ?? ""), guarded(row.grants ?? "")] : []),
      ...(ofState
        ? [guarded(row.movedFrom ?? ""), guarded(row.eventId ?? ""), row.eventTime ?? "", row.askedMode ?? ""]
        : []),
    ];
    text += `${fields.map(quoted).join(",")}\n`;
  }
  return text;
}

/** Quotes a field that has a delimiter, a quote or a line end. */
function quoted(field: string): string {
  return /[",\n\r]/.test(field) ? `"${field.replaceAll('"', '""')}"` : field;
}

/** Escapes text that a spreadsheet would run as a formula. */
function guarded(text: string): string {
  return FORMULA.test(text) ? `'${text}` : text;
}

function unguarded(text: string | undefined): string | undefined {
  return text?.startsWith("'") ? text.slice(1) : text;
}

/**
 * Reads the rows of a CSV file whose first line has the column names. Unknown columns are ignored.
 *
 * @param needed columns that must exist.
 * @throws SettingsError naming the file and the line that cannot be read.
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
      yield { row: checkRow(fieldsOf(record, at), `${file}, line ${info.lines}`), line: info.lines };
    }
  } catch (error) {
    throw readable(error, file);
  } finally {
    input.destroy();
    parser.destroy();
  }
  if (!at) throw new SettingsError(`${file} is empty: a catalog begins with a line of column names`);
}

/**
 * Reads a few lines in memory, one character per byte: a header and records.
 *
 * @throws Error for what is none.
 */
export function parseLines(text: string): Row[] {
  const [names = [], ...records]: string[][] = parseAll(Buffer.from(text, "latin1"), {
    encoding: "latin1",
    record_delimiter: ["\n"],
    max_record_size: MOST_RECORD_BYTES,
  });
  const at = columnsOf(names, ["path", "size", "sha256"], "a line");
  return records.map((record) => checkRow(fieldsOf(record, at), "a line"));
}

/** Reads records of a mirror's state as {@link csvLines} wrote them: all columns, without the header. */
export function stateRowsOf(text: string): Row[] {
  const records: string[][] = parseAll(Buffer.from(text, "latin1"), {
    encoding: "latin1",
    record_delimiter: ["\n"],
    max_record_size: MOST_RECORD_BYTES,
  });
  const at = new Map(ALL_COLUMNS.map((name, position) => [name as Column, position]));
  return records.map((record) => checkRow(fieldsOf(record, at), "a state file"));
}

function fieldsOf(record: string[], at: ReadonlyMap<Column, number>): Partial<Record<Column, string>> {
  const fields: Partial<Record<Column, string>> = {};
  for (const [column, position] of at) fields[column] = record[position] ?? "";
  for (const column of TEXTS) {
    const text = unguarded(fields[column]);
    if (text !== undefined) fields[column] = text;
  }
  return fields;
}

/** Strips the byte order mark: with one, the parser would decode the bytes. */
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
    if (!ALL_COLUMNS.includes(name)) return;
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
    // The message leaves out the value, which may be up to a megabyte of anything.
    const what = (error as Error).message.replace(/ (on|at) line \d+/, "").replace(/, value is .*/s, "");
    return new SettingsError(`${file}, line ${lines}: ${what}`);
  }
  if (errnoCode(error) !== undefined) return new SettingsError(`cannot read ${file} (${errnoCode(error)})`);
  return error;
}
