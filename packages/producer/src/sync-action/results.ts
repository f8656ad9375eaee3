/** A path, or a key, of which something is to be said. */
export interface SyncIssue {
  path: string;
  /** Never holds a value of a file. */
  why: string;
  /** Where in the file, from 1. */
  line?: number;
  column?: number;
}

/** A path that both sides had changed. */
export interface SyncConflict {
  path: string;
  /** When each side's version was edited; absent for a side that has none, or where it was not asked. */
  localMtime?: Date;
  remoteMtime?: Date;
  /** Whose version both sides have now; `both` where the other one has a name of its own; absent while nobody has decided. */
  winner?: "local" | "remote" | "both";
  /** Why it waits for a person, with the strategy `manual`. */
  reason?: string;
}

/** What a sync of one or several pairs did; in a dry run, what it would do. */
export class SyncResult {
  /** Paths that were copied or deleted. */
  readonly syncedItems: string[] = [];
  readonly conflicts: SyncConflict[] = [];
  /** Paths and hooks that failed. */
  readonly errors: SyncIssue[] = [];
  /** Paths that were left as they are. */
  readonly skipped: SyncIssue[] = [];
  /** Where versions are kept that were replaced or deleted, and names of conflict copies. */
  readonly backedUp: string[] = [];
  /** Ids of the runs that carried files. */
  readonly runs: string[] = [];
  /** Ids of the pairs. */
  readonly pairs: string[] = [];
  /** Whether nothing failed or waits for somebody; of a dry run, whether nothing would. */
  isSettled = true;
  /** Whether it was stopped before its end; the next sync goes on. */
  interrupted = false;

  constructor(readonly dryRun: boolean) {}

  /** Whether both sides are the same now, as far as they are to be, and all that follows a sync was done. */
  get inSync(): boolean {
    return this.isSettled && !(this.dryRun && this.syncedItems.length > 0);
  }

  get hasConflicts(): boolean {
    return this.conflicts.length > 0;
  }

  get hasErrors(): boolean {
    return this.errors.length > 0;
  }

  /** The fields as an object for programs, with names as other programs have them: `synced_items`. */
  toJSON(): Record<string, unknown> {
    const { isSettled: _, ...fields } = this;
    const { inSync, hasConflicts, hasErrors } = this;
    return snakeCase({ ...fields, inSync, hasConflicts, hasErrors }) as Record<string, unknown>;
  }
}

/** What a sync of templates did. */
export class TemplateSyncResult extends SyncResult {
  /** Keys of rendered or loaded templates that were removed from the cache. */
  readonly cacheInvalidated: string[] = [];
  /** Keys of compiled templates that were removed from it. */
  readonly bytecodeCleared: string[] = [];
  /** Names that several directories have: the first one's file is synced. */
  readonly collisions: { path: string; used: string; ignored: string }[] = [];
}

/** What a sync of settings did. */
export class SettingsSyncResult extends SyncResult {
  /** Stems of the files that were copied or deleted. */
  adaptersAffected: string[] = [];
  /** Whether the program was told to load its settings again. */
  configReloaded = false;
}

/** What was done with a cache. */
export class CacheSyncResult {
  readonly invalidatedKeys: string[] = [];
  /** Keys that were set, and URLs that were asked for. */
  readonly warmedKeys: string[] = [];
  readonly clearedNamespaces: string[] = [];
  /** What could not be warmed, and why. */
  readonly skipped: SyncIssue[] = [];
  readonly errors: SyncIssue[] = [];

  constructor(
    readonly operation: string,
    readonly dryRun: boolean,
  ) {}

  toJSON(): Record<string, unknown> {
    return snakeCase({ ...this }) as Record<string, unknown>;
  }
}

/** Conflicts wait for a person: `result` lists them, and what was synced all the same. */
export class ManualResolutionRequired extends Error {
  override name = "ManualResolutionRequired";

  constructor(readonly result: SyncResult) {
    super("Manual conflict resolution required");
  }
}

function snakeCase(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(snakeCase);
  if (typeof value !== "object" || value === null || value instanceof Date) return value;
  return Object.fromEntries(
    Object.entries(value).map(([name, each]) => [
      name.replace(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`),
      snakeCase(each),
    ]),
  );
}
