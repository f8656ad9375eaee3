/**
 * The clock of Redis when the script began, for scripts: `nowUs` and `nowMs`.
 *
 * That clock may be set back. An expiry that is further ahead than its term was written before that, and whoever finds
 * it puts it one term ahead: the holder may live, and has that time to renew it.
 */
export const CLOCK = `
local clock = redis.call('TIME')
local nowMs = tonumber(clock[1]) * 1000 + math.floor(tonumber(clock[2]) / 1000)
local nowUs = tonumber(clock[1]) * 1000000 + tonumber(clock[2])
`;
