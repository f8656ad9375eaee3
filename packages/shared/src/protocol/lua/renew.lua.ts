import { Script } from "../../redis/script.js";
import { LEASE } from "../fields.js";
import { LEASE_RECORD_TTL_MS } from "../keys.js";
import { CLOCK } from "./fragments/clock.lua.js";

/**
 * Renews leases of a process and, for the larger files, notes what is staged: then nothing of predecessors is left.
 *
 * KEYS: per lease (2): lease, slots of its host.
 * ARGV: lease ms; per lease (2): fence, staged bytes (JSON) or '' (as they were).
 * Returns per lease 1 (still ours) or 0 (lost).
 */
export const renewScript = new Script(
  "renew",
  `${CLOCK}
local leaseMs = tonumber(ARGV[1])
local expiresMs = nowMs + leaseMs
local answers = {}
for nth = 1, #KEYS / 2 do
  local lease, slots = KEYS[nth * 2 - 1], KEYS[nth * 2]
  local fence, staged = ARGV[nth * 2], ARGV[nth * 2 + 1]
  if redis.call('HGET', lease, '${LEASE.fence}') == fence then
    redis.call('ZADD', slots, 'XX', expiresMs, lease)
    redis.call('HSET', lease, '${LEASE.expiresMs}', expiresMs)
    if staged ~= '' then redis.call('HSET', lease, '${LEASE.staged}', staged, '${LEASE.predecessors}', '') end
    redis.call('PEXPIRE', lease, ${LEASE_RECORD_TTL_MS})
    answers[nth] = 1
  else
    answers[nth] = 0
  end
end
return answers
`,
);
