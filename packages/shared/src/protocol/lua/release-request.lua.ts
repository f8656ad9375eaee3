import { Script } from "../../redis/script.js";
import { IDEMPOTENCY } from "../fields.js";

/**
 * Gives an idempotency key back, unless the claim is another's by now or the request was answered.
 *
 * KEYS: idempotency record. ARGV: claim. Returns nothing.
 */
export const releaseRequestScript = new Script(
  "release-request",
  `
if redis.call('HGET', KEYS[1], '${IDEMPOTENCY.claim}') == ARGV[1] then redis.call('DEL', KEYS[1]) end
`,
);
