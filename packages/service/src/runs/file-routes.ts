import { Readable } from "node:stream";
import { pipeline } from "node:stream/promises";
import { failureMatcher, hostMatcher } from "@drover/producer/enqueue/failure-filter";
import { type FailedFile, filesDone, filesFailed } from "@drover/producer/runs/run-files";
import { type RunSummary, summaryOf } from "@drover/producer/runs/summary";
import type { Engine } from "@drover/shared/engine";
import { isSuccess, OUTCOMES, type OutcomeName } from "@drover/shared/outcome";
import { hostOf } from "@drover/shared/storage/registry";
import { z } from "zod";
import type { ServiceContext } from "../context.js";
import { type Route, route } from "../http/route.js";
import { CSV_HEADER, csvLine } from "./csv.js";
import { streamEvents } from "./events.js";
import { limitOf, runOf, runParam, TAG } from "./run-param.js";
import { fileSchema, type ShownFile, showFailed, showOutcome } from "./shown.js";

const outcomesParam = z
  .string()
  .regex(
    new RegExp(`^(${OUTCOMES.join("|")})(,(${OUTCOMES.join("|")}))*$`),
    "must be outcomes, separated by commas",
  )
  .optional()
  .meta({ description: `Separated by commas: ${OUTCOMES.join(", ")}.`, example: "failed,blocked" });

/** What became of the files of a run: in pages, as a report, and as they end. */
export function fileRoutes(context: ServiceContext): Route[] {
  const { engine } = context;
  return [
    route({
      method: "get",
      path: "/api/v1/runs/{run}/files",
      scope: "read",
      tag: TAG,
      summary: "What became of the files of a run",
      description:
        "What failed is kept in full. Of what was copied or deleted the last files are kept, for a day by default: `truncated` tells whether there were more. Unchanged files are counted only.",
      params: runParam,
      query: z.object({
        outcome: outcomesParam,
        class: z.string().optional().meta({ description: "Class of the error." }),
        host: z.string().optional().meta({ description: "Host of the source." }),
        limit: limitOf(10_000, 1_000),
        cursor: z
          .string()
          .regex(/^f?\d{1,15}$/)
          .optional()
          .meta({ description: "`next` of the page before." }),
      }),
      answers: {
        200: {
          description: "One page.",
          schema: z
            .object({ files: z.array(fileSchema), truncated: z.boolean(), next: z.string().nullable() })
            .meta({ id: "FilePage" }),
        },
      },
      async handle({ params, query }) {
        const summary = await summaryOf(engine, (await runOf(engine, params.run)).id);
        const { run, counts } = summary;
        const { limit, cursor = "0", class: errorClass, host } = query;
        const wanted = outcomesOf(query.outcome);
        const { done, truncated } = await filesDone(engine, run, counts, wanted);
        const isInFailures = cursor.startsWith("f");
        const isHost = hostMatcher(host);
        // What succeeded has no error, so it is of no class.
        const succeeded = isInFailures || errorClass !== undefined ? [] : done;
        const files = succeeded.filter(({ source }) => isHost(hostOf(source, run.spec))).map(showOutcome);
        const from = Number(cursor.replace("f", ""));
        const page = files.slice(from, from + limit);
        let next = from + limit < files.length ? String(from + limit) : null;
        if (next === null) {
          const which = { from: isInFailures ? from : 0, wanted, errorClass, isHost };
          const failed = filesFailed(engine, run, which);
          const isWanted = failureMatcher({ class: errorClass, host }, run.spec);
          next = await fill(page, limit, isWanted, failed);
        }
        return { status: 200, body: { files: page, truncated, next } };
      },
    }),
    route({
      method: "get",
      path: "/api/v1/runs/{run}/report",
      scope: "read",
      tag: TAG,
      summary: "All that is known of a run's files, to download",
      params: runParam,
      query: z.object({
        format: z.enum(["ndjson", "csv"]).default("ndjson"),
        successes: z.enum(["true", "false"]).default("true"),
      }),
      answers: {
        200: { description: "One file a line.", contentType: "application/x-ndjson, text/csv" },
      },
      isSlow: true,
      async handle({ params, query, response }) {
        const summary = await summaryOf(engine, (await runOf(engine, params.run)).id);
        const wanted = OUTCOMES.filter((outcome) => query.successes === "true" || !isSuccess(outcome));
        const csv = query.format === "csv";
        response.setHeader("Content-Type", csv ? "text/csv; charset=utf-8" : "application/x-ndjson");
        response.setHeader("Content-Disposition", `attachment; filename="${summary.run.id}.${query.format}"`);
        const lines = Readable.from(
          csv ? csvLines(engine, summary, wanted) : jsonLines(engine, summary, wanted),
        );
        await pipeline(lines, response).catch((error) => {
          if (!response.destroyed) throw error; // else whoever asked is gone
        });
        return undefined;
      },
    }),
    route({
      method: "get",
      path: "/api/v1/runs/{run}/events",
      scope: "read",
      tag: TAG,
      summary: "Follow a run",
      description:
        "Server-sent events: `file` for each file that ends (with an id: send the last one as Last-Event-ID to go on there), `progress` with the counts, `reset` with the counts where the place to go on at is not kept any more, and `end`. Unchanged files are counted only.",
      params: runParam,
      query: z.object({
        from: z.enum(["start", "now"]).default("start").meta({
          description: "Where to begin without a Last-Event-ID: with all that is kept, or with what comes.",
        }),
      }),
      answers: { 200: { description: "Events until the run ends.", contentType: "text/event-stream" } },
      isSlow: true,
      async handle({ params, query, request, response }) {
        const last = request.headers["last-event-id"];
        const from = typeof last === "string" ? last : query.from;
        await streamEvents(context, (await runOf(engine, params.run)).id, from, response);
        return undefined;
      },
    }),
  ];
}

/** The outcomes that a parameter names, which the schema has checked; all of them without one. */
function outcomesOf(text: string | undefined): OutcomeName[] {
  const named = text?.split(",");
  return OUTCOMES.filter((outcome) => named === undefined || named.includes(outcome));
}

/**
 * Fills a page with files that failed.
 *
 * @returns the cursor of the next page; null where there is none.
 */
async function fill(
  page: ShownFile[],
  limit: number,
  isWanted: (file: FailedFile) => boolean,
  failed: AsyncGenerator<FailedFile[]>,
): Promise<string | null> {
  for await (const files of failed)
    for (const file of files) {
      if (!isWanted(file)) continue;
      if (page.length === limit) return `f${file.index}`;
      page.push(showFailed(file));
    }
  return null;
}

/** Files of a run, those that were copied or deleted first, in pages. */
async function* filesOf(
  engine: Engine,
  { run, counts }: RunSummary,
  wanted: OutcomeName[],
): AsyncGenerator<ShownFile[]> {
  yield (await filesDone(engine, run, counts, wanted)).done.map(showOutcome);
  for await (const page of filesFailed(engine, run, { wanted })) yield page.map(showFailed);
}

async function* jsonLines(...of: Parameters<typeof filesOf>): AsyncGenerator<string> {
  for await (const page of filesOf(...of)) yield page.map((file) => `${JSON.stringify(file)}\n`).join("");
}

async function* csvLines(...of: Parameters<typeof filesOf>): AsyncGenerator<string> {
  yield `${CSV_HEADER}\n`;
  for await (const page of filesOf(...of)) yield page.map((file) => `${csvLine(file)}\n`).join("");
}
