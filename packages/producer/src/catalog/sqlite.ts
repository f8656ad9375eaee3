import { closeSync, fsyncSync, openSync } from "node:fs";
import type { CatalogTree } from "@drover/shared/protocol/catalog";
import { COLUMNS, type Row, toText } from "./rows.js";

/** Loads node:sqlite without the warning of Node 22 that it is experimental. */
export async function sqlite(): Promise<typeof import("node:sqlite")> {
  const { emitWarning } = process;
  process.emitWarning = () => {};
  try {
    return await import("node:sqlite");
  } finally {
    process.emitWarning = emitWarning;
  }
}

/**
 * Writes rows into a new SQLite database: table `files` with the columns of the CSV, keyed by path, and table
 * `tree` with one row that names their tree.
 *
 * @param path of the database, which must not exist.
 */
export async function writeSqlite(path: string, tree: CatalogTree, pages: Iterable<Row[]>): Promise<void> {
  const { DatabaseSync } = await sqlite();
  const database = new DatabaseSync(path);
  try {
    // An unfinished file is thrown away, so it needs no journal.
    database.exec("PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF");
    database.exec(`
      CREATE TABLE tree (id TEXT NOT NULL, root TEXT NOT NULL);
      CREATE TABLE files (
        path TEXT PRIMARY KEY, size INTEGER NOT NULL, sha256 TEXT, mode TEXT,
        source_id TEXT NOT NULL, version TEXT NOT NULL, stamp TEXT NOT NULL
      ) WITHOUT ROWID`);
    database.prepare("INSERT INTO tree VALUES (?, ?)").run(tree.id, tree.root);
    const insert = database.prepare(`INSERT INTO files VALUES (${COLUMNS.map(() => "?").join(", ")})`);
    for (const rows of pages) {
      database.exec("BEGIN");
      for (const { path: name, sizeBytes, sha256, mode, sourceId, version, stamp } of rows) {
        const texts = [name, version, stamp].map((each) => toText(each) as string);
        insert.run(
          texts[0] as string,
          sizeBytes,
          sha256 || null,
          mode || null,
          sourceId,
          texts[1] as string,
          texts[2] as string,
        );
      }
      database.exec("COMMIT");
    }
  } finally {
    database.close();
  }
  const fd = openSync(path, "r");
  fsyncSync(fd);
  closeSync(fd);
}
