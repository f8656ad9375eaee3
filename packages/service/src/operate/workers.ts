import { aliveWorkers, type WorkerPresence } from "@drover/shared/protocol/worker-registry";
import { z } from "zod";
import type { ServiceContext } from "../context.js";
import { type Route, route } from "../http/route.js";

const count = z.int().min(0);

const workerSchema = z
  .object({
    id: z.string(),
    host: z.string().meta({ description: "The machine that it runs on." }),
    pid: count,
    started_at: z.iso.datetime(),
    concurrency: count.meta({ description: "Files that it carries at once." }),
    roots: z.array(z.string()).meta({ description: "What it writes below." }),
    leads: z.boolean().meta({ description: "It dispatches and sweeps for the fleet." }),
    draining: z.boolean().meta({ description: "It ends what it has, and takes nothing more." }),
    files: count.meta({ description: "Files that it carries now; `carrying` lists at most 64 of them." }),
    files_per_second: z
      .number()
      .meta({ description: "Files that ended, on average of the last half minute." }),
    bytes_per_second: z.number().meta({ description: "Bytes that were copied, on the same average." }),
    carrying: z.array(
      z.object({
        run: z.string(),
        source: z.string(),
        destination: z.string(),
        since: z.iso.datetime(),
        received_bytes: count,
        size_bytes: count.nullable(),
      }),
    ),
  })
  .meta({ id: "Worker" });

/** `/api/v1/workers`: who carries what. */
export function workersRoute({ engine: { redis, keys } }: ServiceContext): Route {
  return route({
    method: "get",
    path: "/api/v1/workers",
    scope: "read",
    tag: "Operation",
    summary: "Workers that are alive, and what each carries",
    description: "As they last reported, which is at most a few seconds ago.",
    answers: {
      200: {
        description: "All of them.",
        schema: z.object({ workers: z.array(workerSchema) }).meta({ id: "Workers" }),
      },
    },
    async handle() {
      return { status: 200, body: { workers: (await aliveWorkers(redis, keys)).map(showWorker) } };
    },
  });
}

function showWorker(worker: WorkerPresence): z.infer<typeof workerSchema> {
  const { startedMs, carrying, files = carrying.length, perSecond, ...rest } = worker;
  return {
    ...rest,
    files,
    files_per_second: perSecond.files,
    bytes_per_second: perSecond.bytes,
    started_at: new Date(startedMs).toISOString(),
    carrying: carrying.map(({ run, source, destination, sinceMs, receivedBytes, sizeBytes }) => ({
      run,
      source,
      destination,
      since: new Date(sinceMs).toISOString(),
      received_bytes: receivedBytes,
      size_bytes: sizeBytes ?? null,
    })),
  };
}
