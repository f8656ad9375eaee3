import { Script } from "../../redis/script.js";
import { RUN } from "../fields.js";

/**
 * Ends files of which Redis knows nothing any more but that they have not ended: they are in no chunk, so nobody will
 * carry them. They count as failed. One entry tells of all of them, for their names are lost.
 *
 * KEYS: run, done, is:failed, failed, backlog, in flight, joined. ARGV: most files to end, what is recorded (JSON).
 * Returns how many were ended; 0 as well while a chunk is there.
 */
export const settleLostScript = new Script(
  "settle-lost",
  `
local run, done, failedFiles, failures = unpack(KEYS, 1, 4)
for at = 5, 7 do
  if redis.call('HLEN', KEYS[at]) > 0 then return 0 end
end
local files = tonumber(redis.call('HGET', run, '${RUN.files}') or '0')
if redis.call('BITCOUNT', done) >= files then return 0 end
local ended, index = 0, 0
while ended < tonumber(ARGV[1]) do
  index = redis.call('BITPOS', done, 0, math.floor(index / 8))
  if index < 0 or index >= files then break end
  redis.call('SETBIT', done, index, 1)
  redis.call('SETBIT', failedFiles, index, 1)
  if ended == 0 then redis.call('HSET', failures, string.format('%.0f', index), ARGV[2]) end
  ended = ended + 1
end
return ended
`,
);
