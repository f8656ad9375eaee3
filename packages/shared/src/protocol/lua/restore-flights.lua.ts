import { Script } from "../../redis/script.js";
import { RUN } from "../fields.js";

/**
 * Makes flights of a run's files anew that Redis has lost: without its flight a file cannot end.
 *
 * KEYS: run, done; per file: flight. ARGV: per file (2): index, who waits for it (see Flights.waiter).
 * Returns per file 1 (it has not ended, and its flight is there), 0 (it has ended) or -1 (it is not registered, or no
 *   more).
 */
export const restoreFlightsScript = new Script(
  "restore-flights",
  `
local run, done = KEYS[1], KEYS[2]
local files = tonumber(redis.call('HGET', run, '${RUN.files}') or '0')
local answers = {}
for file = 1, #KEYS - 2 do
  local index, waiter = ARGV[file * 2 - 1], ARGV[file * 2]
  if tonumber(index) >= files then answers[file] = -1
  elseif redis.call('GETBIT', done, index) == 1 then answers[file] = 0
  else
    redis.call('SET', KEYS[file + 2], waiter, 'NX')
    answers[file] = 1
  end
end
return answers
`,
);
