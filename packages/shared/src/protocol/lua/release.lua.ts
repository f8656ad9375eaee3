import { Script } from "../../redis/script.js";
import { LEASE } from "../fields.js";
import { HOST_BREAKER } from "./fragments/breaker.lua.js";
import { CLOCK } from "./fragments/clock.lua.js";
import { HOST_LIMITS } from "./fragments/host-limits.lua.js";

/**
 * Gives a lease back in order, with what is known of the staged bytes: a try is over and the file has not ended.
 *
 * KEYS: lease, breaker, default limit, limit, slots.
 * ARGV: fence, staged bytes (JSON) or '', verdict (ok | slow | fail | none, '' where there is no host), epoch of the
 *   breaker, its threshold, ms that it stays open, ms of Retry-After, '1' where nothing of its predecessors is left
 *   or ''.
 * Returns {'OK' | 'STALE', until when the host is blocked now (ms) or 0}.
 */
export const releaseScript = new Script(
  "release",
  `${CLOCK}${HOST_BREAKER}${HOST_LIMITS}
local lease, breaker, defaultLimit, limit, slots = unpack(KEYS)
local fence, staged, verdict, epoch, threshold, ttlMs, retryAfterMs, isFencedOff = unpack(ARGV)
if redis.call('HGET', lease, '${LEASE.fence}') ~= fence then return {'STALE', 0} end
local blockedUntilMs = 0
if verdict ~= '' then
  local report = {limit = limit, slots = slots, verdict = verdict, epoch = epoch, threshold = tonumber(threshold),
    ttlMs = tonumber(ttlMs), retryAfterMs = tonumber(retryAfterMs), force = false}
  limitReport(defaultLimit, report, lease, fence)
  blockedUntilMs = breakerReport(breaker, report)
end
redis.call('HSET', lease, '${LEASE.released}', '1', '${LEASE.staged}', staged)
if isFencedOff == '1' then redis.call('HSET', lease, '${LEASE.predecessors}', '') end
return {'OK', blockedUntilMs}
`,
);
