import { setTimeout as sleep } from "node:timers/promises";
import { cancelRun } from "@drover/producer/runs/cancel";
import { cancelFile } from "@drover/producer/runs/cancel-file";
import { filesDone, filesFailed } from "@drover/producer/runs/run-files";
import { runPage, summaryOf } from "@drover/producer/runs/summary";
import type { Engine } from "@drover/shared/engine";
import { SettingsError } from "@drover/shared/errors";
import { failpoint } from "@drover/shared/failpoint";
import { isSuccess, OUTCOMES, type OutcomeName, type RunCounts } from "@drover/shared/outcome";
import { ClaimLostError, type RequestClaim } from "@drover/shared/protocol/idempotency";
import { Webhooks } from "@drover/shared/protocol/webhooks";
import type { Run } from "@drover/shared/run";
import { z } from "zod";
import type { ServiceContext } from "../context.js";
import { Problem } from "../http/problem.js";
import { type Reply, type Route, route } from "../http/route.js";
import { showWebhook, webhookTargetOf } from "../webhooks/schema.js";
import { streamEvents } from "./events.js";
import { claimRequest, IDEMPOTENCY_KEY, idempotencyHeaders, underWay } from "./repetition.js";
import {
  fileSchema,
  isOver,
  runDetailSchema,
  runSchema,
  type ShownFile,
  showFailed,
  showOutcome,
  showRun,
} from "./shown.js";
import { planSubmission, type Submission, submissionSchema } from "./submission.js";

const TAG = "Runs";
/** Interval in milliseconds at which a run that is waited for is looked at. */
const WAIT_LOOK_MS = 200;
const MOST_WAIT_SECONDS = 60;
/** Unfinished runs beyond which no more are taken. */
const MOST_UNFINISHED = 10_000;

const runParam = z.object({
  run: z
    .string()
    .min(1)
    .max(200)
    .meta({ description: "Id of the run, as much of its beginning as is unique, or `latest`." }),
});
const limitOf = (most: number, usual: number) =>
  z.coerce
    .number()
    .int()
    .min(1)
    .max(most)
    .default(usual)
    .meta({ description: `At most ${most}.` });
const outcomesParam = z
  .string()
  .regex(
    new RegExp(`^(${OUTCOMES.join("|")})(,(${OUTCOMES.join("|")}))*$`),
    "must be outcomes, separated by commas",
  )
  .optional()
  .meta({ description: `Separated by commas: ${OUTCOMES.join(", ")}.`, example: "failed,blocked" });

const retrySchema = z
  .strictObject({
    class: z.string().optional().meta({ description: "Class of the error." }),
    host: z.string().optional().meta({ description: "Host of the source: `name` or `name:port`." }),
    files: z
      .array(z.string())
      .min(1)
      .max(100_000)
      .optional()
      .meta({ description: "Sources, or destinations: whole, or below the run's own." }),
  })
  .meta({ id: "Retry", description: "Which of the failed files." });

const cancelSchema = z
  .strictObject({
    file: z
      .string()
      .min(1)
      .max(8_192)
      .optional()
      .meta({ description: "Source or destination of the only file to cancel. Default: the whole run." }),
  })
  .meta({ id: "Cancellation" });

const acceptedSchema = runSchema.extend({ warnings: z.array(z.string()) }).meta({ id: "AcceptedRun" });
type Accepted = z.infer<typeof acceptedSchema>;
const RUN = { description: "The run.", schema: runSchema };

const NO_FILES: RunCounts = {
  files: 0,
  settled: 0,
  copied: 0,
  unchanged: 0,
  deleted: 0,
  failed: 0,
  blocked: 0,
  locked: 0,
  cancelled: 0,
};

