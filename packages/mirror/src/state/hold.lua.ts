import { Script } from "@drover/shared/redis/script";

/**
 * Makes a process the one that syncs a mirror for a term, unless another one does.
 *
 * KEYS: holder, state. ARGV: process, ms of a term. Returns the fence of its sync, or the name of who has the mirror.
 */
export const holdMirrorScript = new Script(
  "mirror-hold",
  `
local holder, state = KEYS[1], KEYS[2]
local process, termMs = ARGV[1], tonumber(ARGV[2])
local now = redis.call('GET', holder)
if now and now ~= process then
  if redis.call('PTTL', holder) > termMs then redis.call('PEXPIRE', holder, termMs) end
  return now
end
redis.call('SET', holder, process, 'PX', termMs)
return redis.call('HINCRBY', state, 'fence', 1)
`,
);

/**
 * Prolongs the term of the process that syncs a mirror.
 *
 * KEYS: holder, state. ARGV: process, ms of a term, fence. Returns 1, or 0 where it has lost the mirror to another sync.
 */
export const renewMirrorScript = new Script(
  "mirror-renew",
  `
local holder, state = KEYS[1], KEYS[2]
if redis.call('HGET', state, 'fence') ~= ARGV[3] then return 0 end
redis.call('SET', holder, ARGV[1], 'PX', ARGV[2])
return 1
`,
);
