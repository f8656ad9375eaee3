import { once } from "node:events";
import { transferJobSchema } from "@drover/shared/job";
import { addJobs, batchingBackend, type Events } from "@drover/shared/queue/bullmq";
import { Queue, Worker } from "bullmq";
import type { Redis } from "ioredis";
import { describe, expect, onTestFinished } from "vitest";
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

/** Runs until so many jobs are ended. @returns ids in the order in which they were begun, and what was said of errors. */
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
  it("are BullMQ's own, in order, and are left alone when they are there already", async ({
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

  it("come in the order of their priorities where they have some", async ({ redis, keys }) => {
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

describe("jobs that are finished in the same moment", () => {
  it("are gone, each with its event, in a fraction of the calls", async ({ redis, keys }) => {
    const prefix = keys.queuePrefix();
    const queue = await openQueue(redis, prefix);
    const jobs = Array.from({ length: 320 }, (_, at) => ({ id: `run-${at}`, data: jobOf(at) }));
    await addJobs(redis, queue, jobs, "published");
    const before = await scriptCalls(redis);
    // So that they end together: each waits until all that can be carried at once are there.
    let waiting: (() => void)[] = [];
    const { begun, errors } = await work(redis, prefix, 320, async () => {
      const turn = new Promise<void>((resolve) => waiting.push(resolve));
      if (waiting.length === 32) {
        for (const go of waiting) go();
        waiting = [];
      }
      await turn;
    });
    // 32 are fetched one by one, and once more when nothing is left; then 10 calls finish 32 each.
    expect((await scriptCalls(redis)) - before).toBeLessThan(80);
    expect(errors).toEqual([]);
    expect(new Set(begun).size).toBe(320);
    expect(await redis.keys(`${prefix}:jobs:run-*`)).toEqual([]);
    const events = (await redis.xrange(`${prefix}:jobs:events`, "-", "+")).map(([, fields]) => fields);
    const completed = events.filter((fields) => fields.includes("completed"));
    expect(completed).toHaveLength(320);
  });

  it.for([undefined, 3])(
    "in a queue that tells nothing are the same, priority %s",
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
      // The first jobs are fetched one by one, as the library does it.
      expect(events.filter((event) => event !== "active" && event !== "drained")).toEqual([]);
      expect(events.length).toBeLessThan(40);
    },
  );

  it("do not suffer where the lock of one of them is lost", async ({ redis, keys }) => {
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
    expect(await queue.getActiveCount()).toBe(1); // it is delivered again when it is found stalled
  });

  it("do not suffer where what one of them fetches cannot be read", async ({ redis, keys }) => {
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
    // That one is finished, too: only its worker does not know.
    expect(errors.slice(1).filter((message) => !/Missing key for job run-0/.test(message))).toEqual([]);
    expect(await redis.keys(`${prefix}:jobs:run-*`)).toEqual([]);
  });

  it("that are not Drover's go the library's way", async ({ redis, keys }) => {
    const prefix = keys.queuePrefix();
    const queue = await openQueue(redis, prefix);
    await queue.add("copy", jobOf(0), { jobId: "kept", removeOnComplete: false });
    await queue.add("copy", jobOf(1), { jobId: "told", removeOnComplete: true });
    const told = new Queue("jobs", { connection: redis, prefix });
    onTestFinished(() => told.close());
    await work(redis, prefix, 2, async (_worker, id) => (id === "told" ? { answer: 42 } : undefined));
    expect(await (await queue.getJob("kept"))?.getState()).toBe("completed");
    const events = (await redis.xrange(`${prefix}:jobs:events`, "-", "+")).map(([, fields]) => fields);
    expect(events.find((fields) => fields.includes("completed") && fields.includes("told"))).toContain(
      '{"answer":42}',
    );
  });

  it("wake a worker that waits", async ({ redis, keys }) => {
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
