import { Script } from "../../redis/script.js";

/**
 * Makes a worker the leader of its fleet for a term, or for one more, unless another one leads. A term that has
 * longer to go than a whole one was given before the clock of Redis was set back: it is shortened to that.
 *
 * KEYS: leader. ARGV: worker, ms of a term. Returns 1 where the worker leads now, else 0.
 */
export const leadScript = new Script(
  "lead",
  `
local key, worker, termMs = KEYS[1], ARGV[1], tonumber(ARGV[2])
local leader = redis.call('GET', key)
if leader and leader ~= worker then
  if redis.call('PTTL', key) > termMs then redis.call('PEXPIRE', key, termMs) end
  return 0
end
redis.call('SET', key, worker, 'PX', termMs)
return 1
`,
);
