/** What {@link Ledger} has Redis do, each all or nothing. */

/**
 * Takes a run for a process.
 * KEYS: run, active. ARGV: new owner, owner that is known dead or '', run where it is a fleet's or '', ms until which
 *   a fleet's producer is thought alive.
 * Returns 'OK' or the owner that has it.
 */
export const TAKE = `
local r = redis.call('HMGET', KEYS[1], 'owner', 'ownerUntil')
local owner, nowMs = r[1], tonumber(redis.call('TIME')[1]) * 1000
if not owner then return 'NONE' end
if owner ~= '' and owner ~= ARGV[2] and (ARGV[3] == '' or tonumber(r[2] or '0') > nowMs) then return owner end
redis.call('HSET', KEYS[1], 'owner', ARGV[1], 'state', 'running')
if ARGV[3] ~= '' then
  redis.call('HSET', KEYS[1], 'ownerUntil', nowMs + tonumber(ARGV[4]))
  redis.call('SADD', KEYS[2], ARGV[3])
end
redis.call('HDEL', KEYS[1], 'ended')
redis.call('HINCRBY', KEYS[1], 'generation', 1)
return 'OK'
`;

/** KEYS: run. ARGV: owner, ms. Tells that the producer lives; answers 0 when the run is another's. */
export const HOLD = `
local owner = redis.call('HGET', KEYS[1], 'owner')
if not owner then return 1 end -- forgotten: its producer makes it anew
if owner ~= ARGV[1] then return 0 end
redis.call('HSET', KEYS[1], 'ownerUntil', tonumber(redis.call('TIME')[1]) * 1000 + tonumber(ARGV[2]))
return 1
`;

/** KEYS: run. ARGV: owner. */
export const LEAVE = `
if redis.call('HGET', KEYS[1], 'owner') == ARGV[1] then redis.call('HSET', KEYS[1], 'owner', '') end
`;

/**
 * Ends a run, if this process still has it and nothing is open. One that was cancelled stays cancelled.
 * KEYS: run, done. ARGV: owner ('*' for a fleet's, which anybody may end while nobody expands it), ms. Returns 1 when it is done, 0 when files are open, -1 when somebody else has it.
 */
export const FINISH = `
local o = redis.call('HMGET', KEYS[1], 'owner', 'ownerUntil')
if ARGV[1] ~= '*' then
  if o[1] ~= ARGV[1] then return -1 end
elseif (o[1] or '') ~= '' and tonumber(o[2] or '0') > tonumber(redis.call('TIME')[1]) * 1000 then
  return 0 -- somebody is adding to it, or about to
end
local r = redis.call('HMGET', KEYS[1], 'sealed', 'files', 'state')
if r[3] == 'done' then return 1 end
local cancelled = r[3] == 'cancelled'
if r[1] ~= '1' and not cancelled then return 0 end
if redis.call('BITCOUNT', KEYS[2]) ~= tonumber(r[2] or '0') then return 0 end
redis.call('HSET', KEYS[1], 'owner', '', 'ended', ARGV[2])
if not cancelled then redis.call('HSET', KEYS[1], 'state', 'done') end
return 1
`;

/**
 * Writes a field of a run, unless it is somebody else's by now: who was stopped for long may wake up at any time.
 * KEYS: run. ARGV: owner, field, value. Returns 0 where nothing was written.
 */
export const NOTE = `
local owner = redis.call('HGET', KEYS[1], 'owner') or ''
if owner ~= '' and owner ~= ARGV[1] then return 0 end
redis.call('HSET', KEYS[1], ARGV[2], ARGV[3])
return 1
`;
