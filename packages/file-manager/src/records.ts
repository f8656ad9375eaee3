import { chmodSync } from "node:fs";
import { join } from "node:path";
import type { DatabaseSync, StatementSync } from "node:sqlite";
import { makeDirectory } from "@drover/shared/make-directory";
import type { WirePermissions } from "@drover/shared/storage/filemanager/contract";

/** Directory of the records in the root of the files. No file may have that name. */
export const RECORDS = ".drover-file-manager";
/** For so long permissions are kept that come before the file that they are for. */
export const KEPT_MS = 3_600_000;

/** What is known of a file beside what the file system keeps. */
export interface FileRecord {
  /** Stamp of the file that `sha256` and `sourceVersion` are of. */
  stamp: string;
  /** Hexadecimal. */
  sha256: string;
  /** Greatest fence that a request for this name had; "" for none. */
  fence: string;
  sourceVersion: string;
  /** Owner and grants. The mode is the file system's. */
  permissions: Omit<WirePermissions, "mode">;
}

const NOTHING: FileRecord = { stamp: "", sha256: "", fence: "", sourceVersion: "", permissions: {} };

/** Records of files in an SQLite database. */
export class Records {
  readonly #database: DatabaseSync;
  readonly #get: StatementSync;
  readonly #set: StatementSync;

  private constructor(database: DatabaseSync) {
    this.#database = database;
    database.exec(`
      PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL;
      CREATE TABLE IF NOT EXISTS files (
        path TEXT PRIMARY KEY, stamp TEXT NOT NULL, sha256 TEXT NOT NULL, fence TEXT NOT NULL,
        source_version TEXT NOT NULL, permissions TEXT NOT NULL) WITHOUT ROWID;
      CREATE TABLE IF NOT EXISTS kept (
        path TEXT PRIMARY KEY, permissions TEXT NOT NULL, until_ms INTEGER NOT NULL) WITHOUT ROWID;
    `);
    this.#get = database.prepare("SELECT * FROM files WHERE path = ?");
    this.#set = database.prepare("INSERT OR REPLACE INTO files VALUES (?, ?, ?, ?, ?, ?)");
  }

  /** @param root directory of the files. */
  static async open(root: string): Promise<Records> {
    const { emitWarning } = process;
    process.emitWarning = () => {}; // Node 22 still calls it experimental
    const { DatabaseSync } = await import("node:sqlite").finally(() => {
      process.emitWarning = emitWarning;
    });
    makeDirectory(join(root, RECORDS), 0o700);
    const path = join(root, RECORDS, "records.sqlite");
    const records = new Records(new DatabaseSync(path));
    chmodSync(path, 0o600);
    return records;
  }

  get(path: string): FileRecord {
    const row = this.#get.get(path);
    if (!row) return NOTHING;
    return {
      stamp: String(row.stamp),
      sha256: String(row.sha256),
      fence: String(row.fence),
      sourceVersion: String(row.source_version),
      permissions: JSON.parse(String(row.permissions)),
    };
  }

  set(path: string, { stamp, sha256, fence, sourceVersion, permissions }: FileRecord): void {
    this.#set.run(path, stamp, sha256, fence, sourceVersion, JSON.stringify(permissions));
  }

  /** Keeps permissions for a file that is not there yet. @returns until when (Unix ms). */
  keep(path: string, permissions: WirePermissions, nowMs = Date.now()): number {
    const untilMs = nowMs + KEPT_MS;
    this.#database.prepare("DELETE FROM kept WHERE until_ms < ?").run(nowMs);
    const merged = JSON.stringify({ ...this.#keptFor(path, nowMs), ...permissions });
    this.#database.prepare("INSERT OR REPLACE INTO kept VALUES (?, ?, ?)").run(path, merged, untilMs);
    return untilMs;
  }

  #keptFor(path: string, nowMs: number): WirePermissions {
    const row = this.#database
      .prepare("SELECT permissions FROM kept WHERE path = ? AND until_ms >= ?")
      .get(path, nowMs);
    return row ? JSON.parse(String(row.permissions)) : {};
  }

  /** The permissions that are kept for a file; from now on they are not. */
  takeKept(path: string, nowMs = Date.now()): WirePermissions {
    const kept = this.#keptFor(path, nowMs);
    if (Object.keys(kept).length > 0) this.#database.prepare("DELETE FROM kept WHERE path = ?").run(path);
    return kept;
  }

  close(): void {
    this.#database.close();
  }
}
