import { once } from "node:events";
import { transferJobSchema } from "@drover/shared/job";
import { addJobs, batchingBackend, type Events, giveBackJob } from "@drover/shared/queue/bullmq";
import { type Job, Queue, Worker } from "bullmq";
import type { Redis } from "ioredis";
import { describe, expect, onTestFinished } from "vitest";
import { until } from "../../harness/gate.js";
import { it } from "../../harness/redis.js";

const OPTIONS = { removeOnComplete: { count: 0 }, removeOnFail: { count: 0 }, lockDuration: 20_000 };

function jobOf(index: number) {
  return { s: `http://127.0.0.1/f${index}`, d: `f${index}`, i: index };
}

async function openQueue(redis: Redis, prefix: string): Promise<Queue> {
  const queue = new Queue("jobs", { connection: redis, prefix });
  await queue.waitUntilReady();
  onTestFinished(() => queue.close());
  return queue;
}

/** Runs a worker until so many jobs have ended. @returns ids in the order in which they began, and errors. */
async function work(
  redis: Redis,
  prefix: string,
  count: number,
  process: (worker: Worker, id: string) => Promise<unknown> = async () => undefined,
  events: Events = "published",
) {
  const begun: string[] = [];
  const errors: string[] = [];
  const ended = Promise.withResolvers<void>();
  let left = count;
  const end = () => --left === 0 && ended.resolve();
  const worker: Worker = new Worker(
    "jobs",
    (job) => {
      begun.push(job.id as string);
      return process(worker, job.id as string);
    },
    { connection: redis, prefix, concurrency: 32, autorun: false, ...OPTIONS },
    batchingBackend(redis, events, 32),
  );
  let completed = 0;
  worker.on("completed", () => {
    completed++;
    end();
  });
  worker.on("failed", end);
  worker.on("error", (error) => {
    errors.push(error.message);
    end();
  });
  await worker.waitUntilReady();
  const running = worker.run();
  await ended.promise;
  await worker.close();
  await running;
  return { begun, completed, errors };
}

async function scriptCalls(redis: Redis): Promise<number> {
  const calls = [...(await redis.info("commandstats")).matchAll(/cmdstat_eval(?:sha)?:calls=(\d+)/g)];
  return calls.reduce((sum, [, count]) => sum + Number(count), 0);
}

describe("jobs that are added", () => {
  it("are jobs of BullMQ's in order, and are not changed when they are added again", async ({
    redis,
    keys,
  }) => {
    const queue = await openQueue(redis, keys.queuePrefix());
    const jobs = Array.from({ length: 250 }, (_, at) => ({ id: `run-${at}`, data: jobOf(at) }));
    await addJobs(redis, queue, jobs, "published");
    await addJobs(redis, queue, jobs, "published");
    expect(await queue.getJobCounts("wait", "active", "delayed")).toEqual({
      wait: 250,
      active: 0,
      delayed: 0,
    });
    const job = await queue.getJob("run-249");
    expect(transferJobSchema.parse(job?.data)).toEqual(jobOf(249));
    expect(job?.opts).toMatchObject({ removeOnComplete: true, removeOnFail: true });
    const { begun } = await work(redis, keys.queuePrefix(), 250);
    expect(begun).toEqual(jobs.map(({ id }) => id));
  });

  it("are processed by priority if they have one", async ({ redis, keys }) => {
    const queue = await openQueue(redis, keys.queuePrefix());
    const priorities = [3, 1, 2, 1];
    await addJobs(
      redis,
      queue,
      priorities.map((priority, at) => ({ id: `run-${at}`, data: jobOf(at), priority })),
      "published",
    );
    expect((await queue.getJob("run-0"))?.opts.priority).toBe(3);
    const { begun } = await work(redis, keys.queuePrefix(), 4);
    expect(begun).toEqual(["run-1", "run-3", "run-2", "run-0"]);
  });
});

