import { Script } from "../../redis/script.js";
import { RUN } from "../fields.js";

/**
 * Records that all files of a run are registered, unless the run is somebody else's by now, or Redis has lost some of
 * its batches: it would end without their files.
 *
 * KEYS: run. ARGV: owner, number of the last batch. Returns 1, 0 where the run is another's, or -1 where the batch, or
 * the run itself, is not there.
 */
export const sealScript = new Script(
  "seal",
  `
local run = KEYS[1]
local process, lastBatch = unpack(ARGV)
local owner, batch = unpack(redis.call('HMGET', run, '${RUN.owner}', '${RUN.batch}'))
if not batch or tonumber(batch) < tonumber(lastBatch) then return -1 end
if (owner or '') ~= '' and owner ~= process then return 0 end
redis.call('HSET', run, '${RUN.sealed}', '1')
return 1
`,
);
