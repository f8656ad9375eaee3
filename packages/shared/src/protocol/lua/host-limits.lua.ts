/**
 * Limits of a host for the whole fleet, as functions for the scripts of protocol.lua.ts.
 *
 * Limit, a hash per host (one for the default): c files at once, r requests per second, b bytes per second, as a person
 * set them; x and y, what of c and r is left after the host asked for less; h not before (ms); n when the next request
 * is due, t the last turn that was given for want of a slot, z when it was last halved (all ms); v how long a file
 * takes (ms, moving average). Slots: sorted set of the leases of files that are on their way, by expiry. Turns: sorted
 * set of leases that were told to come back, by when.
 *
 * Additive increase, multiplicative decrease: Chiu and Jain 1989. Requests per second: virtual scheduling (GCRA,
 * ITU-T I.371).
 */
export const LIMITS = `
local LEAST_HALVING_MS, ADAPTED_MS, MOST_ADAPTED, KEPT_TURN_MS, LATE_TURN_MS, MOST_HOLD_MS = 1000, 3600000, 64, 60000, 2000, 60000
-- When a slot will be free is a guess: who is told too late a time leaves it empty, who comes too early asks again.
local MOST_GUESS_MS = 5000
local limits = {}
local function limitOf(default, key)
  if limits[key] == nil then
    local l = redis.call('HMGET', key, 'c', 'r', 'b', 'x', 'y', 'h', 'n', 't', 'v')
    if not limits.default then limits.default = redis.call('HMGET', default, 'c', 'r', 'b') end
    local d = limits.default
    local own = l[1] or l[2] or l[3]
    if own or l[4] or l[5] or l[6] or d[1] or d[2] or d[3] then
      local function pick(i) return tonumber((own and l[i]) or (not own and d[i]) or '0') end
      limits[key] = {key = key, c = pick(1), r = pick(2), b = pick(3), x = tonumber(l[4] or '0'),
        y = tonumber(l[5] or '0'), h = tonumber(l[6] or '0'), n = tonumber(l[7] or '0'), t = tonumber(l[8] or '0'),
        v = tonumber(l[9] or '0')}
    else limits[key] = false end
  end
  return limits[key]
end
-- May one more file go to this host? Returns ms until its turn, which is kept for it, or nil; and the limit, if any.
local function limitAsk(default, key, slots, turns, lease)
  local l = limitOf(default, key)
  if not l then return nil, nil end
  local mine = tonumber(redis.call('ZSCORE', turns, lease) or '0')
  if mine > nowMs + 20 then return mine - nowMs, l end
  local files, rate = math.floor(l.x > 0 and l.x or l.c), l.y > 0 and l.y or l.r
  local turn = math.max(nowMs, l.h)
  if rate > 0 and mine == 0 and l.n > turn then turn = l.n end
  if files > 0 then
    redis.call('ZREMRANGEBYSCORE', slots, '-inf', nowMs)
    local used = redis.call('ZCARD', slots)
    if redis.call('ZSCORE', slots, lease) then used = used - 1 end -- of a worker that died over this very file
    redis.call('ZREMRANGEBYSCORE', turns, '-inf', nowMs - KEPT_TURN_MS)
    -- Those whose turn came before go first; one that does not come is not waited for.
    used = used + redis.call('ZCOUNT', turns, nowMs - LATE_TURN_MS, mine > 0 and '(' .. mine or nowMs)
    if used >= files then
      l.t = math.min(math.max(turn, l.t) + math.max(l.v, 10) / files, math.max(turn, nowMs + MOST_GUESS_MS))
      turn = l.t
      redis.call('HSET', key, 't', l.t)
    end
  end
  if turn > nowMs then
    if rate > 0 and mine == 0 then
      l.n = math.max(turn, l.n) + 1000 / rate
      redis.call('HSET', key, 'n', l.n)
    end
    turn = math.ceil(turn)
    redis.call('ZADD', turns, turn, lease)
    redis.call('PEXPIRE', turns, math.max(turn - nowMs, 0) + KEPT_TURN_MS)
    return turn - nowMs, l
  end
  if rate > 0 and mine == 0 then
    l.n = math.max(nowMs, l.n) + 1000 / rate
    redis.call('HSET', key, 'n', l.n)
  end
  return nil, l
end
-- It goes. Returns bytes per second of the host or 0, and files on their way.
local function limitTake(l, slots, turns, lease, leaseMs)
  redis.call('ZREM', turns, lease)
  redis.call('ZADD', slots, nowMs + leaseMs, lease)
  redis.call('PEXPIRE', slots, leaseMs * 4)
  return l.b, l.b > 0 and redis.call('ZCARD', slots) or 0
end
-- It is over, well ('ok'), badly ('fail') or because the host is asked too much ('slow').
local function limitGive(default, key, slots, lease, fence, verdict, retryAfterMs)
  local l = limitOf(default, key)
  if not l and verdict ~= 'slow' then return end
  l = l or {key = key, c = 0, r = 0, b = 0, x = 0, y = 0, h = 0, n = 0, t = 0, v = 0}
  limits[key] = l
  local used = redis.call('ZCARD', slots)
  redis.call('ZREM', slots, lease)
  if verdict == 'ok' then
    l.v = l.v * 0.8 + math.max(nowMs - tonumber(fence) / 1000, 1) * 0.2
    redis.call('HSET', key, 'v', l.v)
    if l.x > 0 then
      l.x = l.x + 1 / l.x
      if l.x >= (l.c > 0 and l.c or MOST_ADAPTED) then
        l.x = 0
        redis.call('HDEL', key, 'x')
      else redis.call('HSET', key, 'x', l.x) end
    end
    if l.y > 0 then
      l.y = l.y + 1 / l.y
      if l.y >= l.r then
        l.y = 0
        redis.call('HDEL', key, 'y')
      else redis.call('HSET', key, 'y', l.y) end
    end
  elseif verdict == 'slow' then
    if retryAfterMs > 0 then
      l.h = math.max(l.h, nowMs + math.min(retryAfterMs, MOST_HOLD_MS)) -- one file may be told more
      redis.call('HSET', key, 'h', l.h)
    end
    if nowMs - tonumber(redis.call('HGET', key, 'z') or '0') >= LEAST_HALVING_MS then
      l.x = math.max(1, (l.x > 0 and l.x or l.c > 0 and l.c or math.max(used, 8)) / 2)
      redis.call('HSET', key, 'z', nowMs, 'x', l.x)
      if l.r > 0 then
        l.y = math.max(0.1, (l.y > 0 and l.y or l.r) / 2)
        redis.call('HSET', key, 'y', l.y)
      end
    end
  end
  -- What nobody set is forgotten when the host has not complained for an hour.
  if redis.call('HEXISTS', key, 'set') == 0 then redis.call('PEXPIRE', key, ADAPTED_MS) end
end
`;
