import { Script } from "../../redis/script.js";
import { IDEMPOTENCY } from "../fields.js";

/**
 * Claims an idempotency key for a request, or renews the claim.
 *
 * KEYS: idempotency record. ARGV: hash of the request, claim, ms after which the claim expires.
 * Returns `claimed`; `other` where the key is another request's; `busy` and in how many ms another claim of the same request
 *   expires; or `answered` and the answer.
 */
export const claimRequestScript = new Script(
  "claim-request",
  `
local record = KEYS[1]
local request, claim, ttlMs = unpack(ARGV)
local known, holder, answer =
  unpack(redis.call('HMGET', record, '${IDEMPOTENCY.request}', '${IDEMPOTENCY.claim}', '${IDEMPOTENCY.answer}'))
if known and known ~= request then return {'other'} end
if answer then
  -- A write, so that WAITAOF of this connection waits for the answer, too.
  redis.call('HSET', record, '${IDEMPOTENCY.request}', request)
  return {'answered', answer}
end
if holder and holder ~= claim then return {'busy', redis.call('PTTL', record)} end
redis.call('HSET', record, '${IDEMPOTENCY.request}', request, '${IDEMPOTENCY.claim}', claim)
redis.call('PEXPIRE', record, ttlMs)
return {'claimed'}
`,
);
