import { Script } from "../../redis/script.js";

/**
 * Makes a list of empty elements as long as it should be. They are pushed a thousand at a time, since `unpack` has a limit.
 *
 * KEYS: list. ARGV: its length. Returns nothing.
 */
export const tellScalingScript = new Script(
  "tellScaling",
  `
local key, wanted = KEYS[1], tonumber(ARGV[1])
local length = redis.call('LLEN', key)
if wanted == 0 then redis.call('DEL', key)
elseif length > wanted then redis.call('LTRIM', key, 0, wanted - 1) end
while length < wanted do
  local more = {}
  for at = 1, math.min(wanted - length, 1000) do more[at] = '' end
  length = redis.call('RPUSH', key, unpack(more))
end
`,
);
