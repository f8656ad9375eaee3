import { Script } from "../../redis/script.js";
import { WEBHOOK } from "../fields.js";

/**
 * Writes what became of a run's webhook, unless the run is forgotten or its webhook has ended.
 *
 * KEYS: webhook. ARGV: 1 where it ends by this: then it forgets where it leads and its secret; then names and values in
 *   turn. Returns nothing.
 */
export const noteWebhookScript = new Script(
  "note-webhook",
  `
local webhook = KEYS[1]
if redis.call('HEXISTS', webhook, '${WEBHOOK.target}') == 0 then return end
redis.call('HSET', webhook, unpack(ARGV, 2))
if ARGV[1] == '1' then redis.call('HDEL', webhook, '${WEBHOOK.target}') end
`,
);
