import { Script } from "../../redis/script.js";
import { CLOCK } from "./fragments/clock.lua.js";
import { LEASES } from "./fragments/lease.lua.js";

/**
 * Takes the lease on a path that a file is moved from, beside that of the file.
 *
 * KEYS: lease, hash of the catalog. ARGV: ms of a lease, delivery, owner, hash of the source, fence of an owner known to be
 *   dead or '', field in the catalog.
 * Returns {'BUSY', owner, hash of the source, fence, ms left}, or {'OK', fence, catalog entry or '', origin of the lease,
 *   fences of predecessors, what is known of the staged bytes or ''}: see admit.
 */
export const holdPathScript = new Script(
  "hold-path",
  `${CLOCK}${LEASES}
local lease, catalog = KEYS[1], KEYS[2]
local leaseMs, delivery, owner, source, deadFence, field = unpack(ARGV)
leaseMs = tonumber(leaseMs)
local known, busy = lookAtLease(lease, delivery, deadFence, leaseMs)
if busy then return busy end
local by = {delivery = delivery, owner = owner, source = source, leaseMs = leaseMs}
local fence, predecessors = takeLease(lease, known, by, 0)
return {'OK', fence, redis.call('HGET', catalog, field) or '', known.origin, predecessors, known.staged}
`,
);
