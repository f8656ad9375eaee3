import { setTimeout as sleep } from "node:timers/promises";
import { type PlannedRun, planRun } from "@drover/producer/runs/plan/plan";
import { filesDone, filesFailed } from "@drover/producer/runs/run-files";
import { type RunSummary, summaryOf } from "@drover/producer/runs/summary";
import type { Engine } from "@drover/shared/engine";
import { TransferError } from "@drover/shared/errors";
import { successfulFiles } from "@drover/shared/outcome";
import { safeRelative } from "@drover/shared/paths";
import type { Run } from "@drover/shared/run";
import { parseS3, s3Text } from "@drover/shared/storage/s3/object/name";
import { z } from "zod";
import type { ServiceConfig } from "../config.js";
import type { ServiceContext } from "../context.js";
import { Problem } from "../http/problem.js";
import { type Route, route } from "../http/route.js";
import type { RouteTarget } from "../intake/route.js";
import { isOver } from "../runs/shown.js";

/** Files that are told one by one in an answer. */
const MOST_DETAILS = 1_000;
const LOOK_MS = 100;

const triggerSchema = z
  .object({
    status: z.enum(["success", "partial", "error", "accepted"]),
    message: z.string(),
    run_id: z.string(),
    processed_files: z.int(),
    successful_operations: z.int(),
    failed_operations: z.int(),
    sync_details: z.array(
      z.object({
        operation: z.enum(["download", "delete"]),
        file_key: z.string(),
        status: z.enum(["success", "error"]),
        message: z.string(),
      }),
    ),
    truncated: z.boolean(),
  })
  .meta({ id: "SyncAnswer" });

/** `POST /sync/trigger`: copies the bucket, or what is below a prefix, now. */
export function triggerRoute({ engine, config, keeper, log }: ServiceContext): Route {
  return route({
    method: "post",
    path: "/sync/trigger",
    scope: "enqueue",
    tag: "Sync",
    summary: "Copy what is new or changed in the bucket",
    description:
      "Answers when all files have been copied, or with `background=true` at once. At most 1,000 files are told one by one, then `truncated` is true; unchanged files are counted only.",
    query: z.object({
      prefix: z
        .string()
        .max(1_024)
        .default("")
        .meta({ description: "Beginning of the keys.", example: "projects/my-project" }),
      background: z.enum(["true", "false", "1", "0"]).default("false"),
    }),
    answers: {
      200: { description: "The sync has ended.", schema: triggerSchema },
      202: { description: "The sync has begun.", schema: triggerSchema },
    },
    isSlow: true,
    async handle({ query, request }) {
      const sinceMs = performance.now();
      const run = await keeper.submit(await planSync(query.prefix, config), (message) => log.warn(message));
      if (query.background === "true" || query.background === "1")
        return { status: 202, body: accepted(run) };
      for (;;) {
        const summary = await summaryOf(engine, run.id);
        if (isOver(summary.run))
          return { status: 200, body: await synced(engine, summary, performance.now() - sinceMs) };
        if (request.destroyed) return { status: 200 }; // nobody listens any more; the run goes on
        await sleep(LOOK_MS);
      }
    },
  });
}

/** What a copy takes, and where to. */
export interface BucketPart {
  bucket: string;
  /** Directories of the keys, which they lose: "" or with a `/` at the end. */
  parent: string;
  /** What the rest of the keys begins with; "" for all. */
  beginning: string;
  /** Root of the destination. */
  root: string;
  backup?: RouteTarget["backup"];
}

/**
 * Plans the copy of the keys with a prefix to the download directory, each to its own key.
 *
 * @throws Problem 409 where no bucket is set, 422 where keys with the prefix would lie outside of the directory.
 */
export async function planSync(prefix: string, config: ServiceConfig): Promise<PlannedRun> {
  const slash = prefix.lastIndexOf("/");
  if (slash >= 0) refuseUnsafe(prefix.slice(0, slash));
  const part = { bucket: bucketOf(config), parent: "", beginning: prefix, root: config.downloadDir };
  return await planCopy(part, config);
}

