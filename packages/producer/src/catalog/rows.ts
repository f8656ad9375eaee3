import { SettingsError } from "@drover/shared/errors";

/** Columns of an export, in order. Later ones may be added behind them; none is renamed or taken away. */
export const COLUMNS = ["path", "size", "sha256", "mode", "source_id", "version", "stamp"] as const;
export type Column = (typeof COLUMNS)[number];

/**
 * One file of an export. Its texts are bytes, a character each (what Node calls latin1): so names that are no UTF-8
 * stay what they are, and `<` sorts them by their bytes.
 */
export interface Row {
  path: string;
  sizeBytes: number;
  /** 64 hexadecimal digits, or "" where nobody knows. */
  sha256: string;
  /** Four octal digits, or "". */
  mode: string;
  sourceId: string;
  version: string;
  stamp: string;
}

/** Where a row was read, for messages. */
export interface Read {
  row: Row;
  line: number;
}

/** The bytes of a text, a character each. */
export function toBytes(text: string): string {
  return Buffer.from(text, "utf8").toString("latin1");
}

const utf8 = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });

/** The text that the bytes stand for; undefined where they are no UTF-8. */
export function toText(bytes: string): string | undefined {
  try {
    return utf8.decode(Buffer.from(bytes, "latin1"));
  } catch {
    return undefined;
  }
}

/** Permission bits as they are written: `0644`. */
export function showMode(mode: number | undefined): string {
  return mode === undefined ? "" : mode.toString(8).padStart(4, "0");
}

/**
 * Checks what was read of a file.
 *
 * @param where names file and line, for the message.
 * @throws SettingsError naming the column and what is wrong.
 */
export function checkRow(fields: Partial<Record<Column, string>>, where: string): Row {
  const { path = "", size = "", sha256 = "", mode = "" } = fields;
  const refuse = (column: Column, what: string) => new SettingsError(`${where}: ${column} must be ${what}`);
  if (path === "" || path.includes("\0")) throw refuse("path", "the name of a file");
  if (!/^\d{1,15}$/.test(size)) throw refuse("size", "a number of bytes");
  if (!/^([0-9a-f]{64})?$/.test(sha256))
    throw refuse("sha256", "64 hexadecimal digits in lower case, or empty");
  if (!/^([0-7]{3,4})?$/.test(mode)) throw refuse("mode", "octal, such as 0644, or empty");
  const { source_id: sourceId = "", version = "", stamp = "" } = fields;
  for (const [column, text] of Object.entries({ source_id: sourceId, version, stamp }))
    if (text.includes("\0")) throw refuse(column as Column, "without NUL");
  return {
    path,
    sizeBytes: Number(size),
    sha256,
    mode: mode === "" ? "" : mode.padStart(4, "0"),
    sourceId,
    version,
    stamp,
  };
}
