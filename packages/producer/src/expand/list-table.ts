import { accessSchema, type Permissions } from "@drover/shared/permissions";
import { type Asked, type ListedSource, listedSource, refusal } from "./list-line.js";

/** Columns of a list with a header; `url` is another name of `source`. */
const COLUMNS = [
  ...(["source", "url", "destination", "sha256", "mode", "access"] as const),
  ...(["from_source", "from_destination"] as const),
] as const;
type Column = (typeof COLUMNS)[number];

/** The form of a list with a header: CSV or TSV, and its columns in order. */
export interface TableForm {
  delimiter: string;
  columns: Column[];
}

/**
 * The form of a list, by its first line.
 *
 * @returns undefined for a line that does not consist of known names of columns alone.
 * @throws TransferError for a header without a source, or with a column twice.
 */
export function tableFormOf(text: string): TableForm | undefined {
  for (const delimiter of ["\t", ","]) {
    const columns = columnsOf(text, delimiter);
    if (columns === undefined) continue;
    const sources = columns.filter((name) => name === "source" || name === "url").length;
    if (sources !== 1) throw refusal("a header needs one column source or url");
    if (new Set(columns).size < columns.length) throw refusal("two columns have the same name");
    return { delimiter, columns };
  }
  return undefined;
}

function columnsOf(text: string, delimiter: string): Column[] | undefined {
  let names: string[] | undefined;
  try {
    names = parseRecord(text, delimiter);
  } catch {
    return undefined; // whatever it is, it is no header
  }
  const columns = names?.map((name) => name.trim().toLowerCase());
  return columns?.every((name): name is Column => (COLUMNS as readonly string[]).includes(name))
    ? columns
    : undefined;
}

/**
 * The source that a record names. Columns that it does not have are empty.
 *
 * @throws TransferError, permanent, for a record that means nothing.
 */
export function sourceOfRecord(fields: string[], { columns }: TableForm): ListedSource {
  if (fields.length > columns.length)
    throw refusal(
      `it has ${fields.length} fields, and the header has ${columns.length}: quote a field with a delimiter`,
    );
  const of = (column: Column) => fields[columns.indexOf(column)] ?? "";
  const source = columns.includes("url") ? of("url") : of("source");
  const asks: Asked = {};
  const mode = modeOf(of("mode"));
  const permissions: Permissions = { ...(mode === undefined ? {} : { mode }), ...accessOf(of("access")) };
  if (Object.keys(permissions).length > 0) asks.permissions = permissions;
  const from = { source: of("from_source"), destination: of("from_destination") };
  if (from.source !== "" && from.destination !== "") asks.from = from;
  return {
    ...listedSource(source, of("destination"), of("sha256")),
    ...(Object.keys(asks).length === 0 ? {} : { asks }),
  };
}

/** Owner and grants, in JSON. @throws TransferError for anything else. */
function accessOf(text: string): Permissions {
  if (text === "") return {};
  try {
    return accessSchema.parse(JSON.parse(text), { jitless: true }) as Permissions;
  } catch {
    throw refusal("its access is no owner and grants in JSON");
  }
}

/** @throws TransferError for permission bits that no file has. */
function modeOf(text: string): number | undefined {
  if (text === "") return undefined;
  if (!/^0?[0-7]{3}$/.test(text)) throw refusal("its mode is no permission bits in octal, such as 0644");
  return Number.parseInt(text, 8);
}

/**
 * Parses one record of RFC 4180.
 *
 * @returns undefined if it goes on in the next line.
 * @throws TransferError for a quote that is neither around a field nor doubled.
 */
export function parseRecord(text: string, delimiter: string): string[] | undefined {
  if (!text.includes('"')) return text.split(delimiter);
  const fields: string[] = [];
  for (let at = 0; at <= text.length; at++) {
    let end: number;
    if (text[at] === '"') {
      end = endOfQuoted(text, at);
      if (end < 0) return undefined;
      fields.push(text.slice(at + 1, end - 1).replaceAll('""', '"'));
      if (end < text.length && text[end] !== delimiter) throw refusal("text follows a field in quotes");
    } else {
      end = text.indexOf(delimiter, at);
      if (end < 0) end = text.length;
      const field = text.slice(at, end);
      if (field.includes('"'))
        throw refusal("a quote is within a field without quotes: quote the field and double the quote");
      fields.push(field);
    }
    at = end;
  }
  return fields;
}

/** Index behind the closing quote of a field that begins with one; -1 if there is none. */
function endOfQuoted(text: string, start: number): number {
  for (let at = start + 1; ; at += 2) {
    at = text.indexOf('"', at);
    if (at < 0) return -1;
    if (text[at + 1] !== '"') return at + 1;
  }
}
