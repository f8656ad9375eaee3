import { cancelRun } from "@drover/producer/runs/cancel";
import { cancelFile } from "@drover/producer/runs/cancel-file";
import { summaryOf } from "@drover/producer/runs/summary";
import { z } from "zod";
import type { ServiceContext } from "../context.js";
import { Problem } from "../http/problem.js";
import { type Route, route } from "../http/route.js";
import { runOf, runParam, TAG } from "./run-param.js";
import { runSchema, showRun } from "./shown.js";

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

const RUN = { description: "The run.", schema: runSchema };

/** Retries, resumes and cancels runs. */
export function changeRoutes({ engine, keeper, log }: ServiceContext): Route[] {
  return [
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
        const { id } = await runOf(engine, params.run);
        const only = Object.keys(body).length === 0 ? undefined : body;
        await keeper.resume(id, { retry: true, only }, (message) => log.warn({ run: id }, message));
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
        const { id } = await runOf(engine, params.run);
        await keeper.resume(id, { retry: false }, (message) => log.warn({ run: id }, message));
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
        const run = await runOf(engine, params.run);
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