/** Plans the copy of what is new or changed in a part of a bucket. */
export async function planCopy(
  { bucket, parent, beginning, root, backup }: BucketPart,
  config: ServiceConfig,
): Promise<PlannedRun> {
  const begin = globQuoted(beginning);
  return await planRun({
    directory: config.downloadDir,
    stateDir: config.stateDir,
    carriedBy: "fleet",
    keepOutcomes: config.keepOutcomes,
    selection: {
      sources: [s3Text({ bucket, key: parent })],
      patterns: begin === "" ? ["*"] : [`/${begin}*`, `/${begin}*/**`],
      filters: typeFilters(config),
    },
    destination: { root, ...(backup === undefined ? {} : { backup }) },
    terms: {
      retries: config.retries,
      timeoutMs: config.timeoutMs,
      maxFileSizeBytes: config.maxFileSizeBytes,
      ignoreTimes: !config.skipExisting,
    },
    s3: config.s3,
  });
}

/** A file below the name would be refused for its name, if the whole bucket were copied. @throws Problem 422. */
function refuseUnsafe(name: string): void {
  try {
    safeRelative(name);
  } catch (error) {
    throw error instanceof TransferError ? new Problem(422, `prefix: ${error.message}`) : error;
  }
}

/** Filters of the types of files that are taken. */
export function typeFilters({ allowedTypes, refusedTypes }: ServiceConfig): string[] {
  const allowed = allowedTypes.length === 0 ? [] : [...allowedTypes.map((glob) => `+ ${glob}`), "- *"];
  return [...refusedTypes.map((glob) => `- ${glob}`), ...allowed];
}

/** @throws Problem 409 where no bucket is set. */
export function bucketOf({ bucket }: ServiceConfig): string {
  if (bucket === undefined) throw new Problem(409, "no bucket is set: start the service with S3_BUCKET_NAME");
  return bucket;
}

function globQuoted(text: string): string {
  return text.replace(/[*?[\]{}\\]/g, "\\$&");
}

function accepted({ id }: Run): z.infer<typeof triggerSchema> {
  const none = { processed_files: 0, successful_operations: 0, failed_operations: 0, sync_details: [] };
  const message = `Sync started in the background: /api/v1/runs/${id} tells how it stands`;
  return { status: "accepted", message, run_id: id, ...none, truncated: false };
}

async function synced(
  engine: Engine,
  { run, counts }: RunSummary,
  tookMs: number,
): Promise<z.infer<typeof triggerSchema>> {
  const successful = successfulFiles(counts);
  const incomplete =
    run.state === "done"
      ? ""
      : run.state === "cancelled"
        ? " (it was cancelled)"
        : " (the bucket could not be listed to its end)";
  const { done, truncated } = await filesDone(engine, run, counts);
  const details: z.infer<typeof triggerSchema>["sync_details"] = [];
  for await (const page of filesFailed(engine, run)) {
    if (details.length >= MOST_DETAILS) break;
    for (const { job, error } of page.slice(0, MOST_DETAILS - details.length)) {
      details.push({
        operation: "download",
        file_key: keyOf(job.s),
        status: "error",
        message: error.message,
      });
    }
  }
  for (const each of done.slice(0, MOST_DETAILS - details.length))
    details.push({
      operation: each.outcome === "deleted" ? "delete" : "download",
      file_key: keyOf(each.source),
      status: "success",
      message: `Downloaded successfully in ${(each.durationMs / 1000).toFixed(2)} seconds`,
    });
  const failed = counts.settled - successful;
  return {
    status: failed === 0 && incomplete === "" ? "success" : successful > 0 ? "partial" : "error",
    message: `Synced ${successful} of ${counts.files} files in ${(tookMs / 1000).toFixed(2)} seconds${incomplete}`,
    run_id: run.id,
    processed_files: counts.files,
    successful_operations: successful,
    failed_operations: failed,
    sync_details: details,
    truncated: truncated || done.length + failed > details.length,
  };
}

function keyOf(source: string): string {
  return parseS3(source).key;
}
