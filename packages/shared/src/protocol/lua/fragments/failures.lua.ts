/**
 * Keeps what did not succeed in a run, and how many files that is by class of the error and host, for scripts:
 * `noteFailure(failures, groups, index, failure)`, and `forgetFailure(failures, groups, index)`, which returns whether there
 * was one. A failure without a host, which an earlier version recorded, is not counted.
 */
export const FAILURES = `
local function countFailure(groups, failure, by)
  -- It is not decoded where it holds half a character: the counts are then found to lack one.
  local isRead, failed = pcall(cjson.decode, failure)
  if not isRead or not failed.host then return end
  local group = failed.error.class .. ' ' .. failed.host
  if redis.call('HINCRBY', groups, group, by) <= 0 then redis.call('HDEL', groups, group) end
end

local function forgetFailure(failures, groups, index)
  local failure = redis.call('HGET', failures, index)
  if not failure then return false end
  redis.call('HDEL', failures, index)
  countFailure(groups, failure, -1)
  return true
end

local function noteFailure(failures, groups, index, failure)
  forgetFailure(failures, groups, index)
  redis.call('HSET', failures, index, failure)
  countFailure(groups, failure, 1)
end
`;
