import type { ApiAnswer } from "@drover/service/http/in-process";
import { Problem } from "@drover/service/http/problem";
import type { Caller } from "@drover/service/security/scopes";
import type { ServiceParts } from "@drover/service/service";
import { transferJobSchema } from "@drover/shared/job";
import type { Job, Queue } from "bullmq";
import { type Request, type RequestHandler, type Response, Router } from "express";
import { REMOVE, RETRY } from "./allowed-routes.js";

/**
 * What Bull Board may change: one job is removed, and one retried. Drover's own operations do both, on the file of the job:
 * its ledger, and the queue after it, are what they should be then.
 */
export function boardWrites({ callApi }: Pick<ServiceParts, "callApi">, queue: Queue): Router {
  const ask = async (response: Response, path: string, body: unknown) => {
    const { who, requestId } = response.locals;
    return await callApi(who as Caller, "POST", path, { body, requestId });
  };
  const router = Router();
  router.put(
    REMOVE,
    onJob(queue, async (job, response) => {
      const file = fileOf(job);
      const answer =
        file && (await ask(response, `/api/v1/runs/${file.run}/cancel`, { file: file.destination }));
      // Of a job that belongs to no file, or to one that has ended, nothing is left but itself.
      if (answer === undefined || answer.status === 404) await removeRest(job);
      else refuseIf(answer);
    }),
  );
  router.put(
    RETRY,
    onJob(queue, async (job, response) => {
      const state = await job.getState();
      if (state !== "failed" && state !== "completed")
        throw problem(400, `the job is ${state}: what has not failed is not retried`);
      const file = fileOf(job);
      if (file === undefined) throw problem(409, "the job belongs to no file of a run");
      refuseIf(await ask(response, `/api/v1/runs/${file.run}/retry`, { files: [file.destination] }));
      await removeRest(job); // the file has a new one
    }),
  );
  return router;
}

/** Answers for the job that a path names. */
function onJob(queue: Queue, work: (job: Job, response: Response) => Promise<void>): RequestHandler {
  return async (request: Request, response) => {
    const { queueName, jobId } = request.params as { queueName: string; jobId: string };
    const job = queueName === queue.name ? await queue.getJob(jobId) : undefined;
    if (job === undefined) throw problem(404, "there is no such job");
    await work(job, response);
    response.status(204).end();
  };
}

function fileOf(job: Job): { run: string; destination: string } | undefined {
  const { data, success } = transferJobSchema.safeParse(job.data);
  return success && data.r !== undefined
    ? { run: encodeURIComponent(data.r), destination: data.d }
    : undefined;
}

async function removeRest(job: Job): Promise<void> {
  if ((await job.getState()) === "active") throw problem(409, "a worker has the job: it ends soon");
  await job.remove();
}

function refuseIf({ status, body }: ApiAnswer): void {
  if (status >= 400) throw problem(status, body.detail);
}

/** An error as Bull Board's page shows it. */
export function problem(status: number, detail: string): Problem {
  return new Problem(status, detail, { extra: { error: detail } });
}
