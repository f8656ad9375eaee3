import { type BackendFactory, createRedisBackend, type RedisQueueBackend, raw2NextJobData } from "bullmq";
import { addPrioritizedJob } from "bullmq/dist/esm/scripts/addPrioritizedJob-9.js";
import { addStandardJob } from "bullmq/dist/esm/scripts/addStandardJob-9.js";
import { moveToFinished } from "bullmq/dist/esm/scripts/moveToFinished-14.js";
import type { Redis } from "ioredis";
import type { TransferJob } from "../job.js";
import { Batcher, callsApartMs, Script } from "../redis/script.js";

/*
 * BullMQ calls a script for each job that it adds or finishes. For small files this is a large part of all work, and
 * most of that is not the script but the call: its fourteen keys and nine arguments, put together, sent, parsed, packed
 * and unpacked. Here BullMQ's own scripts, as they come with it, run for many jobs in one call. What BullMQ packs is
 * given to them unpacked.
 */

/**
 * Whether BullMQ tells of each step of a job in the queue's event stream. In a queue that one process has for itself
 * nobody listens, and the four events of a job are an eighth of what it costs in Redis.
 */
export type Events = "told" | "untold";

/**
 * A script of BullMQ's as a Lua function of the keys and arguments of one job. The functions that it brings (each is made
 * of its parameters alone) are made once for all jobs of a call.
 */
function asFunction(name: string, script: { content: string }, events: Events): string {
  const content =
    events === "told" ? script.content : script.content.replace(/\brcall\("X(ADD|TRIM)"/g, 'untold("X$1"');
  const functions = content.indexOf("\nlocal function ");
  const rest = content.indexOf("\nend\n", content.lastIndexOf("\nlocal function ")) + "\nend\n".length;
  return `
local unpacked = {unpack = function(value) return value end}
local rcall = redis.call
local function untold() end
${content.slice(functions, rest)}
local function ${name}(KEYS, ARGV, cmsgpack)
${content.slice(0, functions)}
${content.slice(rest)}
end`;
}

/** The two ways of a script, each made when it is first needed. */
function bothWays(make: (events: Events) => Script): (events: Events) => Script {
  const made: { [way in Events]?: Script } = {};
  return (events) => {
    made[events] ??= make(events);
    return made[events];
  };
}

/**
 * KEYS: BullMQ's. ARGV: prefix, options (JSON), now (Unix ms); per job its id, data (JSON) and priority, or 0. The error
 * is for what cannot be: a job is refused for its parent's or its deduplication's sake alone.
 */
function addScript(script: { content: string }): (events: Events) => Script {
  return bothWays(
    (events) =>
      new Script(`${asFunction("add", script, events)}
local opts = cjson.decode(ARGV[2])
for at = 4, #ARGV, 3 do
  local priority = tonumber(ARGV[at + 2])
  opts.priority = priority > 0 and priority or nil
  local answer = add(KEYS, {{ARGV[1], ARGV[at], 'copy', ARGV[3]}, ARGV[at + 1], opts}, unpacked)
  if answer ~= ARGV[at] then return redis.error_reply('ERR job ' .. ARGV[at] .. ' was not added: ' .. tostring(answer)) end
end`),
  );
}

const addStandard = addScript(addStandardJob);
const addPrioritized = addScript(addPrioritizedJob);

/**
 * KEYS: BullMQ's, with the prefix in the place of the job's own. ARGV: prefix, options (packed), now (Unix ms), value that
 * is returned (JSON); per job its id, the token of its lock, and 1 where another job is wanted. Returns what BullMQ's
 * script returns for each, or {error}, as one JSON text; where all go wrong it is the call that does, as it must where
 * Redis does not write any more.
 */
const finishScript = bothWays(
  (events) =>
    new Script(`${asFunction("finish", moveToFinished, events)}
local opts = cmsgpack.unpack(ARGV[2])
local keys = {unpack(KEYS)}
local answers, failed = {}, 0
for at = 5, #ARGV, 3 do
  keys[12] = ARGV[1] .. ARGV[at]
  opts.token = ARGV[at + 1]
  local args = {ARGV[at], ARGV[3], 'returnvalue', ARGV[4], 'completed', ARGV[at + 2], ARGV[1], opts}
  local well, answer = pcall(finish, keys, args, unpacked)
  if not well then
    answer = {error = type(answer) == 'table' and answer.err or tostring(answer)}
    failed = failed + 1
  end
  answers[#answers + 1] = answer
end
if failed == #answers then return redis.error_reply(answers[1].error) end
return cjson.encode(answers)`),
);

/** Where the job's own key is among those of {@link moveToFinished}. */
const JOB_KEY = 11;

/** Jobs leave nothing behind: what became of a file is in the ledger. */
const OPTIONS = { removeOnComplete: true, removeOnFail: true };

export interface QueuedJob {
  id: string;
  data: TransferJob;
  /** The smallest comes first, from 1 on. All jobs of a queue have one, or none has. */
  priority?: number;
}

/** A queue, as far as adding jobs is concerned. */
interface JobQueue {
  backend: Pick<RedisQueueBackend, "keys">;
}

/** Jobs that are added in one call: Redis does nothing else meanwhile, about 2 ms. */
const ADDED_AT_ONCE = 100;

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
  const args = [key(""), JSON.stringify(OPTIONS), Date.now()];
  for (const { id, data, priority } of jobs) args.push(id, JSON.stringify(data), priority ?? 0);
  const prioritized = jobs[0]?.priority !== undefined;
  const names = prioritized
    ? ["marker", "meta", "id", "prioritized", "delayed", "completed", "active", "events", "pc"]
    : ["wait", "paused", "meta", "id", "completed", "delayed", "active", "events", "marker"];
  await (prioritized ? addPrioritized : addStandard)(events).run(redis, names.map(key), args);
}

