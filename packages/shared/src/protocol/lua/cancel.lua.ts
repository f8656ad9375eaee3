import { Script } from "../../redis/script.js";
import { RUN } from "../fields.js";
import { RUN_INDEX } from "./fragments/run-index.lua.js";

/**
 * Cancels a run. Whoever works on it ends it.
 *
 * KEYS: run, failed, indexes of runs. ARGV: run, now (ms), why it stops by itself or ''. Returns 1, or 0 where one that
 *   was to stop by itself does not go on.
 */
export const cancelScript = new Script(
  "cancel",
  `
${RUN_INDEX}
local run, failures, indexes = KEYS[1], KEYS[2], {unpack(KEYS, 3)}
local id, nowMs, why = unpack(ARGV)
if why ~= '' then
  if redis.call('HGET', run, '${RUN.state}') ~= 'running' then return 0 end
  redis.call('HSET', run, '${RUN.stoppedBecause}', why)
end
redis.call('HSET', run, '${RUN.state}', 'cancelled', '${RUN.endedMs}', nowMs)
indexRun(id, run, failures, indexes)
return 1
`,
);
