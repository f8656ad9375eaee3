import { mkdirSync } from "node:fs";
import { readPriceTable } from "@drover/producer/prices/read-price-table";
import { checkReload } from "@drover/producer/sync-action/reload";
import type { ServiceConfig } from "@drover/service/config";
import { eventSettingsOf } from "@drover/service/intake/settings";
import { windowText } from "@drover/service/schedule/window";
import { redactUrl } from "@drover/shared/redact";
import { destinationOf } from "@drover/shared/storage/registry";
import { mirrorConfigsOf } from "../../settings/mirror-settings.js";
import { reloadOf } from "../../settings/reload-target.js";
import { servicesRequestOf } from "../../settings/run-request.js";
import type { ServiceSettings } from "../../settings/service-settings.js";
import { type Resolved, showSettings } from "../../settings/settings.js";

/**
 * What a server is told by its settings. The download directory is made.
 *
 * @param given roots beside the download directory.
 * @throws SettingsError for a root that is none, and for what is wrong in the section `events`.
 */
export function serviceConfigOf(
  given: string[],
  settings: ServiceSettings,
  resolved: Resolved,
): ServiceConfig {
  const { values } = resolved;
  const roots = rootsOf(given, settings.downloadDir);
  const { value: section, place = "drover.yaml" } = resolved.events ?? {};
  const { bucket } = settings;
  const downloadDir = roots[0] ?? settings.downloadDir;
  const events = eventSettingsOf(section, place, { roots, bucket, downloadDir });
  return {
    downloadDir: settings.downloadDir,
    roots,
    bucket: settings.bucket,
    s3: { ...servicesRequestOf(resolved).s3, bucket: settings.bucket } as never,
    retries: settings.retries,
    timeoutMs: settings.timeoutMs,
    maxFileSizeBytes: settings.maxFileSizeBytes,
    skipExisting: settings.skipExisting,
    allowedTypes: settings.allowedTypes,
    refusedTypes: settings.refusedTypes,
    schedule: settings.schedule,
    window: settings.window,
    requestsPerSecond: settings.requestsPerSecond,
    webhookRetryMs: settings.webhookRetryMs,
    events,
    mirrors: mirrorConfigsOf(resolved).map(({ name }) => name),
    program: programOf(resolved),
    prices: values.prices === undefined ? undefined : readPriceTable(values.prices),
    stateDir: values["state-dir"] as string,
    keepRuns: values["keep-runs"],
    keepOutcomes: { most: values["keep-outcomes"], ms: values["keep-outcomes-for"] * 1000 },
    shown: shownOf(settings, resolved),
  };
}

/** @throws SettingsError, OptionError for a way to tell the program that cannot work. */
function programOf({ values }: Resolved): ServiceConfig["program"] {
  const { cache } = values;
  const { command: _, ...reload } = reloadOf(values);
  checkReload(reload, cache !== undefined);
  const reloadTimeoutMs = values["reload-timeout"] * 1000;
  return { cache, schemaDir: values["schema-dir"], reload, reloadTimeoutMs };
}

/** The roots that requests may name: existing directories, and prefixes of S3. The download directory is made. */
function rootsOf(given: string[], downloadDir: string): string[] {
  mkdirSync(downloadDir, { recursive: true });
  const roots = [downloadDir, ...given].map((each) => {
    const destination = destinationOf(each);
    destination.workerRoot(each, process.cwd());
    return destination.parseRoot(each, process.cwd());
  });
  return [...new Set(roots)];
}

function shownSchedule({ schedule, window }: ServiceSettings): Record<string, unknown> {
  const every = schedule !== undefined && "everyMs" in schedule ? schedule.everyMs / 3_600_000 : null;
  const cron = schedule !== undefined && "cron" in schedule ? schedule : { cron: null, timeZone: null };
  return {
    enable_periodic_sync: schedule !== undefined,
    sync_interval_hours: every,
    sync_cron: cron.cron,
    sync_window: window === undefined ? null : windowText(window),
    sync_time_zone: cron.timeZone ?? window?.timeZone ?? null,
  };
}

/** The settings that the service shows. */
function shownOf(settings: ServiceSettings, resolved: Resolved): Record<string, unknown> {
  const own = Object.fromEntries(
    showSettings(resolved)
      .filter(({ name }) => /^(s3-|state-dir|redis|concurrency|keep-)/.test(name))
      .map(({ name, value }) => [name.replaceAll("-", "_"), value]),
  );
  return {
    s3_bucket_name: settings.bucket ?? null,
    local_download_dir: settings.downloadDir,
    ...shownSchedule(settings),
    max_file_size_mb: settings.maxFileSizeBytes / 1e6,
    skip_existing_files: settings.skipExisting,
    verify_file_integrity: settings.verifyIntegrity,
    download_timeout_seconds: settings.timeoutMs / 1000,
    retry_attempts: settings.retries,
    log_level: settings.logLevel,
    log_file: settings.logFile,
    api_port: settings.port,
    api_token: settings.apiToken === undefined ? null : "hidden",
    ...own,
    redis: resolved.values.redis === undefined ? null : redactUrl(resolved.values.redis),
  };
}
