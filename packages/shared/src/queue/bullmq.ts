import { setTimeout as sleep } from "node:timers/promises";
import {
  type BackendFactory,
  createRedisBackend,
  type Job,
  type RedisQueueBackend,
  raw2NextJobData,
} from "bullmq";
import type { Redis } from "ioredis";
import type { TransferJob } from "../job.js";
import { Batcher, callsApartMs } from "../redis/batcher.js";
import { count } from "../telemetry.js";
import {
  addPrioritizedScript,
  addStandardScript,
  type Events,
  FINISH_JOB_KEY,
  FINISH_KEYS,
  findLostJobsScript,
  finishJobScript,
} from "./bullmq-scripts.js";

export type { Events } from "./bullmq-scripts.js";

/** Jobs leave nothing behind: what became of a file is in the ledger. */
const OPTIONS = JSON.stringify({ removeOnComplete: true, removeOnFail: true });
/** Jobs that are added in one call: Redis does nothing else meanwhile, about 2 ms. */
const ADDED_AT_ONCE = 100;

export interface QueuedJob {
  id: string;
  data: TransferJob;
  /** From 1 on; the smallest comes first. All jobs of a queue have one, or none has. */
  priority?: number;
}

/** A queue, as far as adding jobs is concerned. */
interface JobQueue {
  backend: Pick<RedisQueueBackend, "keys">;
}

/**
 * Adds jobs. One that is there already is left as it is, so that a call may be sent again, as ioredis does where a
 * connection broke.
 */
export async function addJobs(
  redis: Redis,
  queue: JobQueue,
  jobs: QueuedJob[],
  events: Events,
): Promise<void> {
  const calls: Promise<void>[] = [];
  for (let from = 0; from < jobs.length; from += ADDED_AT_ONCE)
    calls.push(addSome(redis, queue, jobs.slice(from, from + ADDED_AT_ONCE), events));
  await Promise.all(calls);
}

async function addSome(redis: Redis, queue: JobQueue, jobs: QueuedJob[], events: Events): Promise<void> {
  const key = (name: string) => queue.backend.keys[name] as string;
  const args = [key(""), OPTIONS, Date.now()];
  for (const { id, data, priority } of jobs) args.push(id, JSON.stringify(data), priority ?? 0);
  const isPrioritized = jobs[0]?.priority !== undefined;
  const script = isPrioritized ? addPrioritizedScript(events) : addStandardScript(events);
  const names = isPrioritized
    ? ["marker", "meta", "id", "prioritized", "delayed", "completed", "active", "events", "pc"]
    : ["wait", "paused", "meta", "id", "completed", "delayed", "active", "events", "marker"];
  await script.run(redis, names.map(key), args);
  count("queue.jobs_added", jobs.length);
}

/** Jobs that are looked for in one call. */
const FOUND_AT_ONCE = 500;
/** Where a job of ours can be. */
const SETS = ["prioritized", "delayed"];
const LISTS = ["wait", "paused", "active"];

/**
 * Finds jobs that no worker will ever take: those that are gone, and those of which the data is left while they are in
 * no list of the queue and no worker has them. Of the latter the data is removed, so that they can be added again.
 *
 * @returns for each id whether that is so.
 */
export async function findLostJobs(redis: Redis, queue: JobQueue, ids: string[]): Promise<boolean[]> {
  const key = (name: string) => queue.backend.keys[name] as string;
  const lost: boolean[] = [];
  for (let from = 0; from < ids.length; from += FOUND_AT_ONCE) {
    const slice = ids.slice(from, from + FOUND_AT_ONCE);
    const jobs = slice.flatMap((id) => [`${key("")}${id}`, `${key("")}${id}:lock`]);
    const keys = [...SETS.map(key), ...LISTS.map(key), ...jobs];
    const answers = (await findLostJobsScript.run(redis, keys, slice)) as number[];
    lost.push(...answers.map((each) => each === 1));
  }
  return lost;
}

