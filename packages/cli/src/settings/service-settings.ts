import { readFileSync } from "node:fs";
import { resolve } from "node:path";
import type { Schedule } from "@drover/service/config";
import type { DailyWindow } from "@drover/service/schedule/window";
import { errnoCode, messageOf, SettingsError } from "@drover/shared/errors";
import { CronExpressionParser } from "cron-parser";
import { LEVEL_NAMES, type LogLevel, levelNamed } from "./log-level.js";
import type { Resolved, SettingName, Settings } from "./settings.js";
import { parseDecimal } from "./units.js";

/** Settings of the HTTP service that come from the environment alone, or have a flag that is given to this. */
export interface ServiceSettings {
  host: string | undefined;
  port: number;
  downloadDir: string;
  bucket: string | undefined;
  retries: number;
  timeoutMs: number;
  maxFileSizeBytes: number;
  /** When the bucket is copied by itself; undefined for never. */
  schedule: Schedule | undefined;
  /** When the fleet's files are dispatched; undefined for always. */
  window: DailyWindow | undefined;
  skipExisting: boolean;
  verifyIntegrity: boolean;
  logLevel: LogLevel;
  logFile: string;
  apiToken: string | undefined;
  corsOrigins: string[];
  /** Requests of one caller, on average; 0 for no limit. */
  requestsPerSecond: number;
  /** How long the delivery of a webhook is tried, in milliseconds. */
  webhookRetryMs: number;
  allowedTypes: string[];
  refusedTypes: string[];
}

/** Flags of `drover serve` that go before the environment. */
export interface ServiceFlags {
  host?: string;
  port?: string;
  downloadDir?: string;
}

/**
 * The settings of the service: flags, then Drover's own settings where they are set, then the variables below, then their
 * defaults. An empty variable is as good as none.
 *
 * @throws SettingsError naming the variable.
 */
export function serviceSettingsOf(flags: ServiceFlags, { values, origins }: Resolved): ServiceSettings {
  const own = <Name extends SettingName>(name: Name): Settings[Name] | undefined =>
    origins[name] === "default" ? undefined : values[name];
  const timeout = own("timeout") ?? number("DOWNLOAD_TIMEOUT_SECONDS", 300, { least: 0.1, most: 86_400 });
  const hours = number("SYNC_INTERVAL_HOURS", 1, { least: 1 / 3600, most: 8_760 });
  return {
    host: flags.host ?? variable("API_HOST"),
    port: portOf(
      flags.port ?? variable("API_PORT") ?? "8888",
      flags.port === undefined ? "API_PORT" : "--port",
    ),
    downloadDir: resolve(flags.downloadDir ?? variable("LOCAL_DOWNLOAD_DIR") ?? "downloaded_files"),
    bucket: own("s3-bucket") ?? variable("S3_BUCKET_NAME"),
    retries: own("retries") ?? number("RETRY_ATTEMPTS", 3, { least: 1, most: 1_000, whole: true }),
    timeoutMs: timeout * 1000,
    maxFileSizeBytes:
      own("max-file-size") ?? number("MAX_FILE_SIZE_MB", 1_000, { least: 0.001, most: 1e9 }) * 1e6,
    schedule: yes("ENABLE_PERIODIC_SYNC", true) ? (cronOf() ?? { everyMs: hours * 3_600_000 }) : undefined,
    window: windowOf(),
    skipExisting: yes("SKIP_EXISTING_FILES", true),
    verifyIntegrity: yes("VERIFY_FILE_INTEGRITY", true),
    logLevel: own("log-level") ?? levelOf(variable("LOG_LEVEL") ?? "INFO"),
    logFile: resolve(variable("LOG_FILE") ?? "s3_notifications.log"),
    apiToken: tokenOf(),
    corsOrigins: listOf("CORS_ORIGINS"),
    requestsPerSecond: number("API_RATE_LIMIT", 100, { least: 0, most: 1_000_000 }),
    webhookRetryMs: number("WEBHOOK_RETRY_HOURS", 24, { least: 0, most: 720 }) * 3_600_000,
    allowedTypes: listOf("ALLOWED_FILE_TYPES").map(globOf),
    refusedTypes: listOf("REFUSED_FILE_TYPES").map(globOf),
  };
}