/** `/api/v1/runs`: makes runs, tells how they stand, and ends or retries them. */
export function runRoutes(context: ServiceContext): Route[] {
  const { engine, config, keeper, stopping } = context;
  const webhooks = new Webhooks(engine.redis, engine.keys);
  const runOf = async (given: string): Promise<Run> => await known(engine, given);
  const webhookOf = async (id: string) => {
    const standing = await webhooks.get(id);
    return standing === undefined ? null : showWebhook(standing);
  };
  /** @param claim of a request that can be repeated: the answer to it is recorded with the run. */
  const take = async (body: Submission, claim?: RequestClaim): Promise<Accepted> => {
    await refuseTooMany(engine);
    const planned = await planSubmission(body, config);
    if (body.webhook !== undefined) planned.secrets.webhook = webhookTargetOf(body.webhook, context.guard);
    const warnings: string[] = [];
    const show = (run: Run) => ({ ...showRun({ run, counts: NO_FILES }), warnings });
    const request = claim && { claim, answer: (run: Run) => JSON.stringify(show(run)) };
    return show(await keeper.submit(planned, (message) => warnings.push(message), request));
  };
  return [
    route({
      method: "post",
      path: "/api/v1/runs",
      scope: "enqueue",
      tag: TAG,
      summary: "Start a run",
      description:
        "The answer comes once the run is on Redis's disk. Its files are found and copied after that, whatever becomes of the server that answered.",
      headers: idempotencyHeaders,
      body: submissionSchema,
      answers: {
        202: {
          description: "The run was taken.",
          schema: acceptedSchema,
          headers: {
            Location: "Where the run is.",
            "Idempotency-Replayed":
              "`true` where this request was answered before: the answer is the first one.",
          },
        },
      },
      isSlow: false,
      async handle({ body, caller, request }) {
        const key = request.get(IDEMPOTENCY_KEY);
        if (key === undefined) return accepted(await take(body));
        const claimed = await claimRequest({ ...engine, caller, key, body });
        if ("answer" in claimed) {
          await keeper.untilOnDisk();
          const replayed = accepted(JSON.parse(claimed.answer), { "Idempotency-Replayed": "true" });
          return { ...replayed, changed: 0 };
        }
        failpoint("claimed");
        try {
          return accepted(await take(body, claimed));
        } catch (error) {
          throw error instanceof ClaimLostError ? underWay(1_000) : error;
        } finally {
          await claimed.release().catch(() => {}); // it expires
        }
      },
    }),
    route({
      method: "get",
      path: "/api/v1/runs",
      scope: "read",
      tag: TAG,
      summary: "List runs, the newest first",
      query: z.object({
        limit: limitOf(1_000, 100),
        label: z.string().optional(),
        state: z.enum(["running", "interrupted", "done", "cancelled"]).optional(),
        cursor: z
          .string()
          .regex(/^\d{1,15}\..+$/)
          .optional()
          .meta({ description: "`next` of the page before." }),
      }),
      answers: {
        200: {
          description: "One page.",
          schema: z.object({ runs: z.array(runSchema), next: z.string().nullable() }).meta({ id: "RunPage" }),
        },
      },
      async handle({ query }) {
        const { limit, label, state, cursor } = query;
        const found = await runPage(engine, {
          place: cursor === undefined ? undefined : placeOf(cursor),
          most: limit,
          wanted: (run) =>
            (label === undefined || run.spec.label === label) && (state === undefined || run.state === state),
        });
        const page = found.slice(0, limit);
        const last = page.at(-1);
        const next = found.length > limit && last ? `${last.run.startedMs}.${last.run.id}` : null;
        return { status: 200, body: { runs: page.map(showRun), next } };
      },
    }),
    route({
      method: "get",
      path: "/api/v1/runs/{run}",
      scope: "read",
      tag: TAG,
      summary: "How a run stands",
      params: runParam,
      query: z.object({
        wait: z.coerce.number().min(0).max(MOST_WAIT_SECONDS).default(0).meta({
          description: "Seconds to wait for its end before answering.",
        }),
      }),
      answers: { 200: { description: "The run.", schema: runDetailSchema } },
      isSlow: true,
      async handle({ params, query, request }) {
        const { id } = await runOf(params.run);
        const untilMs = Date.now() + query.wait * 1000;
        for (;;) {
          const summary = await summaryOf(engine, id);
          if (isOver(summary.run) || Date.now() >= untilMs || request.destroyed || stopping.aborted)
            return { status: 200, body: { ...showRun(summary), webhook: await webhookOf(id) } };
          await sleep(Math.min(WAIT_LOOK_MS, Math.max(untilMs - Date.now(), 1)));
        }
      },
    }),
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
        const summary = await summaryOf(engine, (await runOf(params.run)).id);
        const { files, truncated } = await allFiles(engine, summary, readOutcomes(query.outcome));
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
        const summary = await summaryOf(engine, (await runOf(params.run)).id);
        const wanted = OUTCOMES.filter((outcome) => query.successes === "true" || !isSuccess(outcome));
        const { files } = await allFiles(engine, summary, wanted);
        const csv = query.format === "csv";
        response.setHeader("Content-Type", csv ? "text/csv; charset=utf-8" : "application/x-ndjson");
        response.setHeader("Content-Disposition", `attachment; filename="${summary.run.id}.${query.format}"`);
        const lines = csv ? files.map(csvLine) : files.map((file) => JSON.stringify(file));
        response.end(`${[...(csv ? [CSV_COLUMNS.join(",")] : []), ...lines].join("\n")}\n`);
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
        await streamEvents(context, (await runOf(params.run)).id, request, response);
        return undefined;
      },
    }),
    route({
      method: "post",
      path: "/api/v1/runs/{run}/retry",
      scope: "operate",
      tag: TAG,
      summary: "Take up again what failed",
      description:
        "All of it, or what the body means of it. A run whose sources were not read to their ends goes on with that too.",
      params: runParam,
      body: retrySchema,
      bodyIsOptional: true,
      answers: { 202: RUN },
      async handle({ params, body }) {
        const { id } = await runOf(params.run);
        const only = Object.keys(body).length === 0 ? undefined : body;
        await keeper.resume(id, { retry: true, only }, (message) => context.log.warn({ run: id }, message));
        return { status: 202, body: showRun(await summaryOf(engine, id)) };
      },
    }),
    route({
      method: "post",
      path: "/api/v1/runs/{run}/resume",
      scope: "operate",
      tag: TAG,
      summary: "Go on with an interrupted run",
      params: runParam,
      answers: { 202: RUN },
      async handle({ params }) {
        const { id } = await runOf(params.run);
        await keeper.resume(id, { retry: false }, (message) => context.log.warn({ run: id }, message));
        return { status: 202, body: showRun(await summaryOf(engine, id)) };
      },
    }),
    route({
      method: "post",
      path: "/api/v1/runs/{run}/cancel",
      scope: "operate",
      tag: TAG,
      summary: "Stop a run",
      description:
        "What is not done ends `cancelled`. Nothing happens to a run that is over. With `file`, that file alone ends so soon after the answer, unless other runs wait for it too: then it is still carried.",
      params: runParam,
      body: cancelSchema,
      bodyIsOptional: true,
      answers: { 202: RUN },
      async handle({ params, body: { file } }) {
        const run = await runOf(params.run);
        if (!run.spec.fleet)
          throw new Problem(409, `run ${run.id} is carried by a command line: cancel it there`);
        if (file !== undefined) {
          if ((await cancelFile(engine, run, file)) === 0)
            throw new Problem(
              404,
              `run ${run.id} has no file ${file} that has not ended, or another run carries it`,
            );
          return { status: 202, body: showRun(await summaryOf(engine, run.id)) };
        }
        await cancelRun(engine, run.id, () => {
          throw new Problem(409, `run ${run.id} is no fleet's`);
        });
        return { status: 202, body: showRun(await summaryOf(engine, run.id)) };
      },
    }),
  ];
}

