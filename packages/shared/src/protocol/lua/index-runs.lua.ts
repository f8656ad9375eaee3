import { Script } from "../../redis/script.js";
import { RUN } from "../fields.js";
import { RUN_INDEX } from "./fragments/run-index.lua.js";

/**
 * Files runs anew by whether they have ended. Those of which Redis knows nothing else are forgotten.
 *
 * KEYS: runs, the indexes of runs (5), per run (2): run, failed. ARGV: the runs. Returns nothing.
 */
export const indexRunsScript = new Script(
  "index-runs",
  `
${RUN_INDEX}
local runs, indexes = KEYS[1], {unpack(KEYS, 2, 6)}
for at, id in ipairs(ARGV) do
  local run, failures = unpack(KEYS, 5 + at * 2, 6 + at * 2)
  indexRun(id, run, failures, indexes)
  local startedMs = redis.call('HGET', run, '${RUN.startedMs}')
  if startedMs then redis.call('ZADD', runs, 'NX', startedMs, id) else redis.call('ZREM', runs, id) end
end
`,
);