/** The times of SYNC_CRON in SYNC_TIME_ZONE; undefined where there is none. */
function cronOf(): Schedule | undefined {
  const cron = variable("SYNC_CRON");
  const timeZone = timeZoneOf();
  if (cron === undefined) return undefined;
  if (variable("SYNC_INTERVAL_HOURS") !== undefined)
    throw new SettingsError("SYNC_CRON and SYNC_INTERVAL_HOURS exclude each other: set one");
  try {
    CronExpressionParser.parse(cron, { tz: timeZone });
  } catch (error) {
    throw new SettingsError(`SYNC_CRON must be a cron expression such as '0 2 * * *': ${messageOf(error)}`);
  }
  return { cron, timeZone };
}

/** The times of SYNC_WINDOW in SYNC_TIME_ZONE; undefined where there is none. */
function windowOf(): DailyWindow | undefined {
  const given = variable("SYNC_WINDOW");
  if (given === undefined) return undefined;
  const times = /^([01]\d|2[0-3]):([0-5]\d)-([01]\d|2[0-3]):([0-5]\d)$/.exec(given)?.slice(1).map(Number);
  const [fromHour = 0, fromMinute = 0, toHour = 0, toMinute = 0] = times ?? [];
  const window = { fromMinute: fromHour * 60 + fromMinute, toMinute: toHour * 60 + toMinute };
  if (window.fromMinute === window.toMinute)
    throw new SettingsError(
      `SYNC_WINDOW must be two times of the day such as 22:00-06:00, not ${JSON.stringify(given)}`,
    );
  return { ...window, timeZone: timeZoneOf() };
}

function timeZoneOf(): string {
  const timeZone = variable("SYNC_TIME_ZONE") ?? "UTC";
  try {
    new Intl.DateTimeFormat("en", { timeZone });
    return timeZone;
  } catch {
    throw new SettingsError(
      `SYNC_TIME_ZONE must be a zone such as Europe/Berlin, not ${JSON.stringify(timeZone)}`,
    );
  }
}

function variable(name: string): string | undefined {
  return process.env[name] || undefined;
}

function listOf(name: string): string[] {
  return (variable(name) ?? "")
    .split(",")
    .map((each) => each.trim())
    .filter((each) => each !== "");
}

/** `.csv` and `csv` mean files whose names end so; anything else is a glob. */
function globOf(type: string): string {
  return /^\.?\w+$/.test(type) ? `*.${type.replace(/^\./, "")}` : type;
}

interface Range {
  least: number;
  most: number;
  whole?: boolean;
}

function number(name: string, fallback: number, { least, most, whole = false }: Range): number {
  const given = variable(name);
  if (given === undefined) return fallback;
  const parsed = parseDecimal(given);
  if (parsed >= least && parsed <= most && (!whole || Number.isInteger(parsed))) return parsed;
  throw new SettingsError(
    `${name} must be a ${whole ? "whole " : ""}number from ${least} to ${most}, not ${JSON.stringify(given)}`,
  );
}

function portOf(given: string, where: string): number {
  const port = Number(given);
  if (/^\d+$/.test(given) && port <= 65_535) return port;
  throw new SettingsError(`${where} must be a port, not ${JSON.stringify(given)}`);
}

function yes(name: string, fallback: boolean): boolean {
  const given = variable(name);
  if (given === undefined) return fallback;
  if (/^(true|yes|on|1)$/i.test(given)) return true;
  if (/^(false|no|off|0)$/i.test(given)) return false;
  throw new SettingsError(`${name} must be true or false, not ${JSON.stringify(given)}`);
}

function levelOf(given: string): LogLevel {
  const level = levelNamed(given);
  if (level !== undefined) return level;
  throw new SettingsError(
    `LOG_LEVEL must be ${Object.values(LEVEL_NAMES).join(", ")}, not ${JSON.stringify(given)}`,
  );
}

/** The token of API_TOKEN, or of the file that API_TOKEN_FILE names. */
function tokenOf(): string | undefined {
  const file = variable("API_TOKEN_FILE");
  const given = variable("API_TOKEN");
  if (file === undefined) return given === undefined ? undefined : checkedToken(given, "API_TOKEN");
  if (given !== undefined)
    throw new SettingsError("API_TOKEN and API_TOKEN_FILE exclude each other: set one");
  try {
    return checkedToken(readFileSync(file, "utf8").trim(), `API_TOKEN_FILE ${file}`);
  } catch (error) {
    if (error instanceof SettingsError) throw error;
    throw new SettingsError(`API_TOKEN_FILE: cannot read ${file} (${errnoCode(error)})`);
  }
}

const LEAST_TOKEN = 16;

function checkedToken(token: string, where: string): string {
  if (/^[\x21-\x7e]+$/.test(token) && token.length >= LEAST_TOKEN) return token;
  throw new SettingsError(`${where} must be one token of at least ${LEAST_TOKEN} printable characters`);
}
