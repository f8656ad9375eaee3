import { HOST_LIMIT } from "../../fields.js";

/** Limits are halved once in this time at most, in milliseconds. */
const HALVING_INTERVAL_MS = 1_000;
/** What nobody set is forgotten when the host has not asked for less for this time, in milliseconds. */
const ADAPTED_TTL_MS = 3_600_000;
/** Files at once that the limit of a host grows back to, where nobody set one. */
const MAX_ADAPTED_FILES = 64;
/** Files at once that a host is thought to have had, at least, when the first limit is made by halving them. */
const MIN_FILES_BEFORE = 8;
/** A turn is kept for this time after it came, in milliseconds. */
const KEPT_TURN_MS = 60_000;
/** Whoever does not come within this time after its turn is not waited for, in milliseconds. */
const LATE_TURN_MS = 2_000;
/** Whoever comes before its turn by no more than this is let in, in milliseconds. */
const EARLY_TURN_MS = 20;
/** A host keeps the fleet away for this time at most, in milliseconds. The file that it refused may wait longer. */
const MAX_HOLD_MS = 60_000;
/**
 * A turn for want of a slot is this far ahead at most, in milliseconds. When a slot will be free is a guess: a turn
 * that is too late leaves the slot empty, one that is too early only makes the file ask again.
 */
const MAX_GUESS_MS = 5_000;
/** A file is thought to take this long at least, in milliseconds. */
const MIN_DURATION_MS = 10;

/**
 * Limits of a host for the whole fleet, as functions for scripts. Needs CLOCK. Fields: HOST_LIMIT in fields.ts.
 *
 * limitAdmit(defaultKey, key, slots, turns, lease): may one more file go to this host?
 * takeSlot(limit, slots, turns, lease, leaseMs): it goes.
 * shortenSlots(slots, leaseMs): for one that has to wait.
 * limitReport(defaultKey, report, lease, fence): it is over. A report is a table of limit and slots (keys), verdict
 * ('ok' | 'fail' | 'slow' where the host asks for less | 'none') and retryAfterMs.
 *
 * Additive increase, multiplicative decrease: Chiu and Jain 1989. Requests per second: virtual scheduling (GCRA,
 * ITU-T I.371).
 */
