import { Script } from "../../redis/script.js";
import { RUN } from "../fields.js";
import { FAILURES } from "./fragments/failures.lua.js";

/** Numbers of keys and arguments, see below. */
const HEAD_KEYS = 5;
const HEAD_ARGS = 5;
const FILE_ARGS = 2;

/**
 * Puts files back into the backlog as one chunk: what failed, with a new generation (retry), or what a dead process
 * left in its queue (resume). A file that has ended and is not to be cleared stays as it is.
 *
 * KEYS: run, done, failed, its groups, backlog; is:<outcome> for each outcome that is cleared; per file: flight.
 * ARGV: producer (which must own the run), chunk id, number of outcomes, '1' to clear what failed (retry) or '', what
 *   comes before the index in a flight; per file (2): index, [index, job] (JSON).
 * Returns how many were put back, or -1 where the run is somebody else's.
 */
export const requeueScript = new Script(
  "requeue",
  `${FAILURES}
local run, done, failures, groups, backlog = unpack(KEYS, 1, ${HEAD_KEYS})
local producer, chunk, outcomes, clears, waiterPrefix = unpack(ARGV, 1, ${HEAD_ARGS})
outcomes, clears = tonumber(outcomes), clears == '1'
local keysBeforeFiles = ${HEAD_KEYS} + outcomes
if redis.call('HGET', run, '${RUN.owner}') ~= producer then return -1 end
local jobs = {}
for file = 1, #KEYS - keysBeforeFiles do
  local arg, flight = ${HEAD_ARGS} + (file - 1) * ${FILE_ARGS}, KEYS[keysBeforeFiles + file]
  local index, job = ARGV[arg + 1], ARGV[arg + 2]
  local isDone = redis.call('GETBIT', done, index) == 1
  local isCleared = clears and redis.call('HEXISTS', failures, index) == 1
  if isCleared or not isDone then
    -- What a full Redis may refuse comes first: the call is sent again then.
    redis.call('SET', flight, waiterPrefix .. index)
    redis.call('SETBIT', done, index, 0)
    if isCleared then
      for outcome = 1, outcomes do redis.call('SETBIT', KEYS[${HEAD_KEYS} + outcome], index, 0) end
      forgetFailure(failures, groups, index)
    end
    jobs[#jobs + 1] = job
  end
end
if #jobs > 0 then redis.call('HSET', backlog, chunk, '[' .. table.concat(jobs, ',') .. ']') end
return #jobs
`,
);
