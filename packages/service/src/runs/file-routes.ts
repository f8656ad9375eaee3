import { filesDone, filesFailed } from "@drover/producer/runs/run-files";
import { summaryOf } from "@drover/producer/runs/summary";
import type { Engine } from "@drover/shared/engine";
import { isSuccess, OUTCOMES, type OutcomeName, type RunCounts } from "@drover/shared/outcome";
import type { Run } from "@drover/shared/run";
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
        const { files, truncated } = await allFiles(engine, summary, outcomesOf(query.outcome));
        const wanted = files.filter(
          ({ source, error }) =>
            (query.class === undefined || error?.class === query.class) &&
            (query.host === undefined || hostIn(source) === query.host),
        );
        const from = Number(query.cursor ?? 0);
        const page = wanted.slice(from, from + query.limit);
        const next = from + query.limit < wanted.length ? String(from + query.limit) : null;
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
        const { files } = await allFiles(engine, summary, wanted);
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
      answers: { 200: { description: "Events until the run ends.", contentType: "text/event-stream" } },
      isSlow: true,
      async handle({ params, request, response }) {
        await streamEvents(context, (await runOf(engine, params.run)).id, request, response);
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

async function allFiles(
  engine: Engine,
  { run, counts }: { run: Run; counts: RunCounts },
  wanted: OutcomeName[],
): Promise<{ files: ShownFile[]; truncated: boolean }> {
  const { done, truncated } = await filesDone(engine, run, counts, wanted);
  const failed: { index: number; shown: ShownFile }[] = [];
  for await (const page of filesFailed(engine, run, wanted))
    for (const each of page) failed.push({ index: each.index, shown: showFailed(each) });
  failed.sort((one, other) => one.index - other.index);
  return { files: [...done.map(showOutcome), ...failed.map(({ shown }) => shown)], truncated };
}

function hostIn(source: string | null): string | undefined {
  return source !== null && URL.canParse(source) ? new URL(source).host : undefined;
}
