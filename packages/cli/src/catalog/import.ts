import { statSync } from "node:fs";
import { readList } from "@drover/producer/expand/list";
import type { CatalogEntry } from "@drover/shared/catalog";
import type { Catalog, CatalogTree, NamedEntry } from "@drover/shared/catalog-store";
import { messageOf, SettingsError } from "@drover/shared/errors";
import { safeRelative } from "@drover/shared/paths";
import { readCsv } from "./csv.js";
import { COLUMNS, type Column, checkRow, type Read, toBytes, toText } from "./rows.js";

const PAGE = 1_000;
const NEEDED: Column[] = ["path", "size", "sha256", "source_id", "version", "stamp"];

export type ImportFormat = "csv" | "ndjson";

/**
 * Writes the files of an export into the catalog of a tree. All of it is read and checked before anything is written;
 * entries that the catalog has already are kept.
 *
 * @throws SettingsError naming the line that cannot be right.
 */
export async function importTree(
  catalog: Catalog,
  tree: CatalogTree,
  file: string,
  format: ImportFormat,
): Promise<{ files: number; added: number }> {
  const before = stampOf(file);
  let files = 0;
  for await (const _entry of entriesOf(file, format)) files++;
  if (stampOf(file) !== before) throw changed(file);
  await catalog.register(tree);
  let added = 0;
  let page: NamedEntry[] = [];
  for await (const entry of entriesOf(file, format)) {
    page.push(entry);
    if (page.length < PAGE) continue;
    added += await catalog.addMissing(tree.id, page);
    page = [];
  }
  added += await catalog.addMissing(tree.id, page);
  if (stampOf(file) !== before) throw changed(file);
  return { files, added };
}

function stampOf(file: string): string {
  const stat = statSync(file, { bigint: true, throwIfNoEntry: false });
  if (!stat?.isFile()) throw new SettingsError(`${file} is no file`);
  return `${stat.size}:${stat.mtimeNs}:${stat.ino}`;
}

function changed(file: string): SettingsError {
  return new SettingsError(`${file} was changed while it was read: import it again`);
}

async function* entriesOf(file: string, format: ImportFormat): AsyncGenerator<NamedEntry> {
  const rows = format === "csv" ? readCsv(file, NEEDED) : readNdjson(file);
  for await (const read of rows) yield entryOf(read, `${file}, line ${read.line}`);
}

function entryOf({ row }: Read, where: string): NamedEntry {
  const name = toText(row.path);
  const version = toText(row.version);
  const stamp = toText(row.stamp);
  if (name === undefined || version === undefined || stamp === undefined)
    throw new SettingsError(`${where}: it is not valid UTF-8`);
  try {
    safeRelative(name);
  } catch (error) {
    throw new SettingsError(`${where}: ${messageOf(error)}`);
  }
  if (!/^[\w-]{12}$/.test(row.sourceId))
    throw new SettingsError(`${where}: source_id must be 12 characters of base64url`);
  const entry: CatalogEntry = {
    source: row.sourceId,
    version,
    sha256: row.sha256,
    stamp,
    sizeBytes: row.sizeBytes,
    ...(row.mode === "" ? {} : { mode: Number.parseInt(row.mode, 8) }),
  };
  return { name, entry };
}

async function* readNdjson(file: string): AsyncGenerator<Read> {
  let line = 0;
  for await (const { text } of readList(file)) {
    line++;
    const where = `${file}, line ${line}`;
    if (text.trim() === "") continue;
    let value: unknown;
    try {
      value = JSON.parse(text);
    } catch {
      throw new SettingsError(`${where}: it is not JSON`);
    }
    if (typeof value !== "object" || value === null || Array.isArray(value))
      throw new SettingsError(`${where}: it is not a JSON object`);
    const fields: Partial<Record<Column, string>> = {};
    for (const column of COLUMNS) {
      const field = (value as Record<string, unknown>)[column] ?? "";
      if (typeof field !== "string" && typeof field !== "number")
        throw new SettingsError(`${where}: ${column} must be a string or a number`);
      fields[column] = toBytes(String(field));
    }
    yield { row: checkRow(fields, where), line };
  }
}
