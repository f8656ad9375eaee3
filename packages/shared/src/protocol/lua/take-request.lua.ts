import { Script } from "../../redis/script.js";

/**
 * Takes a request out of a token bucket, by the generic cell rate algorithm: what is kept is when the bucket is full again.
 *
 * KEYS: bucket. ARGV: µs in which one request comes back, requests that a full bucket holds.
 * Returns 0, or in how many ms there is one again.
 */
export const takeRequestScript = new Script(
  "take-request",
  `
local bucket, everyUs, most = KEYS[1], tonumber(ARGV[1]), tonumber(ARGV[2])
local now = redis.call('TIME')
local nowUs = now[1] * 1000000 + now[2]
local fullUs = math.max(tonumber(redis.call('GET', bucket) or 0), nowUs) + everyUs
local earlyUs = fullUs - nowUs - most * everyUs
if earlyUs > 0 then return math.ceil(earlyUs / 1000) end
redis.call('SET', bucket, string.format('%.0f', fullUs), 'PX', math.ceil((fullUs - nowUs) / 1000))
return 0
`,
);
