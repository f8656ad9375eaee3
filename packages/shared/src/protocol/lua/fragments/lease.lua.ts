import { LEASE } from "../../fields.js";
import { LEASE_RECORD_TTL_MS } from "../../keys.js";

/**
 * Taking of leases. Needs the clock.
 *
 * lookAtLease(lease, delivery, deadFence, leaseMs): returns nil and an answer {'BUSY', owner, hash of the source, fence, ms
 *   left} where somebody else holds it; else what is known of it, with the origin that it has for who takes it now.
 * takeLease(lease, known, by, nth): takes it. `by` has delivery, owner, source and leaseMs. Returns the fence, the fences of
 *   predecessors, and how many holders have died.
 */
export const LEASES = `
local function lookAtLease(lease, delivery, deadFence, leaseMs)
  local lastDelivery, expiresMs, lastFence, lastOwner, lastSource, predecessors, staged, released, crashes =
    unpack(redis.call('HMGET', lease, '${LEASE.delivery}', '${LEASE.expiresMs}', '${LEASE.fence}', '${LEASE.owner}',
      '${LEASE.source}', '${LEASE.predecessors}', '${LEASE.staged}', '${LEASE.released}', '${LEASE.crashes}'))
  local origin = 'new'
  if lastDelivery then
    if released then origin = 'released'
    elseif lastDelivery == delivery then origin = 'same'
    elseif lastFence == deadFence then origin = 'dead'
    elseif tonumber(expiresMs) <= nowMs then origin = 'expired'
    else
      local leftMs = tonumber(expiresMs) - nowMs
      if leftMs > leaseMs then -- the clock was set back
        leftMs = leaseMs
        redis.call('HSET', lease, '${LEASE.expiresMs}', nowMs + leaseMs)
      end
      return nil, {'BUSY', lastOwner, lastSource, lastFence, leftMs}
    end
  end
  return {origin = origin, fence = lastFence, predecessors = predecessors or '', staged = staged or '', crashes = crashes}
end

local function takeLease(lease, known, by, nth)
  local fence, predecessors, crashes = known.fence, known.predecessors, known.crashes
  if known.origin ~= 'same' then
    -- Another one for each file of a call: names of what they stage hang on it.
    local nextFence, lastFence = nowUs + nth, known.fence
    if lastFence then
      if tonumber(lastFence) >= nextFence then nextFence = tonumber(lastFence) + 1 end
      predecessors = predecessors == '' and lastFence or predecessors .. ',' .. lastFence
    end
    fence = string.format('%.0f', nextFence) -- Lua itself writes numbers with 14 digits
    redis.call('HSET', lease, '${LEASE.delivery}', by.delivery, '${LEASE.expiresMs}', nowMs + by.leaseMs,
      '${LEASE.fence}', fence, '${LEASE.owner}', by.owner, '${LEASE.source}', by.source)
    if lastFence then
      redis.call('HSET', lease, '${LEASE.predecessors}', predecessors)
      redis.call('HDEL', lease, '${LEASE.released}')
    end
    if known.origin == 'dead' or known.origin == 'expired' then
      crashes = redis.call('HINCRBY', lease, '${LEASE.crashes}', 1)
    end
    redis.call('PEXPIRE', lease, ${LEASE_RECORD_TTL_MS})
  end
  return fence, predecessors, tonumber(crashes or '0')
end
`;
