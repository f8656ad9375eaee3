import { Script } from "../../redis/script.js";
import { RUN } from "../fields.js";
import { RUN_INDEX } from "./fragments/run-index.lua.js";
import { TELL_AGAIN } from "./fragments/tell-again.lua.js";

/**
 * Takes a run for a process, unless another one works on it.
 *
 * KEYS: run, active, failed, outcomes, webhook, where that leads, webhooks, indexes of runs.
 * ARGV: new owner, owner that is known to be dead or '', run where it is a fleet's or '', ms for which a fleet's
 *   producer is thought alive, run, '1' to lift its limits or ''.
 * Returns 'OK', the owner that has it, or 'NONE' (there is no such run).
 */
export const takeScript = new Script(
  "take",
  `
${RUN_INDEX}
${TELL_AGAIN}
local run, active, failures, outcomes, webhook, target, webhooks = unpack(KEYS, 1, 7)
local indexes = {unpack(KEYS, 8)}
local newOwner, deadOwner, fleetRun, aliveMs, id, lifts = unpack(ARGV)
local owner, ownerUntilMs = unpack(redis.call('HMGET', run, '${RUN.owner}', '${RUN.ownerUntilMs}'))
local nowMs = tonumber(redis.call('TIME')[1]) * 1000
if not owner then return 'NONE' end
if owner ~= '' and owner ~= deadOwner and (fleetRun == '' or tonumber(ownerUntilMs or '0') > nowMs) then
  local latestMs = nowMs + tonumber(aliveMs)
  if fleetRun ~= '' and tonumber(ownerUntilMs) > latestMs then -- the clock was set back
    redis.call('HSET', run, '${RUN.ownerUntilMs}', latestMs)
  end
  return owner
end
redis.call('HSET', run, '${RUN.owner}', newOwner, '${RUN.state}', 'running')
if fleetRun ~= '' then
  redis.call('HSET', run, '${RUN.ownerUntilMs}', nowMs + tonumber(aliveMs))
  redis.call('SADD', active, fleetRun)
end
redis.call('HDEL', run, '${RUN.endedMs}', '${RUN.stoppedBecause}')
if lifts == '1' then redis.call('HDEL', run, '${RUN.deadlineMs}', '${RUN.stopAfterFailures}', '${RUN.budgets}') end
redis.call('PERSIST', outcomes)
redis.call('HINCRBY', run, '${RUN.generation}', 1)
indexRun(id, run, failures, indexes)
tellAgain(id, run, webhook, target, webhooks)
return 'OK'
`,
);
