import { setTimeout as sleep } from "node:timers/promises";
import { type RunSummary, runPage, summaryOf } from "@drover/producer/runs/summary";
import { Webhooks } from "@drover/shared/protocol/webhooks";
import type { Run } from "@drover/shared/run";
import { z } from "zod";
import type { ServiceContext } from "../context.js";
import { type Route, route } from "../http/route.js";
import { showWebhook } from "../webhooks/schema.js";
import { RunRates, rateShape } from "./rates.js";
import { limitOf, runOf, runParam, TAG } from "./run-param.js";
import { isOver, runDetailSchema, runSchema, showRun } from "./shown.js";

/** Interval in milliseconds at which a run that is waited for is looked at. */
const WAIT_LOOK_MS = 200;
const MOST_WAIT_SECONDS = 60;

const listedSchema = runSchema.extend(rateShape).meta({ id: "ListedRun" });

/** `GET /api/v1/runs` and one of them: how runs stand. */
export function showRoutes({ engine, stopping }: ServiceContext): Route[] {
  const rates = new RunRates();
  const show = (summary: RunSummary) => ({ ...showRun(summary), ...rates.of(summary) });
  const webhooks = new Webhooks(engine.redis, engine.keys);
  const webhookOf = async (id: string) => {
    const standing = await webhooks.get(id);
    return standing === undefined ? null : showWebhook(standing);
  };
  return [
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
          schema: z
            .object({ runs: z.array(listedSchema), next: z.string().nullable() })
            .meta({ id: "RunPage" }),
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
        return { status: 200, body: { runs: page.map(show), next } };
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
      answers: { 200: { description: "The run.", schema: runDetailSchema.extend(rateShape) } },
      isSlow: true,
      async handle({ params, query, request }) {
        const { id } = await runOf(engine, params.run);
        const untilMs = Date.now() + query.wait * 1000;
        for (;;) {
          const summary = await summaryOf(engine, id);
          // What a cancelled run has on its way ends a moment later.
          const { settled, files } = summary.counts;
          const hasEnded = isOver(summary.run) && (summary.run.state !== "cancelled" || settled >= files);
          if (hasEnded || Date.now() >= untilMs || request.destroyed || stopping.aborted)
            return { status: 200, body: { ...show(summary), webhook: await webhookOf(id) } };
          await sleep(Math.min(WAIT_LOOK_MS, Math.max(untilMs - Date.now(), 1)));
        }
      },
    }),
  ];
}

/** The place that a cursor names. */
function placeOf(cursor: string): Pick<Run, "id" | "startedMs"> {
  const dot = cursor.indexOf(".");
  return { startedMs: Number(cursor.slice(0, dot)), id: cursor.slice(dot + 1) };
}
