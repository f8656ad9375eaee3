import { realpathSync, statSync } from "node:fs";
import { join } from "node:path";
import { TransferError } from "@drover/shared/errors";
import { baseName, isBelow, STAGING_NAME, safeRelative } from "@drover/shared/paths";
import { walk } from "@drover/shared/storage/local/walk";
import type { S3Browser } from "@drover/shared/storage/s3/listing/browse";
import { z } from "zod";
import type { ServiceConfig } from "../config.js";
import { problemSchema } from "../http/document.js";
import { Problem } from "../http/problem.js";
import { type Route, route } from "../http/route.js";
import { bucketOf } from "./sync.js";

const pageSchema = z
  .object({
    source: z.enum(["s3", "local"]),
    prefix: z.string(),
    count: z.int(),
    files: z.array(
      z.object({
        key: z.string(),
        size: z.int(),
        last_modified: z.iso.datetime().nullable(),
        etag: z.string().nullable(),
      }),
    ),
    next: z.string().nullable().meta({ description: "Pass it as `cursor` for the next page." }),
  })
  .meta({ id: "StoredFilePage" });

type Page = z.infer<typeof pageSchema>;

/** `GET /sync/files`: what is in the bucket, or in the download directory. */
export function filesRoute(config: ServiceConfig, browser: S3Browser): Route {
  return route({
    method: "get",
    path: "/sync/files",
    scope: "read",
    tag: "Sync",
    summary: "List files of the bucket or of the download directory",
    query: z.object({
      source: z.enum(["s3", "local"]).default("s3"),
      prefix: z.string().max(1_024).default("").meta({ description: "Beginning of the keys." }),
      limit: z.coerce.number().int().min(1).max(1_000).default(1_000),
      cursor: z.string().max(4_096).optional().meta({ description: "`next` of the page before." }),
    }),
    answers: {
      200: { description: "One page, in the order of the keys.", schema: pageSchema },
      404: {
        description: "There is no such bucket.",
        contentType: "application/problem+json",
        schema: problemSchema,
      },
    },
    isSlow: true,
    async handle({ query }) {
      const { source, prefix, limit, cursor = "" } = query;
      const files =
        source === "s3"
          ? await browser.list({ bucket: bucketOf(config), prefix, after: cursor, most: limit + 1 })
          : await localFiles(config.downloadDir, prefix, cursor, limit + 1);
      const page = files.slice(0, limit).map(({ key, sizeBytes, mtimeMs, etag }) => ({
        key,
        size: sizeBytes,
        last_modified: Number.isFinite(mtimeMs) ? new Date(mtimeMs).toISOString() : null,
        etag: etag === "" ? null : etag,
      }));
      const next = files.length > limit ? (page.at(-1)?.key ?? null) : null;
      const body: Page = { source, prefix, count: page.length, files: page, next };
      return { status: 200, body };
    },
  });
}

/** Files below a directory whose names begin with a prefix, behind another name, without Drover's own. */
async function localFiles(directory: string, prefix: string, after: string, most: number) {
  const files: { key: string; sizeBytes: number; mtimeMs: number; etag: string }[] = [];
  if (statSync(directory, { throwIfNoEntry: false }) === undefined) return files;
  for await (const found of walk(directory, {
    wanted: (name) => name.startsWith(prefix),
    isDestination: true,
    after: after === "" ? undefined : after,
  })) {
    if (found.is !== "file") continue;
    const { size, mtimeMs } = found.stat;
    files.push({ key: found.relative, sizeBytes: Number(size), mtimeMs: Number(mtimeMs), etag: "" });
    if (files.length >= most) break;
  }
  return files;
}

/** `GET /sync/download/{path}`: one file of the download directory. */
export function downloadRoute(config: ServiceConfig): Route {
  return route({
    method: "get",
    path: "/sync/download/{path*}",
    scope: "read",
    tag: "Sync",
    summary: "Download a file of the download directory",
    description: "With ranges, ETag and conditional requests.",
    params: z.object({
      path: z.string().meta({ description: "The key.", example: "projects/my-project/document.pdf" }),
    }),
    answers: {
      200: {
        description: "The file.",
        contentType: "application/octet-stream",
        headers: { ETag: "Its version." },
      },
      206: { description: "A part of it.", contentType: "application/octet-stream" },
      304: { description: "It has not changed." },
      412: { description: "It has changed." },
      416: { description: "It has no such part." },
    },
    isSlow: true,
    async handle({ params, response }) {
      const path = fileBelow(config.downloadDir, params.path);
      response.attachment(baseName(params.path));
      response.type("application/octet-stream"); // a page among them must not run as one of ours
      response.setHeader("Content-Security-Policy", "sandbox; default-src 'none'");
      await new Promise<void>((resolve, reject) => {
        response.sendFile(path, { dotfiles: "allow", cacheControl: false, etag: true }, (error) => {
          if (!error || response.headersSent) resolve();
          else reject(sendError(error));
        });
      });
      return undefined;
    },
  });
}

/** @throws Problem 404, also for what is no regular file, lies outside or is Drover's own. */
function fileBelow(directory: string, name: string): string {
  const nothing = (why: string) => new Problem(404, `no such file: ${why}`);
  try {
    safeRelative(name);
  } catch (error) {
    if (error instanceof TransferError) throw nothing(error.message);
    throw error;
  }
  if (STAGING_NAME.test(baseName(name))) throw nothing(name);
  try {
    const path = realpathSync(join(directory, name));
    if (isBelow(path, realpathSync(directory)) && statSync(path).isFile()) return path;
  } catch {
    // it is not there
  }
  throw nothing(name);
}

function sendError(error: Error): Error {
  const { status } = error as Error & { status?: number };
  if (status === 404) return new Problem(404, "no such file", { cause: error });
  if (status === 412) return new Problem(412, "the file has changed", { cause: error });
  if (status === 416) return new Problem(416, "the file has no such part", { cause: error });
  return error;
}
