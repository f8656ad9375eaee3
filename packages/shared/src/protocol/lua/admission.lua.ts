/**
 * The scripts behind protocol.ts. Each takes a list of files and handles them one after the other, so that files
 * which are asked for in the same moment share one call; what they have in common is in it once. Times come from Redis alone; numbers above 1e14 are
 * formatted by hand because Lua's own conversion keeps 14 digits.
 */

import { LIMITS } from "./host-limits.lua.js";

const CLOCK = `
local clock = redis.call('TIME')
local nowMs = tonumber(clock[1]) * 1000 + math.floor(tonumber(clock[2]) / 1000)
local nowUs = tonumber(clock[1]) * 1000000 + tonumber(clock[2])
`;

/**
 * Circuit breaker, a hash per host: st (o open, h half-open, absent closed), until (ms), ep (epoch), n (failures in
 * a row), opens, p1..p3 (expiry of each probe that is out, ms).
 */
const BREAKER = `
local PROBES = {'p1', 'p2', 'p3'}
-- May a file go to this host? Returns nil and the epoch (and 'closed': all may), or the time (ms) to ask again.
local function breakerAsk(key, probeMs)
  local b = redis.call('HMGET', key, 'st', 'until', 'ep', 'p1', 'p2', 'p3')
  local epoch = b[3] or '0'
  if not b[1] then return nil, epoch, 'closed' end
  if b[1] == 'o' then
    local wait = tonumber(b[2])
    if wait > nowMs then return wait end
    epoch = tostring(tonumber(epoch) + 1)
    redis.call('HSET', key, 'st', 'h', 'ep', epoch, 'p1', nowMs + probeMs)
    redis.call('HDEL', key, 'p2', 'p3')
    return nil, epoch
  end
  local first
  for i, name in ipairs(PROBES) do
    local expiry = tonumber(b[3 + i] or '0')
    if expiry <= nowMs then
      redis.call('HSET', key, name, nowMs + probeMs)
      return nil, epoch
    end
    if not first or expiry < first then first = expiry end
  end
  return math.min(first, nowMs + 1000)
end
-- What came of it. An epoch that is over changes nothing. Returns the time (ms) until which the host is now blocked.
-- 'slow' is a failure that says that the host is asked too much.
local function breakerTell(key, epoch, verdict, threshold, ttlMs, retryAfterMs, force)
  local b = redis.call('HMGET', key, 'st', 'ep', 'n', 'p1', 'p2', 'p3')
  if (b[2] or '0') ~= epoch then return 0 end
  if verdict == 'none' then
    -- A probe that learnt nothing makes room for another one. All probes are alike: any place will do.
    if b[1] == 'h' then
      for i, name in ipairs(PROBES) do
        if b[3 + i] then
          redis.call('HDEL', key, name)
          break
        end
      end
    end
    return 0
  end
  if verdict == 'ok' then
    if b[1] or b[3] then
      redis.call('HSET', key, 'ep', tonumber(epoch) + (b[1] and 1 or 0))
      redis.call('HDEL', key, 'st', 'until', 'n', 'p1', 'p2', 'p3')
    end
    return 0
  end
  local failures = tonumber(b[3] or '0') + 1
  if b[1] ~= 'h' and failures < threshold and not force then
    redis.call('HSET', key, 'n', failures)
    redis.call('PEXPIRE', key, math.max(ttlMs, 3600000))
    return 0
  end
  local untilMs = nowMs + math.max(ttlMs, retryAfterMs)
  redis.call('HSET', key, 'st', 'o', 'until', untilMs, 'ep', tonumber(epoch) + 1)
  redis.call('HDEL', key, 'n', 'p1', 'p2', 'p3')
  redis.call('HINCRBY', key, 'opens', 1)
  redis.call('PEXPIRE', key, untilMs - nowMs + 86400000)
  return untilMs
end
`;

