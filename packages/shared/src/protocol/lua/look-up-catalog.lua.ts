import { Script } from "../../redis/script.js";

/**
 * Entries of the catalog of many files.
 *
 * KEYS: per file the hash that it is in. ARGV: per file its field. Returns per file its value or nil.
 */
export const lookUpCatalogScript = new Script(
  "look-up-catalog",
  `
local found = {}
for file = 1, #KEYS do found[file] = redis.call('HGET', KEYS[file], ARGV[file]) end
return found
`,
);
