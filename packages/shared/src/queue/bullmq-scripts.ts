import { addPrioritizedJob } from "bullmq/dist/esm/scripts/addPrioritizedJob-9.js";
import { addStandardJob } from "bullmq/dist/esm/scripts/addStandardJob-9.js";
import { moveToFinished } from "bullmq/dist/esm/scripts/moveToFinished-14.js";
import { Script } from "../redis/script.js";

/*
 * BullMQ calls a script for each job that it adds or finishes. For small files this is a large part of all work, and
 * most of that is not the script but the call: its fourteen keys and nine arguments, put together, sent, parsed,
 * packed and unpacked. Here BullMQ's own scripts, as they come with it, run for many jobs in one call. What BullMQ
 * packs is given to them unpacked.
 */

/**
 * Whether BullMQ publishes each step of a job in the queue's event stream. In a queue that one process has for itself
 * nobody listens, and the four events of a job are an eighth of what it costs in Redis.
 */
export type Events = "published" | "suppressed";

/** A script of BullMQ's. */
interface LibraryScript {
  content: string;
}

/**
 * A script of BullMQ's as a Lua function of the keys and arguments of one job. The functions that it brings (each is
 * made of its parameters alone) are made once for all jobs of a call.
 */
function asFunction(name: string, script: LibraryScript, events: Events): string {
  const content =
    events === "published"
      ? script.content
      : script.content.replace(/\brcall\("X(ADD|TRIM)"/g, 'suppressed("X$1"');
  const functions = content.indexOf("\nlocal function ");
  const rest = content.indexOf("\nend\n", content.lastIndexOf("\nlocal function ")) + "\nend\n".length;
  return `
local unpacked = {unpack = function(value) return value end}
local rcall = redis.call
local function suppressed() end
${content.slice(functions, rest)}
local function ${name}(KEYS, ARGV, cmsgpack)
${content.slice(0, functions)}
${content.slice(rest)}
end`;
}

/** Both variants of a script, each made when it is first needed. */
function byEvents(make: (events: Events) => Script): (events: Events) => Script {
  const made: { [Each in Events]?: Script } = {};
  return (events) => {
    made[events] ??= make(events);
    return made[events];
  };
}

/**
 * Adds jobs. One that is there already is left as it is.
 *
 * KEYS: BullMQ's. ARGV: prefix, options (JSON), now (Unix ms); per job (3): id, data (JSON), priority or 0. Returns
 * nothing. The error is for what cannot be: a job is refused for its parent's or its deduplication's sake alone.
 */
function addScript(name: string, script: LibraryScript): (events: Events) => Script {
  return byEvents(
    (events) =>
      new Script(
        name,
        `${asFunction("add", script, events)}
local HEAD_ARGS, JOB_ARGS = 3, 3
local prefix, options, nowMs = ARGV[1], cjson.decode(ARGV[2]), ARGV[3]
for at = HEAD_ARGS + 1, #ARGV, JOB_ARGS do
  local id, data, priority = ARGV[at], ARGV[at + 1], tonumber(ARGV[at + 2])
  options.priority = priority > 0 and priority or nil
  local answer = add(KEYS, {{prefix, id, 'copy', nowMs}, data, options}, unpacked)
  if answer ~= id then return redis.error_reply('ERR job ' .. id .. ' was not added: ' .. tostring(answer)) end
end`,
      ),
  );
}

export const addStandardScript = addScript("add-standard-jobs", addStandardJob);
export const addPrioritizedScript = addScript("add-prioritized-jobs", addPrioritizedJob);

/**
 * Finds jobs that no worker will ever take.
 *
 * KEYS: prioritized, delayed, wait, paused, active; per job (2): job, its lock. ARGV: ids.
 * Returns per job 1 where that is so, else 0. What is left of such a job is removed.
 */
export const findLostJobsScript = new Script(
  "find-lost-jobs",
  `
local HEAD_KEYS, SETS = 5, 2
local listed = {}
for at = SETS + 1, HEAD_KEYS do
  for _, id in ipairs(redis.call('LRANGE', KEYS[at], 0, -1)) do listed[id] = true end
end
local answers = {}
for nth, id in ipairs(ARGV) do
  local job, lock = KEYS[HEAD_KEYS + nth * 2 - 1], KEYS[HEAD_KEYS + nth * 2]
  local isQueued = listed[id] or redis.call('ZSCORE', KEYS[1], id) or redis.call('ZSCORE', KEYS[2], id)
  local isThere = redis.call('EXISTS', job) == 1
  answers[nth] = 0
  if not isThere or (not isQueued and redis.call('EXISTS', lock) == 0) then
    redis.call('DEL', job)
    answers[nth] = 1
  end
end
return answers
`,
);

/** Number of keys of {@link finishJobScript}, and where the job's own key is among them, from 0. */
export const FINISH_KEYS = moveToFinished.keys;
export const FINISH_JOB_KEY = 11;

/**
 * Finishes jobs as completed, and fetches another one for each where that is wanted.
 *
 * KEYS: BullMQ's, with the prefix instead of the job's own. ARGV: prefix, options (packed), now (Unix ms), value that
 *   the jobs return (JSON); per job (3): id, token of its lock, 1 where another job is wanted or 0.
 * Returns one JSON text: per job what BullMQ's script returns, or {error}. Where all jobs go wrong the whole call
 * fails, as it must where Redis takes no writes any more.
 */
export const finishJobScript = byEvents(
  (events) =>
    new Script(
      "finish-jobs",
      `${asFunction("finish", moveToFinished, events)}
local HEAD_ARGS, JOB_ARGS, JOB_KEY = 4, 3, ${FINISH_JOB_KEY + 1}
local prefix, options, nowMs, value = ARGV[1], cmsgpack.unpack(ARGV[2]), ARGV[3], ARGV[4]
local keys = {unpack(KEYS)}
local answers, failed = {}, 0
for at = HEAD_ARGS + 1, #ARGV, JOB_ARGS do
  local id, token, fetchesNext = ARGV[at], ARGV[at + 1], ARGV[at + 2]
  keys[JOB_KEY] = prefix .. id
  options.token = token
  local args = {id, nowMs, 'returnvalue', value, 'completed', fetchesNext, prefix, options}
  local worked, answer = pcall(finish, keys, args, unpacked)
  if not worked then
    answer = {error = type(answer) == 'table' and answer.err or tostring(answer)}
    failed = failed + 1
  end
  answers[#answers + 1] = answer
end
if failed == #answers then return redis.error_reply(answers[1].error) end
return cjson.encode(answers)`,
    ),
);
