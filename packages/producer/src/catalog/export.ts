import { createWriteStream, renameSync, rmSync } from "node:fs";
import { basename, dirname, join } from "node:path";
import { Readable } from "node:stream";
import { pipeline } from "node:stream/promises";
import { errnoCode, SettingsError } from "@drover/shared/errors";
import type { Catalog, CatalogTree } from "@drover/shared/protocol/catalog";
import { decodeCatalog, encodeCatalog } from "@drover/shared/protocol/catalog-entry";
import { csvHead, csvLines } from "./csv.js";
import { type Row, showMode, toBytes, toText } from "./rows.js";
import { Sorter } from "./sorter.js";
import { writeSqlite } from "./sqlite.js";

export const FORMATS = ["csv", "ndjson", "sqlite"] as const;
export type ExportFormat = (typeof FORMATS)[number];

/** Rows that are written at once. */
const PAGE = 1_000;

/**
 * Writes the catalog entries of a tree, sorted by the bytes of the paths.
 *
 * @param output file, which appears complete or not at all; undefined for standard output.
 * @returns the number of files.
 * @throws SettingsError if the output cannot be written.
 */
export async function exportTree(
  catalog: Catalog,
  tree: CatalogTree,
  format: ExportFormat,
  output: string | undefined,
): Promise<number> {
  const sorter = new Sorter();
  let count = 0;
  const counted = function* () {
    for (const rows of pages(sorter)) {
      count += rows.length;
      yield rows;
    }
  };
  try {
    for await (const page of catalog.entries(tree.id))
      for (const { name, entry } of page)
        sorter.add(`${toBytes(name)}\0${encodeCatalog(entry).toString("latin1")}`);
    if (output === undefined) await toStandardOutput(textOf(format, counted()));
    else {
      await whole(output, async (path) => {
        if (format === "sqlite") await writeSqlite(path, tree, counted());
        else
          await pipeline(
            Readable.from(textOf(format, counted())),
            createWriteStream(path, { flags: "wx", flush: true }),
          );
      });
    }
    return count;
  } finally {
    sorter.close();
  }
}

function* pages(sorter: Sorter): Generator<Row[]> {
  let rows: Row[] = [];
  let last: string | undefined;
  for (const record of sorter.sorted()) {
    const end = record.indexOf("\0");
    const path = record.slice(0, end);
    if (path === last) continue; // HSCAN may return an entry twice
    last = path;
    const entry = decodeCatalog(Buffer.from(record.slice(end + 1), "latin1"));
    if (!entry) throw new Error("an entry cannot be read back");
    const { sizeBytes, sha256, source, version, stamp } = entry;
    rows.push({
      path,
      sizeBytes,
      sha256,
      mode: showMode(entry.mode),
      sourceId: source,
      version: toBytes(version),
      stamp: toBytes(stamp),
    });
    if (rows.length < PAGE) continue;
    yield rows;
    rows = [];
  }
  if (rows.length > 0) yield rows;
}

function* textOf(format: ExportFormat, rows: Iterable<Row[]>): Generator<Buffer> {
  if (format === "csv") yield Buffer.from(csvHead());
  for (const page of rows)
    yield Buffer.from(format === "csv" ? csvLines(page) : page.map(ndjsonLine).join(""), "latin1");
}

/** Formats one row as a line of JSON, one character per byte. */
function ndjsonLine({ path, sizeBytes, sha256, mode, sourceId, version, stamp }: Row): string {
  const line = {
    path: toText(path),
    size: sizeBytes,
    sha256: sha256 || null,
    mode: mode || null,
    source_id: sourceId,
    version: toText(version),
    stamp: toText(stamp),
  };
  return toBytes(`${JSON.stringify(line)}\n`);
}

/** Writes to standard output. A reader that closes the pipe (`| head`) ends the output without an error. */
export async function toStandardOutput(
  chunks: Iterable<Uint8Array> | AsyncIterable<Uint8Array>,
): Promise<void> {
  try {
    await pipeline(Readable.from(chunks), process.stdout, { end: false });
  } catch (error) {
    if (!/^(EPIPE|ERR_STREAM_PREMATURE_CLOSE|ERR_STREAM_DESTROYED)$/.test(errnoCode(error) ?? ""))
      throw error;
  }
}

/** Writes to a temporary file in the same directory, then renames it to its final name. */
export async function whole(output: string, write: (path: string) => Promise<void>): Promise<void> {
  const path = join(dirname(output), `.${basename(output)}.${process.pid}.tmp`);
  try {
    await write(path);
    renameSync(path, output);
  } catch (error) {
    rmSync(path, { force: true });
    if (errnoCode(error) === undefined) throw error;
    throw new SettingsError(`cannot write ${output} (${errnoCode(error)})`);
  }
}
