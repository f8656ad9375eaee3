import { failureMatcher, hostMatcher } from "@drover/producer/enqueue/failure-filter";
import { filesDone, filesFailed } from "@drover/producer/runs/run-files";
import { summaryOf } from "@drover/producer/runs/summary";
import type { Engine } from "@drover/shared/engine";
import { isSuccess, OUTCOMES, type OutcomeName, type RunCounts } from "@drover/shared/outcome";
import type { Run } from "@drover/shared/run";
import { hostOf } from "@drover/shared/storage/registry";
import { z } from "zod";
import type { ServiceContext } from "../context.js";
import { type Route, route } from "../http/route.js";
import { csvText } from "./csv.js";
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
          .regex(/^\d{1,15}$/)
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
        const { class: errorClass, host } = query;
        const wanted = { outcomes: outcomesOf(query.outcome), class: errorClass, host };
        const { files, truncated } = await allFiles(engine, summary, wanted);
        const from = Number(query.cursor ?? 0);
        const page = files.slice(from, from + query.limit);
        const next = from + query.limit < files.length ? String(from + query.limit) : null;
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
        const outcomes = OUTCOMES.filter((outcome) => query.successes === "true" || !isSuccess(outcome));
        const { files } = await allFiles(engine, summary, { outcomes });
        const csv = query.format === "csv";
        response.setHeader("Content-Type", csv ? "text/csv; charset=utf-8" : "application/x-ndjson");
        response.setHeader("Content-Disposition", `attachment; filename="${summary.run.id}.${query.format}"`);
        response.end(csv ? csvText(files) : files.map((file) => `${JSON.stringify(file)}\n`).join(""));
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

interface WantedFiles {
  outcomes: OutcomeName[];
  /** Class of the error. Default: any, and none. */
  class?: string | undefined;
  /** Host of the source. Default: any. */
  host?: string | undefined;
}

async function allFiles(
  engine: Engine,
  { run, counts }: { run: Run; counts: RunCounts },
  { outcomes, ...filter }: WantedFiles,
): Promise<{ files: ShownFile[]; truncated: boolean }> {
  const isHost = hostMatcher(filter.host);
  const { done, truncated } = await filesDone(engine, run, counts, outcomes);
  const succeeded = filter.class === undefined ? done : []; // without an error, so of no class
  const matches = failureMatcher(filter, run.spec);
  const failed: { index: number; shown: ShownFile }[] = [];
  for await (const page of filesFailed(engine, run, outcomes))
    for (const each of page) if (matches(each)) failed.push({ index: each.index, shown: showFailed(each) });
  failed.sort((one, other) => one.index - other.index);
  return {
    files: [
      ...succeeded.filter(({ source }) => isHost(hostOf(source, run.spec))).map(showOutcome),
      ...failed.map(({ shown }) => shown),
    ],
    truncated,
  };
}
