import { SettingsError } from "@drover/shared/errors";

/** Columns of an export, in order. New columns are appended only; none is renamed or removed. */
export const COLUMNS = ["path", "size", "sha256", "mode", "source_id", "version", "stamp"] as const;
/** Columns of the state of a mirror, behind those of its catalog. */
export const STATE_COLUMNS = [
  "mtime",
  "owner",
  "grants",
  "moved_from",
  "event_id",
  "event_time",
  "asked_mode",
] as const;
export type StateColumn = (typeof STATE_COLUMNS)[number];
export type Column = (typeof COLUMNS)[number] | StateColumn;
/** Columns of any text, which a spreadsheet could run as a formula. */
export const TEXTS = ["path", "version", "stamp", "owner", "grants", "moved_from", "event_id"] as const;

/**
 * One file of an export. Texts are bytes, one character each (latin1), so that names that are not UTF-8
 * survive and `<` sorts by bytes.
 */
export interface Row {
  path: string;
  sizeBytes: number;
  /** 64 hexadecimal digits, or "" if unknown. */
  sha256: string;
  /** Four octal digits, or "" if unknown. */
  mode: string;
  sourceId: string;
  version: string;
  stamp: string;
  /** What a mirror's state has beside; absent in exports of catalogs. "" is unknown. */
  mtime?: string;
  owner?: string;
  grants?: string;
  movedFrom?: string;
  eventId?: string;
  eventTime?: string;
  /** Mode that an event asked for; {@link Row.mode} may be that of the object. */
  askedMode?: string;
}

/** A row with its line number, for messages. */
export interface Read {
  row: Row;
  line: number;
}

/** Encodes a text as UTF-8, one character per byte. */
export function toBytes(text: string): string {
  return Buffer.from(text, "utf8").toString("latin1");
}

const utf8 = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });

/** Decodes UTF-8; undefined if the bytes are not UTF-8. */
export function toText(bytes: string): string | undefined {
  try {
    return utf8.decode(Buffer.from(bytes, "latin1"));
  } catch {
    return undefined;
  }
}

/** Formats permission bits as four octal digits (`0644`), or "". */
export function showMode(mode: number | undefined): string {
  return mode === undefined ? "" : mode.toString(8).padStart(4, "0");
}

/**
 * Checks the fields of one file.
 *
 * @param where file and line, for the message.
 * @throws SettingsError naming the column and the problem.
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
  const { mtime, owner, grants, moved_from: movedFrom, event_id: eventId, event_time: eventTime } = fields;
  const { asked_mode: askedMode } = fields;
  if (!/^([0-7]{3,4})?$/.test(askedMode ?? "")) throw refuse("asked_mode", "octal, such as 0644, or empty");
  const texts = { source_id: sourceId, version, stamp, mtime, owner, grants, movedFrom, eventId, eventTime };
  for (const [column, text] of Object.entries(texts))
    if (text?.includes("\0")) throw refuse(column as Column, "without NUL");
  return {
    path,
    sizeBytes: Number(size),
    sha256,
    mode: mode === "" ? "" : mode.padStart(4, "0"),
    sourceId,
    version,
    stamp,
    ...(mtime === undefined ? {} : { mtime }),
    ...(owner === undefined ? {} : { owner }),
    ...(grants === undefined ? {} : { grants }),
    ...(movedFrom === undefined ? {} : { movedFrom }),
    ...(eventId === undefined ? {} : { eventId }),
    ...(eventTime === undefined ? {} : { eventTime }),
    ...(askedMode === undefined ? {} : { askedMode }),
  };
}
