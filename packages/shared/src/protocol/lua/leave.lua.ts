import { Script } from "../../redis/script.js";
import { RUN } from "../fields.js";

/**
 * Gives a run back, where it is still this process's.
 *
 * KEYS: run. ARGV: owner. Returns nothing.
 */
export const leaveScript = new Script(
  "leave",
  `
local run, owner = KEYS[1], ARGV[1]
if redis.call('HGET', run, '${RUN.owner}') == owner then redis.call('HSET', run, '${RUN.owner}', '') end
`,
);
