import { Script } from "../../redis/script.js";
import { BREAKER } from "../fields.js";

/**
 * Closes the circuit breaker of a host and forgets its failures. It begins a new epoch: what was admitted before, and is
 * reported after, changes nothing.
 *
 * KEYS: breaker. Returns the state that it had, see BREAKER_STATE, or '' where it was closed.
 */
export const closeBreakerScript = new Script(
  "close-breaker",
  `
local breaker = KEYS[1]
local state, epoch, failures = unpack(redis.call('HMGET', breaker, '${BREAKER.state}', '${BREAKER.epoch}',
  '${BREAKER.failures}'))
if not state and not failures then return '' end
redis.call('HSET', breaker, '${BREAKER.epoch}', tonumber(epoch or '0') + 1)
redis.call('HDEL', breaker, '${BREAKER.state}', '${BREAKER.openUntilMs}', '${BREAKER.openedMs}',
  '${BREAKER.failures}', '${BREAKER.probe1}', '${BREAKER.probe2}', '${BREAKER.probe3}')
return state or ''
`,
);
