import { Script } from "../../redis/script.js";
import { RUN } from "../fields.js";

/**
 * Reads on in the outcomes of a run for one of those who follow it. What all of them have read is trimmed, but for the
 * newest that the run keeps in any case. Those who have not asked for long are forgotten.
 *
 * KEYS: run, outcomes, followers.
 * ARGV: follower, id of the last outcome that it has, ms for which it is thought alive, most outcomes.
 * Returns entries of the stream.
 */
export const readOutcomesScript = new Script(
  "read-outcomes",
  `
local run, outcomes, followers = unpack(KEYS)
local follower, lastId, aliveMs, most = unpack(ARGV)
aliveMs = tonumber(aliveMs)
if redis.call('EXISTS', run) == 0 then return {} end
local nowMs = tonumber(redis.call('TIME')[1]) * 1000
local aliveUntilMs, knownLastId = (redis.call('HGET', followers, follower) or '0 '):match('(%d+) (.*)')
-- Written only when something is new: it has read on, or a tenth of its time is over.
-- Or the clock was set back.
aliveUntilMs = tonumber(aliveUntilMs)
if knownLastId ~= lastId or aliveUntilMs < nowMs + aliveMs * 0.9 or aliveUntilMs > nowMs + aliveMs then
  local untilMs = string.format('%.0f', nowMs + aliveMs)
  redis.call('HSET', run, '${RUN.followedUntilMs}', untilMs)
  redis.call('HSET', followers, follower, untilMs .. ' ' .. lastId)
  local leastMs, leastSequence
  local all = redis.call('HGETALL', followers)
  for at = 1, #all, 2 do
    local otherUntilMs, ms, sequence = all[at + 1]:match('(%d+) (%d+)-(%d+)')
    ms, sequence = tonumber(ms), tonumber(sequence)
    if tonumber(otherUntilMs) > nowMs + aliveMs then
      redis.call('HSET', followers, all[at], untilMs .. all[at + 1]:match(' .*'))
    end
    if tonumber(otherUntilMs) < nowMs then redis.call('HDEL', followers, all[at])
    elseif not leastMs or ms < leastMs or (ms == leastMs and sequence < leastSequence) then
      leastMs, leastSequence = ms, sequence
    end
  end
  local surplus = redis.call('XLEN', outcomes) - tonumber(redis.call('HGET', run, '${RUN.keepOutcomes}') or '0')
  if surplus > 0 then
    local least = string.format('%.0f-%.0f', leastMs, leastSequence)
    local trimmed = redis.call('XRANGE', outcomes, '-', least, 'COUNT', math.min(surplus, most))
    if #trimmed > 0 then
      local ms, sequence = trimmed[#trimmed][1]:match('(%d+)-(%d+)')
      redis.call('XTRIM', outcomes, 'MINID', string.format('%.0f-%.0f', tonumber(ms), tonumber(sequence) + 1))
    end
  end
end
return redis.call('XRANGE', outcomes, '(' .. lastId, '+', 'COUNT', most)
`,
);