/**
 * Admit: takes the lease on the destination with its fence, and asks the breaker.
 *
 * Lease, a hash per destination: d (delivery), e (expiry, ms), f (fence), o (owner process), s (source), p (fences of
 * predecessors whose staging may still be there, comma-separated), m (what is known of the staged part), r (1 when
 * it was given back in order), c (how many of its holders died).
 *
 * KEYS: default limit; per place (a run and a host): run, breaker, limit, slots, turns (see limits.lua.ts); per file:
 *   flight, lease, catalog.
 * ARGV: lease ms, probe ms, owner, number of places; per place its host or ''; per file: number of its place, delivery,
 *   source, fence of an owner known dead or '', field in the catalog.
 * Returns per file {'DONE'} | {'CANCELLED'} | {'BUSY', owner, source, fence, ms left} | {'BLOCKED', ms} |
 *   {'WAIT', ms until its turn} | {'OK', fence, epoch, catalog entry or '', how, predecessors, staged part or '', files that wait for it (the
 *   flight's value), holders that died, bytes per second for its host or 0, files on their way from it}.
 */
export const ADMIT = `${CLOCK}${BREAKER}${LIMITS}
local answers, states, closed, places = {}, {}, {}, tonumber(ARGV[4])
for file = 1, (#KEYS - 1 - places * 5) / 3 do
  local k, a = 1 + places * 5 + (file - 1) * 3, 4 + places + (file - 1) * 5
  local place, delivery, source, dead, field = tonumber(ARGV[a+1]), ARGV[a+2], ARGV[a+3], ARGV[a+4], ARGV[a+5]
  local p, host = 1 + (place - 1) * 5, ARGV[4 + place]
  local run, breaker, limitKey, slots, turns = KEYS[p+1], KEYS[p+2], KEYS[p+3], KEYS[p+4], KEYS[p+5]
  local flight, lease, catalog = KEYS[k+1], KEYS[k+2], KEYS[k+3]
  local answer
  if not states[run] then states[run] = redis.call('HGET', run, 'state') or '' end
  local waiting = redis.call('GET', flight)
  if not waiting then
    answer = {'DONE'}
  elseif states[run] == 'cancelled' and not string.find(waiting, ',', 1, true) then
    answer = {'CANCELLED'} -- where other runs wait for the file too, it is carried for them
  else
    local l = redis.call('HMGET', lease, 'd', 'e', 'f', 'o', 's', 'p', 'm', 'r', 'c')
    local how = 'new'
    if l[1] then
      if l[8] then how = 'released'
      elseif l[1] == delivery then how = 'same'
      elseif l[3] == dead then how = 'dead'
      elseif tonumber(l[2]) <= nowMs then how = 'expired'
      else answer = {'BUSY', l[4], l[5], l[3], tonumber(l[2]) - nowMs} end
    end
    if not answer then
      local wait, epoch, limit = nil, '0', nil
      if host ~= '' and how ~= 'same' then
        local turn
        turn, limit = limitAsk(KEYS[1], limitKey, slots, turns, lease)
        if turn then answer = {'WAIT', turn} end
      end
      if answer then wait = nil
      elseif closed[host] then epoch = closed[host]
      elseif host ~= '' and how ~= 'same' then
        local is
        wait, epoch, is = breakerAsk(breaker, tonumber(ARGV[2]))
        if is == 'closed' then closed[host] = epoch end
      end
      if wait then
        answer = {'BLOCKED', wait - nowMs}
      elseif not answer then
        local bytesPerSecond, others = 0, 0
        if limit then bytesPerSecond, others = limitTake(limit, slots, turns, lease, tonumber(ARGV[1])) end
        if host ~= '' and how == 'same' then epoch = redis.call('HGET', breaker, 'ep') or '0' end
        local fence, before = l[3], l[6] or ''
        if how ~= 'same' then
          local next = nowUs + file - 1 -- another one for each file of a call: names of what they stage hang on it
          if l[3] and tonumber(l[3]) >= next then next = tonumber(l[3]) + 1 end
          if l[3] then before = before == '' and l[3] or before .. ',' .. l[3] end
          fence = string.format('%.0f', next)
          redis.call('HSET', lease, 'd', delivery, 'e', nowMs + tonumber(ARGV[1]), 'f', fence,
            'o', ARGV[3], 's', source)
          if l[3] then
            redis.call('HSET', lease, 'p', before)
            redis.call('HDEL', lease, 'r')
          end
          if how == 'dead' or how == 'expired' then l[9] = redis.call('HINCRBY', lease, 'c', 1) end
          redis.call('PEXPIRE', lease, 86400000)
        end
        answer = {'OK', fence, epoch, redis.call('HGET', catalog, field) or '', how, before, l[7] or '',
          waiting, tonumber(l[9] or '0'), bytesPerSecond, others}
      end
    end
  end
  answers[file] = answer
end
return answers
`;

