import { Script } from "../../redis/script.js";
import { RUN } from "../fields.js";

/**
 * Records that the producer of a fleet's run lives, and that the run is one that the fleet works on.
 *
 * KEYS: run, active. ARGV: owner, ms for which it is thought alive from now on, run.
 * Returns 1, or 0 where the run is another's. A run that Redis has forgotten counts as its own: its producer makes it
 *   anew.
 */
export const holdScript = new Script(
  "hold",
  `
local run, active = KEYS[1], KEYS[2]
local producer, aliveMs, id = ARGV[1], tonumber(ARGV[2]), ARGV[3]
local owner = redis.call('HGET', run, '${RUN.owner}')
if not owner then return 1 end
if owner ~= producer then return 0 end
redis.call('HSET', run, '${RUN.ownerUntilMs}', tonumber(redis.call('TIME')[1]) * 1000 + aliveMs)
redis.call('SADD', active, id)
return 1
`,
);
