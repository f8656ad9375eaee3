import { access, constants, mkdir } from "node:fs/promises";
import { listRuns } from "@drover/producer/runs/summary";
import type { Engine } from "@drover/shared/engine";
import { messageOf } from "@drover/shared/errors";
import { aliveWorkers } from "@drover/shared/protocol/worker-registry";
import type { S3Browser } from "@drover/shared/storage/s3/listing/browse";
import { droverVersion } from "@drover/shared/version";
import { z } from "zod";
import type { ServiceConfig } from "../config.js";
import type { ServiceContext } from "../context.js";
import { type Route, route } from "../http/route.js";
import { lastRepairs, type Repairs } from "../schedule/repairs.js";

/** How long a service has to answer to a health check, in milliseconds. */
const HEALTH_MS = 5_000;

const healthSchema = z
  .object({
    status: z.enum(["healthy", "unhealthy"]),
    message: z.string(),
    s3_connection: z.boolean().meta({ description: "False where no bucket is set, too, which is no fault." }),
    redis_connection: z.boolean(),
    download_directory: z.string(),
    directory_writable: z.boolean(),
    workers: z.int(),
    timestamp: z.iso.datetime(),
  })
  .meta({ id: "Health" });

const statsSchema = z
  .object({
    runs: z.int().meta({ description: "Runs that are kept." }),
    running: z.int(),
    interrupted: z.int(),
    last_run: z.string().nullable(),
    last_sync_at: z.iso.datetime().nullable().meta({ description: "When a run ended last." }),
    files: z.int(),
    copied: z.int(),
    unchanged: z.int(),
    deleted: z.int(),
    failed: z.int(),
    bytes: z.int(),
    workers: z.int(),
    last_periodic_sync: z
      .object({
        run: z.string(),
        ended_at: z.iso.datetime(),
        repaired: z
          .int()
          .meta({ description: "Files that it copied or removed: no notification had led to that." }),
        removed: z.int().meta({ description: "Those of them that it removed." }),
        not_removed: z
          .string()
          .nullable()
          .meta({ description: "Why nothing was removed although a route has `delete`." }),
        convergence_lag_seconds: z.number().nullable().meta({
          description: "How long the oldest of them had been different; null where it copied none.",
        }),
      })
      .nullable(),
    uptime_seconds: z.number(),
  })
  .meta({ id: "Stats" });

const configSchema = z.record(z.string(), z.unknown()).meta({ id: "Config" });

/** Runs that the statistics add up. */
const COUNTED_RUNS = 1_000;

/** Health, statistics and configuration, under both of their names. */
export function statusRoutes(context: ServiceContext, browser: S3Browser): Route[] {
  const { engine, config } = context;
  const health = async () => {
    const body = await healthOf(engine, config, browser);
    return { status: body.status === "healthy" ? 200 : 503, body };
  };
  const stats = async () => ({ status: 200, body: await statsOf(engine) });
  const shown = async () => ({ status: 200, body: config.shown });
  const of = (path: string, summary: string, schema: z.ZodType, handle: Route["handle"]): Route =>
    route({
      method: "get",
      path,
      scope: "read",
      tag: "Status",
      summary,
      answers: {
        200: { description: summary, schema },
        ...(schema === healthSchema ? { 503: { description: "Something is amiss.", schema } } : {}),
      },
      handle,
    });
  return [
    of("/sync/health", "Whether all is well", healthSchema, health),
    of("/api/v1/health", "Whether all is well", healthSchema, health),
    of("/sync/stats", "What was done so far", statsSchema, stats),
    of("/api/v1/stats", "What was done so far", statsSchema, stats),
    of("/sync/config", "The settings, secrets hidden", configSchema, shown),
    of("/api/v1/config", "The settings, secrets hidden", configSchema, shown),
  ];
}

async function healthOf(
  engine: Engine,
  config: ServiceConfig,
  browser: S3Browser,
): Promise<z.infer<typeof healthSchema>> {
  const [s3, directory, workers] = await Promise.all([
    problemWith(async () => {
      if (config.bucket === undefined) return;
      await browser.list({ bucket: config.bucket, prefix: "", after: "", most: 1, timeoutMs: HEALTH_MS });
    }),
    problemWith(async () => {
      await mkdir(config.downloadDir, { recursive: true });
      await access(config.downloadDir, constants.W_OK);
    }),
    aliveWorkers(engine.redis, engine.keys),
  ]);
  const wrong = [
    ...(s3 === undefined ? [] : [`S3: ${s3}`]),
    ...(directory === undefined ? [] : [`the download directory: ${directory}`]),
    ...(workers.length > 0 ? [] : ["no worker is alive"]),
  ];
  return {
    status: wrong.length === 0 ? "healthy" : "unhealthy",
    message: wrong.length === 0 ? "The service is running and all connections are active" : wrong.join("; "),
    s3_connection: config.bucket !== undefined && s3 === undefined,
    redis_connection: true,
    download_directory: config.downloadDir,
    directory_writable: directory === undefined,
    workers: workers.length,
    timestamp: new Date().toISOString(),
  };
}

