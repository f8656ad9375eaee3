import { Script } from "../../redis/script.js";
import { WEBHOOK } from "../fields.js";

/**
 * Writes what became of the message of a run's end, unless the run is forgotten, the message has ended, or the run has been
 * taken up again since.
 *
 * KEYS: webhook, where it leads. ARGV: round of the message; '' where another try follows, else it has ended by this: seconds
 *   for which it is kept where it leads, or 0; then names and values in turn. Returns nothing.
 */
export const noteWebhookScript = new Script(
  "note-webhook",
  `
local webhook, kept = unpack(KEYS)
local target, round = unpack(redis.call('HMGET', webhook, '${WEBHOOK.target}', '${WEBHOOK.round}'))
if not target or (round or '0') ~= ARGV[1] then return end
redis.call('HSET', webhook, unpack(ARGV, 3))
if ARGV[2] == '' then return end
redis.call('HDEL', webhook, '${WEBHOOK.target}')
if ARGV[2] ~= '0' then redis.call('SET', kept, target, 'EX', ARGV[2]) end
`,
);
