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
      if (file === undefined) return await removeRest(job);
      const answer = await ask(response, `/api/v1/runs/${file.run}/cancel`, { file: file.destination });
      // What has failed in the queue is only a rest. A job that is on its way may be another run's too, and leaves by itself.
      if (answer.status === 404 && (await hasEnded(job))) await removeRest(job);
      else refuseIf(answer);
    }),
  );
  router.put(
    RETRY,
    onJob(queue, async (job, response) => {
      if (!(await hasEnded(job)))
        throw problem(400, "the job is on its way: only what has failed is retried");
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

async function hasEnded(job: Job): Promise<boolean> {
  return ["failed", "completed"].includes(await job.getState());
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