/**
 * Settle: the end of a file. Without its flight it ends nothing twice; without its lease it ends nothing at all.
 *
 * Every file of any run that waits for the flight ends with it. Their keys must be declared, so the caller says whom it
 * knows of: where there are others the answer names them, and nothing is done.
 *
 * KEYS: default limit; per news (what a breaker is told): breaker, limit, slots; per end (a run and an outcome): run, done,
 *   is:<outcome>, failed, outcomes, secrets; per file: flight, lease, catalog.
 * ARGV: number of news, number of ends; per news: verdict (ok | slow | fail | none, '' where there is no host), epoch,
 *   threshold, breaker ms, Retry-After ms, force ('1' opens the breaker at once); per end its outcome; per file (12):
 *   number of its news, number of its end, fence or '' (ends without a lease), bytes, what failed (JSON) or '', field in
 *   the catalog, catalog entry, '' (stays as it is) or '-' (is dropped), keep ('1' keeps the lease's record, because what
 *   its predecessors staged could not be removed), who waits (the flight's value), the outcome for who follows the run
 *   (JSON) or '', a secret that is not needed any more or '', number of files that wait; then per waiting file the number
 *   of its end, and its index.
 * Returns per file {'OK' | 'ALREADY' | 'STALE', host blocked until (ms) or 0} or {'WAITING', the flight's value}.
 */
export const SETTLE = `${CLOCK}${BREAKER}${LIMITS}
local allNews, allEnds = tonumber(ARGV[1]), tonumber(ARGV[2])
local endKeys = 1 + allNews * 3
local answers, well, bytes, follows, file = {}, {}, {}, {}, 0
local k, a = endKeys + allEnds * 6, 2 + allNews * 6 + allEnds
while k < #KEYS do
  file = file + 1
  local flight, lease, catalog = KEYS[k+1], KEYS[k+2], KEYS[k+3]
  local news, ending, fence, count = tonumber(ARGV[a+1]), tonumber(ARGV[a+2]), ARGV[a+3], tonumber(ARGV[a+12])
  local outcome, entry = ARGV[2 + allNews * 6 + ending], ARGV[a+7]
  local waiting = redis.call('GET', flight)
  if not waiting then
    answers[file] = {'ALREADY', 0}
  elseif waiting ~= ARGV[a+9] then
    answers[file] = {'WAITING', waiting}
  elseif fence ~= '' and redis.call('HGET', lease, 'f') ~= fence then
    answers[file] = {'STALE', 0}
  else
    local blocked = 0
    local n, v = 1 + (news - 1) * 3, 2 + (news - 1) * 6
    local breaker, verdict, epoch, retryAfterMs = KEYS[n+1], ARGV[v+1], ARGV[v+2], tonumber(ARGV[v+5])
    if verdict ~= '' and (verdict ~= 'none' or fence ~= '') and not (verdict == 'ok' and well[breaker] == epoch) then
      blocked = breakerTell(breaker, epoch, verdict, tonumber(ARGV[v+3]), tonumber(ARGV[v+4]), retryAfterMs,
        ARGV[v+6] == '1')
      well[breaker] = verdict == 'ok' and epoch -- good news of one epoch is told once
    end
    if fence ~= '' and verdict ~= '' then
      limitGive(KEYS[1], KEYS[n+2], KEYS[n+3], lease, fence, verdict, retryAfterMs)
    end
    if entry == '-' then redis.call('HDEL', catalog, ARGV[a+6])
    elseif entry ~= '' then redis.call('HSET', catalog, ARGV[a+6], entry) end
    for waiter = 1, count do
      local w = endKeys + (tonumber(ARGV[a+11+waiter*2]) - 1) * 6
      local run, index = KEYS[w+1], ARGV[a+12+waiter*2]
      redis.call('SETBIT', KEYS[w+2], index, 1)
      if outcome ~= 'copied' then redis.call('SETBIT', KEYS[w+3], index, 1) end
      if ARGV[a+5] ~= '' then redis.call('HSET', KEYS[w+4], index, ARGV[a+5]) end
      bytes[run] = (bytes[run] or 0) + tonumber(ARGV[a+4])
      if ARGV[a+10] ~= '' then
        if follows[run] == nil then follows[run] = tonumber(redis.call('HGET', run, 'follow') or '0') > nowMs end
        if follows[run] then redis.call('XADD', KEYS[w+5], '*', 'i', index, 'o', ARGV[a+10]) end
      end
    end
    if ARGV[a+11] ~= '' then redis.call('HDEL', KEYS[endKeys + ending * 6], ARGV[a+11]) end
    if fence == '' then redis.call('DEL', flight)
    elseif ARGV[a+8] == '1' then
      redis.call('DEL', flight)
      redis.call('HSET', lease, 'r', '1')
    else redis.call('DEL', flight, lease) end
    answers[file] = {'OK', blocked}
  end
  k, a = k + 3, a + 12 + count * 2
end
for run, sum in pairs(bytes) do
  if sum > 0 then redis.call('HINCRBY', run, 'bytes', string.format('%.0f', sum)) end
end
return answers
`;

