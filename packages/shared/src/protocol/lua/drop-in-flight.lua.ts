import { Script } from "../../redis/script.js";

/**
 * Forgets a chunk in flight if all its files have ended: whoever thinks so may know less than Redis, which may have
 * lost the last second or a key.
 *
 * KEYS: in flight, done. ARGV: chunk id. Returns nothing.
 */
export const dropInFlightScript = new Script(
  "drop-in-flight",
  `
local inFlight, done = KEYS[1], KEYS[2]
local files = redis.call('HGET', inFlight, ARGV[1])
if not files then return end
for _, file in ipairs(cjson.decode(files)) do
  if redis.call('GETBIT', done, file[1]) == 0 then return end
end
redis.call('HDEL', inFlight, ARGV[1])
`,
);
