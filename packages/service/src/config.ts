import type { PriceTable } from "@drover/producer/prices/price-table";
import type { S3Settings } from "@drover/producer/runs/plan/request";
import type { ReloadTarget } from "@drover/producer/sync-action/reload";
import type { EventSettings } from "./intake/route.js";
import type { DailyWindow } from "./schedule/window.js";

/** Times of something that is done by the clock: an interval in milliseconds, or a cron expression and its IANA time zone. */
export type Schedule = { everyMs: number } | { cron: string; timeZone: string };

/** What a server knows of the program that reads templates and settings. */
export interface ProgramSettings {
  /** Its cache, as `--cache` has it; undefined for none. */
  cache: string | undefined;
  /** Directory of `ADAPTER.json`; undefined for no schemas. */
  schemaDir: string | undefined;
  /** How it is told. A command is never run because of a request. */
  reload: Omit<ReloadTarget, "command">;
  /** Time limit of each way to tell it. */
  reloadTimeoutMs: number;
}

/** What a server is told by its settings. Nothing of it can be changed by a request. */
export interface ServiceConfig {
  /** Directory that objects of the bucket are copied to, and downloaded from: an absolute path. */
  downloadDir: string;
  /** Directories, and `s3://bucket/prefix`, that local sources, destinations and backups of requests must lie below. */
  roots: string[];
  /** Bucket that `/sync` copies; undefined for none. */
  bucket: string | undefined;
  /** How S3 is reached. */
  s3: S3Settings;
  /** Tries per file in all. */
  retries: number;
  timeoutMs: number;
  maxFileSizeBytes: number | undefined;
  /** Whether `/sync` leaves out what is known to be unchanged. */
  skipExisting: boolean;
  /** Globs of keys that `/sync` takes, and of those that it does not. */
  allowedTypes: string[];
  refusedTypes: string[];
  /** When `/sync` copies the whole bucket by itself; undefined for never. */
  schedule: Schedule | undefined;
  /** When the fleet's files are dispatched; undefined for always. */
  window: DailyWindow | undefined;
  /** Requests of one caller, on average; 0 for no limit. */
  requestsPerSecond: number;
  /** How long the delivery of a webhook is tried, in milliseconds. */
  webhookRetryMs: number;
  /** The program whose templates and settings are synced: where its cache is, and how it is told. */
  program: ProgramSettings;
  /** What requests and bytes cost; undefined where no limit of costs can be given. */
  prices: PriceTable | undefined;
  /** Absolute path of Drover's own state. */
  stateDir: string;
  /** Runs of each kind that went well and are kept. */
  keepRuns: number;
  keepOutcomes: { most: number; ms: number };
  /** Which notifications of storages are acted on. */
  events: EventSettings;
  /** Names of the mirrors that take events. */
  mirrors: string[];
  /** The settings as `/sync/config` shows them, secrets hidden. */
  shown: Record<string, unknown>;
}
