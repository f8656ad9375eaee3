import { existsSync, mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { planServices } from "@drover/producer/runs/services";
import { eventSettingsOf } from "@drover/service/intake/settings";
import { type RunningService, startService } from "@drover/service/service";
import type { Engine } from "@drover/shared/engine";
import { makeDirectory } from "@drover/shared/make-directory";
import { redactUrl } from "@drover/shared/redact";
import { AddressGuard } from "@drover/shared/storage/http/guard";
import { destinationOf } from "@drover/shared/storage/registry";
import type { RunningWorker } from "@drover/worker/runtime/start-worker";
import type { Logger } from "pino";
import { EXIT } from "../exit.js";
import { exitWithoutRedis, untilStopped } from "../redis-watch.js";
import { servicesRequestOf } from "../settings/run-request.js";
import { type ServiceFlags, type ServiceSettings, serviceSettingsOf } from "../settings/service-settings.js";
import { type Resolved, showSettings } from "../settings/settings.js";
import { onStopSignal } from "../signals.js";
import { withEngine } from "./engine.js";
import { serviceLogger } from "./service-log.js";
import { carryLogged, type Work } from "./worker-actions.js";

export interface ServeFlags extends ServiceFlags {
  root?: string[];
  allowAddress?: string[];
  insecure?: boolean;
}

/** `drover serve`: answers HTTP requests until a signal. Without a fleet's Redis it carries the files itself. */
export async function serve(flags: ServeFlags, resolved: Resolved): Promise<number> {
  const settings = serviceSettingsOf(flags, resolved);
  const { values, origins } = resolved;
  const roots = rootsOf(flags.root ?? [], settings.downloadDir);
  const { value: section, place = "drover.yaml" } = resolved.events ?? {};
  const { bucket } = settings;
  const downloadDir = roots[0] ?? settings.downloadDir;
  const events = eventSettingsOf(section, place, { roots, bucket, downloadDir });
  const guard = new AddressGuard(flags.allowAddress);
  const log = serviceLogger(settings);
  const carries = values.redis === undefined || origins.concurrency !== "default";
  return await withEngine(values, async (engine) => {
    const service = await startService({
      engine,
      ...addressOf(settings, resolved),
      log,
      environmentToken: settings.apiToken,
      guard,
      insecure: flags.insecure ?? false,
      corsOrigins: settings.corsOrigins,
      assets: fileURLToPath(new URL("./assets", import.meta.url)),
      config: {
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
        requestsPerSecond: settings.requestsPerSecond,
        webhookRetryMs: settings.webhookRetryMs,
        events,
        stateDir: values["state-dir"] as string,
        keepRuns: values["keep-runs"],
        keepOutcomes: { most: values["keep-outcomes"], ms: values["keep-outcomes-for"] * 1000 },
        shown: shownOf(settings, resolved),
      },
      ...markerIn(values["state-dir"] as string),
    });
    const work = { roots, allowAddresses: flags.allowAddress ?? [] };
    const worker = carries ? await startOwnWorker(engine, work, resolved, log) : undefined;
    log.info({ port: service.port, concurrency: carries ? values.concurrency : 0, roots }, "service ready");
    return await untilSignal({ engine, service, worker, deadlineMs: values["drain-deadline"] * 1000 }, log);
  });
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

/** With tokens the service is for other machines too. */
function addressOf(
  { host, port, apiToken }: ServiceSettings,
  { values }: Resolved,
): { host: string; port: number } {
  const hasToken = apiToken !== undefined || existsSync(marker(values["state-dir"] as string));
  return { host: host ?? (hasToken ? "0.0.0.0" : "127.0.0.1"), port };
}

function marker(stateDir: string): string {
  return join(stateDir, "service-needs-token");
}

/** Remembers beyond Redis that the service has been opened with tokens: it never answers without one again. */
function markerIn(stateDir: string) {
  const path = marker(stateDir);
  return {
    hasSeenToken: existsSync(path),
    noteTokenSeen() {
      if (existsSync(path)) return;
      makeDirectory(stateDir, 0o700);
      writeFileSync(
        path,
        "Without this file, drover serve would answer this machine without a token again.\n",
      );
    },
  };
}

function shownSchedule(schedule: ServiceSettings["schedule"]): Record<string, unknown> {
  const every = schedule !== undefined && "everyMs" in schedule ? schedule.everyMs / 3_600_000 : null;
  const cron = schedule !== undefined && "cron" in schedule ? schedule : { cron: null, timeZone: null };
  return {
    enable_periodic_sync: schedule !== undefined,
    sync_interval_hours: every,
    sync_cron: cron.cron,
    sync_time_zone: cron.timeZone,
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
    ...shownSchedule(settings.schedule),
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

async function startOwnWorker(
  engine: Engine,
  may: Pick<Work, "roots" | "allowAddresses">,
  resolved: Resolved,
  log: Logger,
): Promise<RunningWorker> {
  const { concurrency, "keep-runs": keepRuns } = resolved.values;
  const services = await planServices(servicesRequestOf(resolved), { read: may.roots });
  const work = { ...may, services, concurrency, keepRuns, healthPort: undefined, hostLimits: [] };
  return await carryLogged(engine, work, log);
}

interface Running {
  engine: Engine;
  service: RunningService;
  worker: RunningWorker | undefined;
  deadlineMs: number;
}

async function untilSignal({ engine, service, worker, deadlineMs }: Running, log: Logger): Promise<number> {
  const stop = new AbortController();
  const drained = (async () => {
    const signal = await new Promise<string>((resolve) => onStopSignal(resolve, EXIT.interrupted));
    log.info({ signal, deadline_s: deadlineMs / 1000 }, "stopping");
    stop.abort();
    await Promise.all([service.stop(deadlineMs), worker?.drain(deadlineMs)]);
    log.info("stopped");
  })();
  const nothing = () => {}; // the service says it
  const stopped = await untilStopped(engine.redis, drained, stop.signal, {
    away: nothing,
    back: nothing,
    deadlineMs,
  });
  if (stopped.is === "ended") return EXIT.ok;
  log.warn("stopped while Redis cannot be used");
  return await exitWithoutRedis(EXIT.interrupted);
}
