import { Script } from "../../redis/script.js";
import { RUN } from "../fields.js";
import { TELL_AGAIN } from "./fragments/tell-again.lua.js";

/**
 * Waits for the end of a run no more, unless the run was taken up again since: then its next end is waited for.
 *
 * KEYS: run, webhook, where the webhook leads, webhooks. ARGV: run, its generation at the end that was noted. Returns nothing.
 */
export const settleWebhookScript = new Script(
  "settle-webhook",
  `
${TELL_AGAIN}
local run, webhook, kept, webhooks = unpack(KEYS)
local id, generation = unpack(ARGV)
redis.call('ZREM', webhooks, id)
local now = redis.call('HGET', run, '${RUN.generation}')
if now and now ~= generation then tellAgain(id, run, webhook, kept, webhooks) end
`,
);
