import { Script } from "../../redis/script.js";

/**
 * Makes a list as long as it should be; its first element is a number of files. Elements are pushed a thousand at a time,
 * since `unpack` has a limit.
 *
 * KEYS: list. ARGV: its length, files. Returns nothing.
 */
export const tellScalingScript = new Script(
  "tell-scaling",
  `
local key, wanted, files = KEYS[1], tonumber(ARGV[1]), ARGV[2]
if wanted == 0 then return redis.call('DEL', key) end
local length = redis.call('LLEN', key)
if length > wanted then redis.call('LTRIM', key, 0, wanted - 1) end
while length < wanted do
  local more = {}
  for at = 1, math.min(wanted - length, 1000) do more[at] = '' end
  length = redis.call('RPUSH', key, unpack(more))
end
redis.call('LSET', key, 0, files)
`,
);
