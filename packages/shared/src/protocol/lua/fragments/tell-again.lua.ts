import { RUN, WEBHOOK } from "../../fields.js";

/**
 * Has the webhook of a run wait for the run's end anew where an end was noted before, as long as it is known where it leads.
 */
export const TELL_AGAIN = `
local function tellAgain(id, run, webhook, kept, webhooks)
  if redis.call('EXISTS', webhook) == 0 or redis.call('ZSCORE', webhooks, id) then return end
  local target = redis.call('GET', kept)
  if target then
    redis.call('HSET', webhook, '${WEBHOOK.target}', target)
    redis.call('UNLINK', kept)
  elseif redis.call('HEXISTS', webhook, '${WEBHOOK.target}') == 0 then return end
  redis.call('HSET', webhook, '${WEBHOOK.state}', 'waiting', '${WEBHOOK.attempts}', 0, '${WEBHOOK.status}', '',
    '${WEBHOOK.error}', '')
  redis.call('HINCRBY', webhook, '${WEBHOOK.round}', 1)
  redis.call('ZADD', webhooks, redis.call('HGET', run, '${RUN.startedMs}') or '0', id)
end
`;
