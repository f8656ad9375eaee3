import { existsSync, mkdirSync, rmSync } from "node:fs";
import { dirname } from "node:path";
import type { DatabaseSync } from "node:sqlite";
import { readCsv } from "@drover/producer/catalog/csv";
import { type Row, toText } from "@drover/producer/catalog/rows";
import { sqlite } from "@drover/producer/catalog/sqlite";
import { errnoCode, messageOf, SettingsError } from "@drover/shared/errors";
import type { MirrorConfig } from "../config.js";

/** Rows in one transaction. */
const BATCH = 10_000;

const SCHEMA = `
  CREATE TABLE mirror (name TEXT NOT NULL, source TEXT NOT NULL, destination TEXT NOT NULL, state_file TEXT NOT NULL, updated_at TEXT NOT NULL);
  CREATE TABLE files (
    path TEXT PRIMARY KEY, size INTEGER NOT NULL, sha256 TEXT, mode TEXT, version TEXT NOT NULL, stamp TEXT,
    mtime TEXT, owner TEXT, grants TEXT, moved_from TEXT, event_id TEXT, event_time TEXT
  ) WITHOUT ROWID`;

/** What a database is to say after a state was exported. */
export interface DatabaseChange {
  /** The state file. */
  path: string;
  /** The state file that the database must be of for the change to do; undefined to fill it anew. */
  since: string | undefined;
  rows: readonly Row[];
  /** Paths that are in the state no more. */
  gone: readonly string[];
}

/**
 * Brings the database of a mirror up to date, in one transaction where little has changed.
 *
 * @throws SettingsError if it cannot be written.
 */
export async function updateDatabase(config: MirrorConfig, change: DatabaseChange): Promise<void> {
  const { database: path } = config;
  if (path === undefined) return;
  const { DatabaseSync } = await sqlite();
  try {
    mkdirSync(dirname(path), { recursive: true });
    if (change.since !== undefined && existsSync(path)) {
      const database = new DatabaseSync(path);
      try {
        if (stateFileOf(database) === change.since) {
          applyChange(database, change);
          return;
        }
      } finally {
        database.close();
      }
    }
    await fillAnew(DatabaseSync, path, config, change.path);
  } catch (error) {
    if (error instanceof SettingsError) throw error;
    throw new SettingsError(`cannot write the database ${path} (${errnoCode(error) ?? messageOf(error)})`);
  }
}

function stateFileOf(database: DatabaseSync): string | undefined {
  const has = database
    .prepare("SELECT count(*) AS n FROM sqlite_master WHERE name IN ('mirror', 'files')")
    .get();
  if (has?.n !== 2) return undefined;
  return database.prepare("SELECT state_file FROM mirror").get()?.state_file as string | undefined;
}

function applyChange(database: DatabaseSync, { path, rows, gone }: DatabaseChange): void {
  database.exec("BEGIN IMMEDIATE");
  const insert = database.prepare(INSERT);
  for (const row of rows) insert.run(...valuesOf(row));
  const remove = database.prepare("DELETE FROM files WHERE path = ?");
  for (const each of gone) remove.run(each);
  database.prepare("UPDATE mirror SET state_file = ?, updated_at = ?").run(path, new Date().toISOString());
  database.exec("COMMIT");
}

async function fillAnew(
  Database: typeof DatabaseSync,
  path: string,
  { name, bucket, prefix, root }: MirrorConfig,
  stateFile: string,
): Promise<void> {
  for (const each of [path, `${path}-journal`, `${path}-wal`, `${path}-shm`]) rmSync(each, { force: true });
  const database = new Database(path);
  try {
    database.exec(`${SCHEMA};`);
    const insert = database.prepare(INSERT);
    database.exec("BEGIN");
    let count = 0;
    for await (const { row } of readCsv(stateFile, ["path", "size", "sha256"])) {
      insert.run(...valuesOf(row));
      if (++count % BATCH === 0) database.exec("COMMIT; BEGIN");
    }
    database
      .prepare("INSERT INTO mirror VALUES (?, ?, ?, ?, ?)")
      .run(name, `s3://${bucket}/${prefix}`, root, stateFile, new Date().toISOString());
    database.exec("COMMIT");
  } finally {
    database.close();
  }
}

const INSERT = `INSERT OR REPLACE INTO files VALUES (${Array(12).fill("?").join(", ")})`;

function valuesOf(row: Row): (string | number | null)[] {
  const text = (bytes: string | undefined) => (bytes ? (toText(bytes) ?? null) : null);
  return [
    ...[text(row.path), row.sizeBytes, row.sha256 || null, row.mode || null],
    ...[text(row.version) ?? "", text(row.stamp), row.mtime || null],
    ...[text(row.owner), text(row.grants), text(row.movedFrom), text(row.eventId), row.eventTime || null],
  ];
}