describe("jobs that are finished at the same time", () => {
  it("are removed with an event each, in a fraction of the calls", async ({ redis, keys }) => {
    const prefix = keys.queuePrefix();
    const queue = await openQueue(redis, prefix);
    const jobs = Array.from({ length: 320 }, (_, at) => ({ id: `run-${at}`, data: jobOf(at) }));
    await addJobs(redis, queue, jobs, "published");
    const before = await scriptCalls(redis);
    // So that they end together, each waits until all that run at once have begun.
    let waiting: (() => void)[] = [];
    const { begun, errors } = await work(redis, prefix, 320, async () => {
      const turn = new Promise<void>((resolve) => waiting.push(resolve));
      if (waiting.length === 32) {
        for (const go of waiting) go();
        waiting = [];
      }
      await turn;
    });
    // 32 jobs are fetched one by one, and once more when nothing is left; then 10 calls finish 32 each.
    expect((await scriptCalls(redis)) - before).toBeLessThan(80);
    expect(errors).toEqual([]);
    expect(new Set(begun).size).toBe(320);
    expect(await redis.keys(`${prefix}:jobs:run-*`)).toEqual([]);
    const events = (await redis.xrange(`${prefix}:jobs:events`, "-", "+")).map(([, fields]) => fields);
    const completed = events.filter((fields) => fields.includes("completed"));
    expect(completed).toHaveLength(320);
  });

  it.for([undefined, 3])(
    "are processed the same with suppressed events, priority %s",
    async (priority, { redis, keys }) => {
      const prefix = keys.queuePrefix();
      const queue = await openQueue(redis, prefix);
      const jobs = Array.from({ length: 250 }, (_, at) => ({ id: `run-${at}`, data: jobOf(at) }));
      const all = priority === undefined ? jobs : jobs.map((job) => ({ ...job, priority }));
      await addJobs(redis, queue, all, "suppressed");
      await addJobs(redis, queue, all, "suppressed");
      const { begun, completed, errors } = await work(redis, prefix, 250, undefined, "suppressed");
      expect([begun, completed, errors]).toEqual([jobs.map(({ id }) => id), 250, []]);
      expect(await redis.keys(`${prefix}:jobs:run-*`)).toEqual([]);
      const events = (await redis.xrange(`${prefix}:jobs:events`, "-", "+")).map(([, fields]) => fields[1]);
      // BullMQ itself fetches the first jobs one by one.
      expect(events.filter((event) => event !== "active" && event !== "drained")).toEqual([]);
      expect(events.length).toBeLessThan(40);
    },
  );

  it("are finished although the lock of one of them is lost", async ({ redis, keys }) => {
    const prefix = keys.queuePrefix();
    const queue = await openQueue(redis, prefix);
    const jobs = Array.from({ length: 8 }, (_, at) => ({ id: `run-${at}`, data: jobOf(at) }));
    await addJobs(redis, queue, jobs, "published");
    const all = Promise.withResolvers<void>();
    let here = 0;
    const { errors } = await work(redis, prefix, 8, async (_worker, id) => {
      if (id === "run-3") await redis.del(`${prefix}:jobs:run-3:lock`);
      if (++here === 8) all.resolve();
      await all.promise;
    });
    expect(errors).toEqual([expect.stringMatching(/Missing lock for job run-3/)]);
    expect(await queue.getActiveCount()).toBe(1); // it is delivered again once it counts as stalled
  });

  it("are finished although the next job of one of them cannot be read", async ({ redis, keys }) => {
    const prefix = keys.queuePrefix();
    const queue = await openQueue(redis, prefix);
    const jobs = Array.from({ length: 32 }, (_, at) => ({ id: `run-${at}`, data: jobOf(at) }));
    await addJobs(redis, queue, jobs, "published");
    await redis.lpush(`${prefix}:jobs:wait`, "bad");
    await redis.set(`${prefix}:jobs:bad`, "no hash");
    const all = Promise.withResolvers<void>();
    let here = 0;
    const { begun, completed, errors } = await work(redis, prefix, 32, async () => {
      if (++here === 32) all.resolve();
      await all.promise;
    });
    expect([begun.length, completed]).toEqual([32, 31]);
    expect(errors[0]).toMatch(/^WRONGTYPE/);
    // That job is finished too; only its worker does not know.
    expect(errors.slice(1).filter((message) => !/Missing key for job run-0/.test(message))).toEqual([]);
    expect(await redis.keys(`${prefix}:jobs:run-*`)).toEqual([]);
  });

  it("are finished by BullMQ itself if they return a value or are kept", async ({ redis, keys }) => {
    const prefix = keys.queuePrefix();
    const queue = await openQueue(redis, prefix);
    await queue.add("copy", jobOf(0), { jobId: "kept", removeOnComplete: false });
    await queue.add("copy", jobOf(1), { jobId: "returning", removeOnComplete: true });
    const other = new Queue("jobs", { connection: redis, prefix });
    onTestFinished(() => other.close());
    await work(redis, prefix, 2, async (_worker, id) => (id === "returning" ? { answer: 42 } : undefined));
    expect(await (await queue.getJob("kept"))?.getState()).toBe("completed");
    const events = (await redis.xrange(`${prefix}:jobs:events`, "-", "+")).map(([, fields]) => fields);
    expect(events.find((fields) => fields.includes("completed") && fields.includes("returning"))).toContain(
      '{"answer":42}',
    );
  });

  it("are fetched by a worker that waits", async ({ redis, keys }) => {
    const prefix = keys.queuePrefix();
    const queue = await openQueue(redis, prefix);
    const worker = new Worker(
      "jobs",
      async () => undefined,
      { connection: redis, prefix, concurrency: 4, ...OPTIONS },
      batchingBackend(redis, "published", 4),
    );
    await worker.waitUntilReady();
    onTestFinished(() => worker.close());
    for (let round = 0; round < 3; round++) {
      const completed = once(worker, "completed");
      await addJobs(redis, queue, [{ id: `run-${round}`, data: jobOf(round) }], "published");
      await completed;
    }
  });
});

it("a job that is given back is taken at once by a worker that waits for one", async ({ redis, keys }) => {
  const prefix = keys.queuePrefix();
  const queue = await openQueue(redis, prefix);
  await addJobs(redis, queue, [{ id: "j0", data: jobOf(0), priority: 1 }], "published");
  const busy = new Worker("jobs", undefined, { connection: redis, prefix, ...OPTIONS });
  onTestFinished(() => busy.close());
  const job = (await busy.getNextJob("token")) as Job;
  const taken = Promise.withResolvers<string>();
  const free = new Worker("jobs", async ({ id }) => taken.resolve(id as string), {
    connection: redis,
    prefix,
    drainDelay: 60,
    ...OPTIONS,
  });
  onTestFinished(() => free.close());
  await until("a worker that waits", async () =>
    /cmd=bzpopmin/.test(String(await redis.call("CLIENT", "LIST", "TYPE", "normal"))),
  );
  await giveBackJob(redis, job, "token");
  expect(await taken.promise).toBe("j0");
});
