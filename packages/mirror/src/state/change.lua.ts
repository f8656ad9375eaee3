import { Script } from "@drover/shared/redis/script";

/**
 * Changes the state of a mirror in one step: entries, what is pending, acknowledged ids of events, the events themselves.
 *
 * KEYS: state, pending, touched, events, then per id its set, then per entry its hash.
 * ARGV: fence of the sync, numbers of ids, entries, paths that become pending, paths that are pending no more, paths that
 *   changed, events, and fields of the state; the generation up to which paths are pending no more; seconds that sets of ids live;
 *   then the ids; path and bytes of each entry ("" removes it); the paths; ids in the stream; names and values of the fields.
 * Returns -1 where another sync has the mirror, else the new generation of the state. Sent twice, the state is the same,
 *   but its generation.
 */
export const changeScript = new Script(
  "mirror-change",
  `
local state, pending, touched, events = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
if redis.call('HGET', state, 'fence') ~= ARGV[1] then return -1 end
local ids, entries, begun, ended = tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4]), tonumber(ARGV[5])
local changed, taken, fields = tonumber(ARGV[6]), tonumber(ARGV[7]), tonumber(ARGV[8])
local upTo, ttl = tonumber(ARGV[9]), ARGV[10]
local at = 10
local generation = redis.call('HINCRBY', state, 'generation', 1)
local counted = 0
for each = 1, ids do
  local key = KEYS[4 + each]
  counted = counted + redis.call('SADD', key, ARGV[at + each])
  redis.call('EXPIRE', key, ttl)
end
if counted > 0 then redis.call('HINCRBY', state, 'ids', counted) end
at = at + ids
local records = 0
local function live(value) return value and value ~= '' and string.byte(value, 2) % 2 == 0 end
for each = 1, entries do
  local key, path, value = KEYS[4 + ids + each], ARGV[at + 2 * each - 1], ARGV[at + 2 * each]
  if live(redis.call('HGET', key, path)) then records = records - 1 end
  if live(value) then records = records + 1 end
  if value == '' then redis.call('HDEL', key, path) else redis.call('HSET', key, path, value) end
end
if records ~= 0 then redis.call('HINCRBY', state, 'records', records) end
at = at + 2 * entries
for each = 1, begun do redis.call('HSET', pending, ARGV[at + each], generation) end
at = at + begun
for each = 1, ended do
  local since = redis.call('HGET', pending, ARGV[at + each])
  if since and tonumber(since) <= upTo then redis.call('HDEL', pending, ARGV[at + each]) end
end
at = at + ended
for each = 1, changed do redis.call('SADD', touched, ARGV[at + each]) end
at = at + changed
for each = 1, taken do
  redis.call('XACK', events, 'mirror', ARGV[at + each])
  redis.call('XDEL', events, ARGV[at + each])
end
at = at + taken
for each = 1, fields do redis.call('HSET', state, ARGV[at + 2 * each - 1], ARGV[at + 2 * each]) end
return generation
`,
);