/** A job (fields and values) or 0, its id or 0, ms of a rate limit, when the next one is due. */
type Next = [job: string[] | 0, id: string | 0, limitMs: number, nextMs: number];

type FinishedJob = Parameters<RedisQueueBackend["moveToCompleted"]>[0];

interface Finish {
  job: FinishedJob;
  token: string;
  fetchNext: boolean;
}

/**
 * For workers: jobs that end at about the same time are finished, and the next ones fetched, in one call.
 *
 * @param filesAtOnce that are carried.
 */
export function batchingBackend(
  redis: Redis,
  events: Events,
  filesAtOnce: number,
): BackendFactory<RedisQueueBackend> {
  return (name, options, context) => {
    const backend = createRedisBackend(name, options, context);
    const single = backend.moveToCompleted.bind(backend);
    const finishes = new Batcher(
      (requests: Finish[]) => finishAll(redis, backend, requests, events),
      callsApartMs(filesAtOnce),
    );
    backend.moveToCompleted = async (job, value, remove, token, fetchNext) => {
      const plain = value === undefined && remove === true && !job.parentKey;
      if (!plain) return single(job, value, remove, token, fetchNext);
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
  // What is the same for all, as the library makes it: keys, then id, now, kind and value, state, fetch, prefix, options.
  const made = backend.moveToCompletedArgs(first.job, undefined, true, "", true);
  const keys = made.slice(0, moveToFinished.keys) as string[];
  const [, now, , value, , , prefix, packed] = made.slice(moveToFinished.keys) as [
    string,
    number,
    ...string[],
  ];
  keys[JOB_KEY] = prefix as string;
  const args = [prefix, packed, now, value] as (string | number | Buffer)[];
  for (const { job, token, fetchNext } of requests)
    args.push(job.id as string, token, fetchNext && !backend.closing ? 1 : 0);
  const answers = JSON.parse((await finishScript(events).run(redis, keys, args)) as string) as (
    | Next
    | number
    | { error: string }
  )[];
  return answers.map((answer) => ({ answer, finishedOn: now }));
}