export const HOST_LIMITS = `
-- Limits that this call has read, by key; false for a host that has none.
local limits, defaults = {}, nil

local function readLimit(defaultKey, key)
  local limit = limits[key]
  if limit ~= nil then return limit end
  local files, requestsPerSecond, bytesPerSecond, adaptedFiles, adaptedRate, notBeforeMs, nextRequestMs, lastTurnMs,
    durationMs = unpack(redis.call('HMGET', key, '${HOST_LIMIT.files}', '${HOST_LIMIT.requestsPerSecond}',
      '${HOST_LIMIT.bytesPerSecond}', '${HOST_LIMIT.adaptedFiles}', '${HOST_LIMIT.adaptedRequestsPerSecond}',
      '${HOST_LIMIT.notBeforeMs}', '${HOST_LIMIT.nextRequestMs}', '${HOST_LIMIT.lastTurnMs}',
      '${HOST_LIMIT.durationMs}'))
  if not defaults then
    defaults = redis.call('HMGET', defaultKey, '${HOST_LIMIT.files}', '${HOST_LIMIT.requestsPerSecond}',
      '${HOST_LIMIT.bytesPerSecond}')
  end
  -- A host that has one limit of its own takes none of the defaults.
  if not (files or requestsPerSecond or bytesPerSecond) then
    files, requestsPerSecond, bytesPerSecond = unpack(defaults)
  end
  limit = false
  if files or requestsPerSecond or bytesPerSecond or adaptedFiles or adaptedRate or notBeforeMs then
    limit = {key = key, files = tonumber(files or '0'), requestsPerSecond = tonumber(requestsPerSecond or '0'),
      bytesPerSecond = tonumber(bytesPerSecond or '0'), adaptedFiles = tonumber(adaptedFiles or '0'),
      adaptedRate = tonumber(adaptedRate or '0'), notBeforeMs = tonumber(notBeforeMs or '0'),
      nextRequestMs = tonumber(nextRequestMs or '0'), lastTurnMs = tonumber(lastTurnMs or '0'),
      durationMs = tonumber(durationMs or '0')}
  end
  if limit and limit.notBeforeMs > nowMs + ${MAX_HOLD_MS} then -- the clock was set back
    limit.notBeforeMs = nowMs + ${MAX_HOLD_MS}
    redis.call('HSET', key, '${HOST_LIMIT.notBeforeMs}', limit.notBeforeMs)
  end
  limits[key] = limit
  return limit
end

-- The next request is due one interval after this one.
local function scheduleRequest(limit, requestMs, rate)
  limit.nextRequestMs = math.max(requestMs, limit.nextRequestMs) + 1000 / rate
  redis.call('HSET', limit.key, '${HOST_LIMIT.nextRequestMs}', limit.nextRequestMs)
end

-- Returns ms until its turn, which is kept for it, or nil where it may go now; and the limit of the host, if any.
local function limitAdmit(defaultKey, key, slots, turns, lease)
  local limit = readLimit(defaultKey, key)
  if not limit then return nil, nil end
  local ownTurnMs = tonumber(redis.call('ZSCORE', turns, lease) or '0')
  if ownTurnMs > nowMs + ${EARLY_TURN_MS} then return ownTurnMs - nowMs, limit end
  local hadTurn = ownTurnMs > 0
  local files = math.floor(limit.adaptedFiles > 0 and limit.adaptedFiles or limit.files)
  local rate = limit.adaptedRate > 0 and limit.adaptedRate or limit.requestsPerSecond
  local turnMs = math.max(nowMs, limit.notBeforeMs)
  -- Whoever had a turn was counted among the requests when it was given.
  local isNewRequest = rate > 0 and not hadTurn
  if isNewRequest and limit.nextRequestMs > turnMs then turnMs = limit.nextRequestMs end
  if files > 0 then
    redis.call('ZREMRANGEBYSCORE', slots, '-inf', nowMs)
    local used = redis.call('ZCARD', slots)
    if redis.call('ZSCORE', slots, lease) then used = used - 1 end -- of a worker that died over this very file
    redis.call('ZREMRANGEBYSCORE', turns, '-inf', nowMs - ${KEPT_TURN_MS})
    -- Those whose turn came before go first.
    used = used + redis.call('ZCOUNT', turns, nowMs - ${LATE_TURN_MS}, hadTurn and '(' .. ownTurnMs or nowMs)
    if used >= files then
      limit.lastTurnMs = math.min(
        math.max(turnMs, limit.lastTurnMs) + math.max(limit.durationMs, ${MIN_DURATION_MS}) / files,
        math.max(turnMs, nowMs + ${MAX_GUESS_MS}))
      turnMs = limit.lastTurnMs
      redis.call('HSET', key, '${HOST_LIMIT.lastTurnMs}', limit.lastTurnMs)
    end
  end
  if turnMs > nowMs then
    if isNewRequest then scheduleRequest(limit, turnMs, rate) end
    turnMs = math.ceil(turnMs)
    redis.call('ZADD', turns, turnMs, lease)
    redis.call('PEXPIRE', turns, math.max(turnMs - nowMs, 0) + ${KEPT_TURN_MS})
    return turnMs - nowMs, limit
  end
  if isNewRequest then scheduleRequest(limit, nowMs, rate) end
  return nil, limit
end

-- Returns bytes per second of the host or 0, how many files share them, and how many streams this one may have, or 0. What limits
-- files at once limits connections: each has a slot, and further streams share what is left. Streams are requests, too.
local function takeSlot(limit, slots, turns, lease, leaseMs)
  redis.call('ZREM', turns, lease)
  redis.call('ZADD', slots, nowMs + leaseMs, lease)
  redis.call('PEXPIRE', slots, leaseMs * 4)
  local used = redis.call('ZCARD', slots)
  local files = math.floor(limit.adaptedFiles > 0 and limit.adaptedFiles or limit.files)
  local hasRate = limit.adaptedRate > 0 or limit.requestsPerSecond > 0
  local mostStreams = hasRate and 1 or files > 0 and math.max(1, math.floor(files / used)) or 0
  return limit.bytesPerSecond, limit.bytesPerSecond > 0 and used or 0, mostStreams
end

-- No slot lasts longer than a lease from now on, although the clock was set back.
local function shortenSlots(slots, leaseMs)
  for _, lease in ipairs(redis.call('ZRANGEBYSCORE', slots, '(' .. nowMs + leaseMs, '+inf')) do
    redis.call('ZADD', slots, nowMs + leaseMs, lease)
  end
end

local function limitReport(defaultKey, report, lease, fence)
  local key, slots, verdict = report.limit, report.slots, report.verdict
  local limit = readLimit(defaultKey, key)
  if not limit then
    if verdict ~= 'slow' then return end
    limit = {key = key, files = 0, requestsPerSecond = 0, bytesPerSecond = 0, adaptedFiles = 0, adaptedRate = 0,
      notBeforeMs = 0, nextRequestMs = 0, lastTurnMs = 0, durationMs = 0}
    limits[key] = limit
  end
  local used = redis.call('ZCARD', slots)
  redis.call('ZREM', slots, lease)
  if verdict == 'ok' then
    limit.durationMs = limit.durationMs * 0.8 + math.max(nowMs - tonumber(fence) / 1000, 1) * 0.2
    redis.call('HSET', key, '${HOST_LIMIT.durationMs}', limit.durationMs)
    if limit.adaptedFiles > 0 then
      limit.adaptedFiles = limit.adaptedFiles + 1 / limit.adaptedFiles
      if limit.adaptedFiles >= (limit.files > 0 and limit.files or ${MAX_ADAPTED_FILES}) then
        limit.adaptedFiles = 0
        redis.call('HDEL', key, '${HOST_LIMIT.adaptedFiles}')
      else redis.call('HSET', key, '${HOST_LIMIT.adaptedFiles}', limit.adaptedFiles) end
    end
    if limit.adaptedRate > 0 then
      limit.adaptedRate = limit.adaptedRate + 1 / limit.adaptedRate
      if limit.adaptedRate >= limit.requestsPerSecond then
        limit.adaptedRate = 0
        redis.call('HDEL', key, '${HOST_LIMIT.adaptedRequestsPerSecond}')
      else redis.call('HSET', key, '${HOST_LIMIT.adaptedRequestsPerSecond}', limit.adaptedRate) end
    end
  elseif verdict == 'slow' then
    if report.retryAfterMs > 0 then
      limit.notBeforeMs = math.max(limit.notBeforeMs, nowMs + math.min(report.retryAfterMs, ${MAX_HOLD_MS}))
      redis.call('HSET', key, '${HOST_LIMIT.notBeforeMs}', limit.notBeforeMs)
    end
    if nowMs - tonumber(redis.call('HGET', key, '${HOST_LIMIT.halvedMs}') or '0') >= ${HALVING_INTERVAL_MS} then
      local files = limit.adaptedFiles > 0 and limit.adaptedFiles or limit.files > 0 and limit.files
        or math.max(used, ${MIN_FILES_BEFORE})
      limit.adaptedFiles = math.max(1, files / 2)
      redis.call('HSET', key, '${HOST_LIMIT.halvedMs}', nowMs, '${HOST_LIMIT.adaptedFiles}', limit.adaptedFiles)
      if limit.requestsPerSecond > 0 then
        limit.adaptedRate = math.max(0.1,
          (limit.adaptedRate > 0 and limit.adaptedRate or limit.requestsPerSecond) / 2)
        redis.call('HSET', key, '${HOST_LIMIT.adaptedRequestsPerSecond}', limit.adaptedRate)
      end
    end
  end
  if redis.call('HEXISTS', key, '${HOST_LIMIT.set}') == 0 then redis.call('PEXPIRE', key, ${ADAPTED_TTL_MS}) end
end
`;