/**
 * Release: a try is over and the file is not. The lease goes back in order, with what is known of the staged part.
 *
 * KEYS: lease, breaker, default limit, limit, slots. ARGV: fence, staged part (JSON) or '', verdict, epoch, threshold, breaker ms, Retry-After ms,
 *   fenced off ('1': nothing of its predecessors is left).
 * Returns {'OK' | 'STALE', host blocked until (ms) or 0}.
 */
export const RELEASE = `${CLOCK}${BREAKER}${LIMITS}
if redis.call('HGET', KEYS[1], 'f') ~= ARGV[1] then return {'STALE', 0} end
local blocked = 0
if ARGV[3] ~= '' then
  limitGive(KEYS[3], KEYS[4], KEYS[5], KEYS[1], ARGV[1], ARGV[3], tonumber(ARGV[7]))
  blocked = breakerTell(KEYS[2], ARGV[4], ARGV[3], tonumber(ARGV[5]), tonumber(ARGV[6]), tonumber(ARGV[7]), false)
end
redis.call('HSET', KEYS[1], 'r', '1', 'm', ARGV[2])
if ARGV[8] == '1' then redis.call('HSET', KEYS[1], 'p', '') end
return {'OK', blocked}
`;

/**
 * Renew all leases of a process and, for the larger files, note what is staged.
 *
 * KEYS: per lease: lease, slots of its host. ARGV: lease ms; per lease: fence, staged part (JSON) or '' (unchanged).
 * Returns per lease 1 (ours, extended) or 0 (lost).
 */
export const RENEW = `${CLOCK}
local answers = {}
for i = 1, #KEYS / 2 do
  local lease = KEYS[i*2-1]
  if redis.call('HGET', lease, 'f') == ARGV[i*2] then
    redis.call('ZADD', KEYS[i*2], 'XX', nowMs + tonumber(ARGV[1]), lease)
    redis.call('HSET', lease, 'e', nowMs + tonumber(ARGV[1]))
    if ARGV[i*2+1] ~= '' then redis.call('HSET', lease, 'm', ARGV[i*2+1], 'p', '') end
    redis.call('PEXPIRE', lease, 86400000)
    answers[i] = 1
  else
    answers[i] = 0
  end
end
return answers
`;