function accepted(body: Accepted, headers: Record<string, string> = {}): Reply {
  return { status: 202, body, headers: { Location: `/api/v1/runs/${body.id}`, ...headers } };
}

/** @throws Problem 404. */
async function known({ ledger }: Engine, given: string): Promise<Run> {
  try {
    return await ledger.get(await ledger.find(given));
  } catch (error) {
    if (error instanceof SettingsError) throw new Problem(404, error.message);
    throw error;
  }
}

async function refuseTooMany({ redis, keys }: Engine): Promise<void> {
  const [open = ""] = keys.runIndexes();
  const unfinished = await redis.zcard(open);
  if (unfinished < MOST_UNFINISHED) return;
  throw new Problem(429, `${unfinished} runs have not ended: wait until some have`, {
    headers: { "Retry-After": "10" },
  });
}

/** The place that a cursor names. */
function placeOf(cursor: string): Pick<Run, "id" | "startedMs"> {
  const dot = cursor.indexOf(".");
  return { startedMs: Number(cursor.slice(0, dot)), id: cursor.slice(dot + 1) };
}

function readOutcomes(text: string | undefined): OutcomeName[] {
  if (text === undefined) return [...OUTCOMES];
  return text.split(",").map((each) => {
    const found = OUTCOMES.find((outcome) => outcome === each);
    if (found === undefined) throw new Problem(400, `outcome: ${each} is none of ${OUTCOMES.join(", ")}`);
    return found;
  });
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

const CSV_COLUMNS = [
  "source",
  "destination",
  "outcome",
  "bytes",
  "checksum",
  "attempts",
  "duration_ms",
  "error_class",
  "error",
] as const;

function csvLine({ error, ...file }: ShownFile): string {
  const row: Record<string, unknown> = { ...file, error_class: error?.class, error: error?.message };
  return CSV_COLUMNS.map((column) => csvField(row[column])).join(",");
}

/** A field that no spreadsheet takes for a formula. */
function csvField(value: unknown): string {
  const text = value === null || value === undefined ? "" : String(value);
  const safe = /^[=+\-@\t\r]/.test(text) && typeof value === "string" ? `'${text}` : text;
  return /[",\n\r]/.test(safe) ? `"${safe.replaceAll('"', '""')}"` : safe;
}