async function problemWith(check: () => Promise<void>): Promise<string | undefined> {
  try {
    await check();
    return undefined;
  } catch (error) {
    return messageOf(error);
  }
}

async function statsOf(engine: Engine): Promise<z.infer<typeof statsSchema>> {
  const [summaries, runs, workers, repairs] = await Promise.all([
    listRuns(engine, COUNTED_RUNS),
    engine.ledger.count(),
    aliveWorkers(engine.redis, engine.keys),
    lastRepairs(engine),
  ]);
  const sum = (of: (each: (typeof summaries)[number]) => number) =>
    summaries.reduce((all, each) => all + of(each), 0);
  const ends = summaries.flatMap(({ run }) => (run.endedMs === undefined ? [] : [run.endedMs]));
  return {
    runs,
    running: summaries.filter(({ run }) => run.state === "running").length,
    interrupted: summaries.filter(({ run }) => run.state === "interrupted").length,
    last_run: summaries[0]?.run.id ?? null,
    last_sync_at: ends.length === 0 ? null : new Date(Math.max(...ends)).toISOString(),
    files: sum(({ counts }) => counts.files),
    copied: sum(({ counts }) => counts.copied),
    unchanged: sum(({ counts }) => counts.unchanged),
    deleted: sum(({ counts }) => counts.deleted),
    failed: sum(({ counts }) => counts.failed + counts.blocked + counts.locked + counts.cancelled),
    bytes: sum(({ run }) => run.bytes),
    workers: workers.length,
    last_periodic_sync: repairs === undefined ? null : shownRepairs(repairs),
    uptime_seconds: Math.round(process.uptime()),
  };
}

function shownRepairs({ run, endedMs, copied, removed, notRemoved, lagMs }: Repairs) {
  return {
    run,
    ended_at: new Date(endedMs).toISOString(),
    repaired: copied + removed,
    removed,
    not_removed: notRemoved === "" ? null : notRemoved,
    convergence_lag_seconds: lagMs === undefined ? null : lagMs / 1000,
  };
}

/** What everybody may ask: `/`, `/ping`, `/healthz` and `/readyz`. */
export function openRoutes(isReady: () => boolean, endpoints: () => Record<string, string>): Route[] {
  const open = (path: string, summary: string, answers: Route["answers"], handle: Route["handle"]): Route =>
    route({ method: "get", path, scope: "open", tag: "Status", summary, answers, handle });
  const state = z.object({ status: z.string() }).meta({ id: "State" });
  const info = z
    .object({
      service: z.string(),
      version: z.string(),
      status: z.string(),
      endpoints: z.record(z.string(), z.string()),
    })
    .meta({ id: "Info" });
  const ping = z.object({ message: z.literal("pong"), timestamp: z.iso.datetime() }).meta({ id: "Pong" });
  return [
    open(
      "/",
      "What this is, and what it can do",
      { 200: { description: "The service.", schema: info } },
      async () => ({
        status: 200,
        body: { service: "Drover", version: droverVersion(), status: "running", endpoints: endpoints() },
      }),
    ),
    open("/ping", "Whether it answers", { 200: { description: "It does.", schema: ping } }, async () => ({
      status: 200,
      body: { message: "pong", timestamp: new Date().toISOString() },
    })),
    open(
      "/healthz",
      "Whether the process lives",
      { 200: { description: "It does.", schema: state } },
      async () => ({
        status: 200,
        body: { status: "ok" },
      }),
    ),
    open(
      "/readyz",
      "Whether it can take requests",
      {
        200: { description: "It can.", schema: state },
        503: { description: "Redis is away, or the service stops.", schema: state },
      },
      async () =>
        isReady()
          ? { status: 200, body: { status: "ready" } }
          : { status: 503, body: { status: "not ready" } },
    ),
  ];
}
