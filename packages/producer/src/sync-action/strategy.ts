import { SettingsError } from "@drover/shared/errors";
import {
  BACKUPS,
  type Backups,
  DIRECTIONS,
  type Direction,
  type PairTerms,
  STRATEGIES,
  type Strategy,
} from "@drover/shared/pair/decide";
import type { PairLimits } from "../pair/guards.js";

/** Ways of a sync: `PULL` writes the local side alone, `PUSH` the remote one. */
export const SyncDirection = {
  PULL: "pull",
  PUSH: "push",
  BIDIRECTIONAL: "bidirectional",
} as const satisfies Record<string, Direction>;
export type SyncDirection = Direction | keyof typeof SyncDirection;

/** What becomes of two versions that were written apart. */
export const ConflictStrategy = {
  REMOTE_WINS: "remote-wins",
  LOCAL_WINS: "local-wins",
  NEWEST_WINS: "newest-wins",
  MANUAL: "manual",
  BACKUP_BOTH: "backup-both",
} as const satisfies Record<string, Strategy>;
export type ConflictStrategy = Strategy | keyof typeof ConflictStrategy;

/** How a sync goes about. Everything has a default. */
export interface SyncStrategy {
  /** Default `BIDIRECTIONAL`. */
  direction?: SyncDirection;
  /** Default `NEWEST_WINS`. */
  conflictStrategy?: ConflictStrategy;
  /** Whether nothing is changed, and it is told what would be. Default false. */
  dryRun?: boolean;
  /** Whether versions that are replaced or deleted are kept, as `backup: "all"` says it. Default true; false is `"none"`. */
  backupOnConflict?: boolean;
  /** What is kept, more exactly: `conflicts` keeps the losers of conflicts alone, and cannot be rolled back. */
  backup?: Backups;
  /** Whether several files are carried at once. Default true. */
  parallel?: boolean;
  /** Files that are carried at once, at most. Default 5. */
  maxConcurrent?: number;
  /** Seconds for connecting, for an answer, and for each KiB of a file. Default 30. */
  timeout?: number;
  /** How often a failed operation is tried again. Default 2. */
  retryAttempts?: number;
  /** Seconds before the first of these tries; each further delay is half as long again. Default 0.5. */
  retryDelay?: number;
  /** Whether deletions are not brought to the other side. Default false. */
  noDelete?: boolean;
  /** Most files that may be deleted on one side: a number, or percent such as `"50%"`. Default `"50%"`. */
  maxDelete?: number | `${number}%`;
  /** Most tracked files of one side, in percent, that may have other bytes. Default: all but one. */
  maxChangePercent?: number;
  /** A side that may have lost all of its files. Default: none. */
  allowEmpty?: "local" | "remote";
  /** Whether both sides are taken as they are although they are not what was synced. Default false. */
  adopt?: boolean;
}

/** How operations are carried and tried again. */
export interface Pace {
  atOnce: number;
  timeoutMs: number;
  /** Tries in all. */
  tries: number;
  /** Delay before the second try. */
  delayMs: number;
}

/** @throws SettingsError for a value that cannot be. */
export function paceOf(strategy: SyncStrategy): Pace {
  const { parallel = true, maxConcurrent = 5, timeout = 30, retryAttempts = 2, retryDelay = 0.5 } = strategy;
  return {
    atOnce: parallel ? whole("maxConcurrent", maxConcurrent, 1) : 1,
    timeoutMs: above0("timeout", timeout) * 1000,
    tries: whole("retryAttempts", retryAttempts, 0) + 1,
    delayMs: atLeast0("retryDelay", retryDelay) * 1000,
  };
}

/** @throws SettingsError for a word that is none. */
export function termsOf(strategy: SyncStrategy): PairTerms {
  const { direction = "bidirectional", conflictStrategy = "newest-wins", backupOnConflict = true } = strategy;
  return {
    direction: wordOf("direction", direction, DIRECTIONS),
    strategy: wordOf("conflictStrategy", conflictStrategy, STRATEGIES),
    backups: wordOf("backup", strategy.backup ?? (backupOnConflict ? "all" : "none"), BACKUPS),
    noDelete: strategy.noDelete ?? false,
  };
}

/** @throws SettingsError for a value that cannot be. */
export function limitsOf({
  maxDelete = "50%",
  maxChangePercent = 99.999,
  allowEmpty,
}: SyncStrategy): PairLimits {
  const percent =
    typeof maxDelete === "string" ? Number(/^(\d+(?:\.\d+)?)%$/.exec(maxDelete)?.[1]) : undefined;
  if (percent !== undefined && !(percent <= 100))
    throw new SettingsError(
      `maxDelete must be a number of files or a percentage such as 50%, not ${JSON.stringify(maxDelete)}`,
    );
  return {
    maxDelete: percent === undefined ? { files: whole("maxDelete", maxDelete as number, 0) } : { percent },
    maxChangePercent,
    allowEmpty,
  };
}

/** One of the words; `NEWEST_WINS` is understood as `newest-wins`. */
function wordOf<T extends string>(name: string, text: string, words: readonly T[]): T {
  const word = text.trim().toLowerCase().replaceAll("_", "-");
  const found = words.find((each) => each === word);
  if (found !== undefined) return found;
  throw new SettingsError(`${name} must be one of ${words.join(", ")}, not ${JSON.stringify(text)}`);
}

function whole(name: string, value: number, least: number): number {
  if (Number.isSafeInteger(value) && value >= least) return value;
  throw new SettingsError(`${name} must be a whole number of at least ${least}, not ${value}`);
}

function above0(name: string, value: number): number {
  if (Number.isFinite(value) && value > 0) return value;
  throw new SettingsError(`${name} must be a number of seconds above 0, not ${value}`);
}

function atLeast0(name: string, value: number): number {
  if (Number.isFinite(value) && value >= 0) return value;
  throw new SettingsError(`${name} must be a number of seconds, not ${value}`);
}