/**
 * Gives a job that a worker has taken back to its queue, and wakes another worker that waits for one. BullMQ's own
 * script wakes nobody where the job has a priority: a free worker would begin it when its wait of five seconds ends.
 *
 * @param token of the job's lock.
 */
export async function giveBackJob(redis: Redis, job: Job<unknown>, token: string): Promise<void> {
  await job.moveToWait(token);
  await redis.zadd(`${job.prefix}:${job.queueName}:marker`, 0, "0");
}

/** Delay in ms after a fetch that failed, although the connection is fine: a key of the queue has the wrong type, say. */
const FAILED_FETCH_MS = 1_000;

/** The next job (fields and values) or 0, its id or 0, ms of a rate limit, when the next delayed one is due. */
type Next = [job: string[] | 0, id: string | 0, limitMs: number, nextMs: number];
/** What became of a finished job: the next one, a negative error code of BullMQ's, or an error of Redis. */
type FinishAnswer = Next | number | { error: string };

type FinishedJob = Parameters<RedisQueueBackend["moveToCompleted"]>[0];

interface Finish {
  job: FinishedJob;
  /** Of the job's lock. */
  token: string;
  fetchNext: boolean;
}

/**
 * BullMQ's backend for workers, changed so that jobs that end at about the same time are finished, and the next ones
 * fetched, in one call; and a fetch that fails is not repeated at once.
 *
 * @param filesAtOnce that are copied.
 */
export function batchingBackend(
  redis: Redis,
  events: Events,
  filesAtOnce: number,
): BackendFactory<RedisQueueBackend> {
  return (name, options, context) => {
    const backend = createRedisBackend(name, options, context);
    const fetchOne = backend.moveToActive.bind(backend);
    backend.moveToActive = async (...args) => {
      try {
        return await fetchOne(...args);
      } catch (error) {
        await sleep(FAILED_FETCH_MS); // BullMQ would ask again at once
        throw error;
      }
    };
    const moveOne = backend.moveToCompleted.bind(backend);
    const finishes = new Batcher(
      "finish-jobs",
      (requests: Finish[]) => finishAll(redis, backend, requests, events),
      callsApartMs(filesAtOnce),
    );
    backend.moveToCompleted = async (job, value, remove, token, fetchNext) => {
      const isPlain = value === undefined && remove === true && !job.parentKey;
      if (!isPlain) return moveOne(job, value, remove, token, fetchNext);
      const { answer, finishedOn } = await finishes.ask({ job, token, fetchNext });
      if (typeof answer === "object" && "error" in answer) throw new Error(answer.error);
      if (typeof answer === "number" && answer < 0)
        throw backend.finishedErrors({
          code: answer,
          jobId: job.id as string,
          command: "moveToFinished",
          state: "active",
        });
      return { result: raw2NextJobData(answer as Next), finishedOn };
    };
    return backend;
  };
}

async function finishAll(redis: Redis, backend: RedisQueueBackend, requests: Finish[], events: Events) {
  const [first] = requests as [Finish];
  // What is the same for all, as the library makes it: keys; id, now, kind, value, state, fetch, prefix, options.
  const made = backend.moveToCompletedArgs(first.job, undefined, true, "", true);
  const keys = made.slice(0, FINISH_KEYS) as string[];
  const [, now, , value, , , prefix, packed] = made.slice(FINISH_KEYS) as [string, number, ...string[]];
  keys[FINISH_JOB_KEY] = prefix as string;
  const args = [prefix, packed, now, value] as (string | number | Buffer)[];
  for (const { job, token, fetchNext } of requests)
    args.push(job.id as string, token, fetchNext && !backend.closing ? 1 : 0);
  const answers = JSON.parse(
    (await finishJobScript(events).run(redis, keys, args)) as string,
  ) as FinishAnswer[];
  count("queue.jobs_finished", answers.length);
  return answers.map((answer) => ({ answer, finishedOn: now }));
}
