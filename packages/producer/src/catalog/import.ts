import { statSync } from "node:fs";
import { messageOf, SettingsError } from "@drover/shared/errors";
import type { Catalog, CatalogTree, NamedEntry } from "@drover/shared/protocol/catalog";
import type { CatalogEntry } from "@drover/shared/protocol/catalog-entry";
import { destinationOf } from "@drover/shared/storage/registry";
import type { DestinationCheck } from "@drover/shared/storage/storage";
import { MOST_LINE_BYTES, readList } from "../expand/list.js";
import { readCsv } from "./csv.js";
import { COLUMNS, type Column, checkRow, type Read, toBytes, toText } from "./rows.js";

const PAGE = 1_000;
const NEEDED: Column[] = ["path", "size", "sha256", "source_id", "version", "stamp"];

export type ImportFormat = "csv" | "ndjson";

/**
 * Adds the files of an export to the catalog of a tree. The whole export is read and checked before anything
 * is written. Entries that exist in the catalog are kept.
 *
 * @param check looks at the destination for trees whose syncs do not: files that differ from their entries
 *   are left out. Undefined skips this.
 * @throws SettingsError naming the invalid line; also if the file changes while it is read.
 */
export async function importTree(
  catalog: Catalog,
  tree: CatalogTree,
  file: string,
  format: ImportFormat,
  check: DestinationCheck | undefined,
): Promise<{ files: number; added: number; changed: number }> {
  const before = stampOf(file);
  let files = 0;
  for await (const _entry of entriesOf(tree, file, format)) files++;
  if (stampOf(file) !== before) throw changed(file);
  let added = 0;
  let kept = 0;
  let page: NamedEntry[] = [];
  const add = async () => {
    const asLeft = await check?.asLeft(page.map(({ name, entry }) => ({ name, stamp: entry.stamp })));
    if (check?.trouble) throw new SettingsError(`cannot look at ${tree.root}: ${messageOf(check.trouble)}`);
    const good = page.filter((_, at) => asLeft?.[at] ?? true);
    page = [];
    if (good.length === 0) return;
    kept += good.length;
    await catalog.register(tree);
    added += await catalog.addMissing(tree.id, good);
  };
  for await (const entry of entriesOf(tree, file, format)) if (page.push(entry) >= PAGE) await add();
  await add();
  if (stampOf(file) !== before) throw changed(file);
  return { files, added, changed: files - kept };
}

function stampOf(file: string): string {
  const stat = statSync(file, { bigint: true, throwIfNoEntry: false });
  if (!stat?.isFile()) throw new SettingsError(`${file} is no file`);
  return `${stat.size}:${stat.mtimeNs}:${stat.ino}`;
}

function changed(file: string): SettingsError {
  return new SettingsError(`${file} was changed while it was read: import it again`);
}

async function* entriesOf(
  { root }: CatalogTree,
  file: string,
  format: ImportFormat,
): AsyncGenerator<NamedEntry> {
  const { checkName } = destinationOf(root);
  const rows = format === "csv" ? readCsv(file, NEEDED) : readNdjson(file);
  for await (const read of rows) yield entryOf(read, checkName, `${file}, line ${read.line}`);
}

function entryOf({ row }: Read, checkName: (name: string) => void, where: string): NamedEntry {
  const name = toText(row.path);
  const version = toText(row.version);
  const stamp = toText(row.stamp);
  if (name === undefined || version === undefined || stamp === undefined)
    throw new SettingsError(`${where}: it is not valid UTF-8`);
  try {
    checkName(name);
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
  for await (const { text, tooLong } of readList(file)) {
    line++;
    const where = `${file}, line ${line}`;
    if (tooLong) throw new SettingsError(`${where}: it is over ${MOST_LINE_BYTES} bytes`);
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
