import { Script } from "../../redis/script.js";
import { RUN } from "../fields.js";

/**
 * Writes a field of a run, unless it is somebody else's by now: a process that was stopped for long may wake up at
 * any time.
 *
 * KEYS: run. ARGV: owner, field, value. Returns 1, or 0 where nothing was written.
 */
export const noteFieldScript = new Script(
  "note-field",
  `
local run = KEYS[1]
local process, field, value = unpack(ARGV)
local owner = redis.call('HGET', run, '${RUN.owner}') or ''
if owner ~= '' and owner ~= process then return 0 end
redis.call('HSET', run, field, value)
return 1
`,
);
