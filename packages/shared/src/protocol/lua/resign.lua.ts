import { Script } from "../../redis/script.js";

/**
 * Ends the term of a worker that leads its fleet, so that another one can begin at once.
 *
 * KEYS: leader. ARGV: worker. Returns nothing.
 */
export const resignScript = new Script(
  "resign",
  `
local key, worker = KEYS[1], ARGV[1]
if redis.call('GET', key) == worker then redis.call('DEL', key) end
`,
);
