import { Script } from "../../redis/script.js";
import { IDEMPOTENCY, RUN } from "../fields.js";

/**
 * Records a run and all that comes with it, or nothing: not where the claim of its request is another's by now. A run that
 * is there already stays as it is.
 *
 * KEYS: run, secrets, runs, runs that have not ended, active, expanding, webhook, webhooks, idempotency record (any key
 *   without a claim).
 * ARGV: run, when it began (ms), seconds until its secrets expire (0: never), ms for which its producer is thought alive
 *   (0: the run is no fleet's), 1 where a server expands it, claim or "", answer to the request, number of values of the
 *   run, number of values of its secrets, the values of the run, of its secrets and of its webhook: names and values in
 *   turn.
 * Returns 1, or 0 where the claim is lost.
 */
export const createRunScript = new Script(
  "create-run",
  `
local run, secrets, runs, open, active, expanding, webhook, webhooks, record = unpack(KEYS)
local id, startedMs, secretsTtl, aliveMs, isExpanded, claim, answer, ofRun, ofSecrets = unpack(ARGV, 1, 9)
local lastOfRun = 9 + tonumber(ofRun)
local lastOfSecrets = lastOfRun + tonumber(ofSecrets)
if redis.call('HEXISTS', run, '${RUN.spec}') == 1 then return 1 end
if claim ~= '' then
  if redis.call('HGET', record, '${IDEMPOTENCY.claim}') ~= claim then return 0 end
  redis.call('HSET', record, '${IDEMPOTENCY.answer}', answer)
  redis.call('HDEL', record, '${IDEMPOTENCY.claim}')
  redis.call('PERSIST', record)
end
redis.call('HSET', run, unpack(ARGV, 10, lastOfRun))
redis.call('HSET', secrets, unpack(ARGV, lastOfRun + 1, lastOfSecrets))
if secretsTtl ~= '0' then redis.call('EXPIRE', secrets, secretsTtl) end
redis.call('ZADD', runs, startedMs, id)
redis.call('ZADD', open, startedMs, id)
if aliveMs ~= '0' then
  redis.call('HSET', run, '${RUN.ownerUntilMs}', tonumber(redis.call('TIME')[1]) * 1000 + tonumber(aliveMs))
  redis.call('SADD', active, id)
end
if isExpanded == '1' then redis.call('ZADD', expanding, startedMs, id) end
if #ARGV > lastOfSecrets then
  redis.call('HSET', webhook, unpack(ARGV, lastOfSecrets + 1))
  redis.call('ZADD', webhooks, startedMs, id)
end
return 1
`,
);
