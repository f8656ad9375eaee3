import { Script } from "../../redis/script.js";
import { RUN } from "../fields.js";
import { RUN_INDEX } from "./fragments/run-index.lua.js";

/**
 * Cancels a run. Whoever works on it ends it.
 *
 * KEYS: run, failed, indexes of runs. ARGV: run, now (ms). Returns nothing.
 */
export const cancelScript = new Script(
  "cancel",
  `
${RUN_INDEX}
local run, failures, indexes = KEYS[1], KEYS[2], {unpack(KEYS, 3)}
local id, nowMs = unpack(ARGV)
redis.call('HSET', run, '${RUN.state}', 'cancelled', '${RUN.endedMs}', nowMs)
indexRun(id, run, failures, indexes)
`,
);
