import { Script } from "../../redis/script.js";

/**
 * Moves chunks from the backlog to those that are in BullMQ. One that is not in the backlog is left alone.
 *
 * KEYS: backlog, in flight. ARGV: chunk ids. Returns nothing.
 */
export const markInFlightScript = new Script(
  "mark-in-flight",
  `
local backlog, inFlight = KEYS[1], KEYS[2]
for _, chunk in ipairs(ARGV) do
  local files = redis.call('HGET', backlog, chunk)
  if files then
    redis.call('HSET', inFlight, chunk, files)
    redis.call('HDEL', backlog, chunk)
  end
end
`,
);
