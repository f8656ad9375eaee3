import { hostMatcher, NO_HOST } from "@drover/producer/enqueue/failure-filter";
import { isFinal } from "@drover/producer/enqueue/requeue";
import { type FailurePlace, failuresOfRuns, type RunFailures } from "@drover/producer/runs/failures";
import type { FailedFile } from "@drover/producer/runs/run-files";
import { SettingsError } from "@drover/shared/errors";
import type { Run, RunSpec } from "@drover/shared/run";
import { hostOf } from "@drover/shared/storage/registry";
import { z } from "zod";
import type { ServiceContext } from "../context.js";
import { Problem } from "../http/problem.js";
import { type Route, route } from "../http/route.js";
import { fileSchema, showFailed } from "../runs/shown.js";
import { type FailureCounts, TRUNCATED } from "./failure-groups.js";

const TAG = "Operation";
/** Runs that one call retries. */
const MOST_RETRIED = 1_000;

const count = z.int().min(0);
const filterShape = {
  since: z.iso
    .datetime({ offset: true })
    .optional()
    .meta({ description: "Leaves out runs that ended before." }),
  class: z.string().optional().meta({ description: "Class of the error." }),
  host: z.string().optional().meta({ description: "Host of the source: `name` or `name:port`." }),
};
type Filter = z.infer<z.ZodObject<typeof filterShape>>;

const failureSchema = fileSchema
  .extend({ run: z.string(), label: z.string().nullable(), host: z.string() })
  .meta({ id: "Failure" });

const pageSchema = z
  .object({
    failures: z.array(failureSchema),
    total: count,
    by_class: z.record(z.string(), count),
    by_host: z.record(z.string(), count),
    truncated: z.boolean().meta({
      description: TRUNCATED,
    }),
    next: z.string().nullable(),
  })
  .meta({ id: "FailurePage" });

const retriedSchema = z
  .object({
    runs: z.array(z.string()),
    files: count.meta({ description: "What is tried again in them." }),
    skipped: z.array(z.object({ run: z.string(), why: z.string() })),
    truncated: z.boolean().meta({
      description: `Whether more than ${MOST_RETRIED} runs are concerned: call again once these are done.`,
    }),
  })
  .meta({ id: "RetriedFailures" });

/** `/api/v1/failures`: what failed in all runs. */
export function failureRoutes({ engine, keeper, log }: ServiceContext, counts: FailureCounts): Route[] {
  return [
    route({
      method: "get",
      path: "/api/v1/failures",
      scope: "read",
      tag: TAG,
      summary: "What failed, in all runs, the newest run first",
      description: "What ended `failed`, `blocked`, `locked` or `cancelled`, and was not retried since.",
      query: z.object({
        ...filterShape,
        limit: z.coerce.number().int().min(1).max(10_000).default(1_000),
        cursor: z
          .string()
          .regex(/^\d{1,15}\.[^.]{1,200}\.\d{1,15}$/)
          .optional()
          .meta({ description: "`next` of the page before." }),
      }),
      answers: { 200: { description: "One page, and counts of all.", schema: pageSchema } },
      isSlow: true,
      async handle({ query: { limit, cursor, ...filter } }) {
        const wanted = meant(filter);
        const from = cursor === undefined ? undefined : placeOf(cursor);
        const page: z.infer<typeof failureSchema>[] = [];
        const next = await fill(page, limit, failuresOfRuns(engine, wanted, from));
        const { groups, truncated } = await counts.since(wanted.sinceMs ?? 0);
        const isHost = hostMatcher(filter.host);
        const [byClass, byHost] = [new Map<string, number>(), new Map<string, number>()];
        let total = 0;
        for (const { class: errorClass, host, files } of groups) {
          if ((filter.class !== undefined && filter.class !== errorClass) || !isHost(host)) continue;
          total += files;
          byClass.set(errorClass, (byClass.get(errorClass) ?? 0) + files);
          byHost.set(host, (byHost.get(host) ?? 0) + files);
        }
        const sums = { by_class: Object.fromEntries(byClass), by_host: Object.fromEntries(byHost) };
        return { status: 200, body: { failures: page, total, ...sums, truncated, next } };
      },
    }),
    route({
      method: "post",
      path: "/api/v1/failures/retry",
      scope: "operate",
      tag: TAG,
      summary: "Take up again what failed in all runs, or some of it",
      description: "Each run that is concerned goes on with what is meant. Without a body all of it is.",
      body: z.strictObject(filterShape).meta({ id: "FailureFilter" }),
      bodyIsOptional: true,
      answers: { 202: { description: "These runs go on.", schema: retriedSchema } },
      isSlow: true,
      async handle({ body }) {
        const runs: string[] = [];
        const skipped: { run: string; why: string }[] = [];
        let files = 0;
        let truncated = false;
        for await (const { run, pages } of failuresOfRuns(engine, meant(body))) {
          let [failed, meantFiles] = [0, 0];
          for await (const page of pages) {
            meantFiles += page.length;
            failed += page.filter((file) => !isFinal(file)).length;
          }
          if (meantFiles === 0) continue;
          truncated = runs.length === MOST_RETRIED;
          if (truncated) break;
          const why = await whyNot(async () => {
            if (!run.spec.fleet) throw new SettingsError("a command line carries it: drover retry there");
            const only = { class: body.class, host: body.host };
            await keeper.resume(run.id, { retry: true, only }, (message) =>
              log.warn({ run: run.id }, message),
            );
          });
          if (why !== undefined) skipped.push({ run: run.id, why });
          else {
            runs.push(run.id);
            files += failed;
          }
        }
        return { status: 202, body: { runs, files, skipped, truncated }, changed: runs.length };
      },
    }),
  ];
}

function meant({ since, ...filter }: Filter) {
  return { ...filter, sinceMs: since === undefined ? undefined : Date.parse(since) };
}

function hostIn(source: string, spec: RunSpec): string {
  const host = hostOf(source, spec);
  return host === "" ? NO_HOST : host;
}

/** @returns why something cannot be done, or undefined where it was. */
async function whyNot(work: () => Promise<void>): Promise<string | undefined> {
  try {
    await work();
    return undefined;
  } catch (error) {
    if (error instanceof SettingsError || error instanceof Problem) return error.message;
    throw error;
  }
}

/** The place that {@link fill} has answered with: a run's start, its id, and the index of a file. */
function placeOf(cursor: string): FailurePlace {
  const [startedMs, run, index] = cursor.split(".");
  return { startedMs: Number(startedMs), run: run as string, index: Number(index) };
}

/** Fills a page. @returns the cursor of the next one; null where there is none. */
async function fill(
  page: z.infer<typeof failureSchema>[],
  limit: number,
  failures: AsyncGenerator<RunFailures>,
): Promise<string | null> {
  for await (const { file, run } of each(failures)) {
    if (page.length === limit) return `${run.startedMs}.${run.id}.${file.index}`;
    const label = run.spec.label ?? null;
    page.push({ ...showFailed(file), run: run.id, label, host: hostIn(file.job.s, run.spec) });
  }
  return null;
}

async function* each(failures: AsyncGenerator<RunFailures>): AsyncGenerator<{ run: Run; file: FailedFile }> {
  for await (const { run, pages } of failures)
    for await (const page of pages) for (const file of page) yield { run, file };
}
