import { Script } from "../../redis/script.js";
import { RUN } from "../fields.js";
import { RUN_INDEX } from "./fragments/run-index.lua.js";

/** Outcomes of a run that has ended are kept for those who follow it for this time at least, in milliseconds. */
const UNREAD_TTL_MS = 3_600_000;

/**
 * Ends a run, if it is this process's and all its files have ended. One that was cancelled stays cancelled.
 *
 * KEYS: run, done, failed, outcomes, indexes of runs.
 * ARGV: owner ('*' for a fleet's run, which anybody may end while nobody expands it), now (ms), ms for which a fleet's
 *   producer is thought alive, run.
 * Returns 1 when it is done, 0 while files are open or may be added, -1 when it is somebody else's, -2 when there is no
 *   such run.
 */
export const finishRunScript = new Script(
  "finish",
  `
${RUN_INDEX}
local run, done, failures, outcomes, indexes = KEYS[1], KEYS[2], KEYS[3], KEYS[4], {unpack(KEYS, 5)}
local process, endedMs, aliveMs, id = unpack(ARGV)
local owner, ownerUntilMs = unpack(redis.call('HMGET', run, '${RUN.owner}', '${RUN.ownerUntilMs}'))
if redis.call('EXISTS', run) == 0 then return -2 end
if process ~= '*' then
  if owner ~= process then return -1 end
elseif (owner or '') ~= '' then
  local nowMs = tonumber(redis.call('TIME')[1]) * 1000
  local latestMs = nowMs + tonumber(aliveMs)
  if tonumber(ownerUntilMs or '0') > latestMs then -- the clock was set back
    redis.call('HSET', run, '${RUN.ownerUntilMs}', latestMs)
  end
  if tonumber(ownerUntilMs or '0') > nowMs then return 0 end
end
local sealed, files, state = unpack(redis.call('HMGET', run, '${RUN.sealed}', '${RUN.files}', '${RUN.state}'))
if state == 'done' then return 1 end
local isCancelled = state == 'cancelled'
if sealed ~= '1' and not isCancelled then return 0 end
if redis.call('BITCOUNT', done) ~= tonumber(files or '0') then return 0 end
redis.call('HSET', run, '${RUN.owner}', '', '${RUN.endedMs}', endedMs)
if not isCancelled then redis.call('HSET', run, '${RUN.state}', 'done') end
local keepMs = tonumber(redis.call('HGET', run, '${RUN.keepOutcomesMs}') or '0')
redis.call('PEXPIRE', outcomes, math.max(keepMs, ${UNREAD_TTL_MS}))
indexRun(id, run, failures, indexes)
return 1
`,
);
