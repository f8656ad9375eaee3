import { Script } from "../../redis/script.js";

/** Numbers of keys and arguments, see below. */
const HEAD_KEYS = 3;
const HEAD_ARGS = 2;
const FILE_ARGS = 4;

/**
 * Looks after a chunk of files that joined another run's. Those that have ended are forgotten. Those that nobody
 * carries any more go into the backlog, with a flight. A flight that does not name a file any more gets it again.
 *
 * KEYS: done, joined, backlog; per file: flight. ARGV: chunk id, its id in the backlog; per file (4): index, [index, job]
 *   (JSON), who waits for it, '1' where nobody carries it or ''.
 * Returns how many went into the backlog.
 */
export const leaveJoinedScript = new Script(
  "leave-joined",
  `
local done, joined, backlog = unpack(KEYS, 1, ${HEAD_KEYS})
local chunk, backlogChunk = ARGV[1], ARGV[2]
if redis.call('HEXISTS', joined, chunk) == 0 then return 0 end
local stays, leaves = {}, {}
for file = 1, #KEYS - ${HEAD_KEYS} do
  local flight = KEYS[${HEAD_KEYS} + file]
  local index, job, waiter, isLeft = unpack(ARGV, ${HEAD_ARGS} + (file - 1) * ${FILE_ARGS} + 1, ${HEAD_ARGS} + file * ${FILE_ARGS})
  if redis.call('GETBIT', done, index) == 0 then
    local waiting = redis.call('GET', flight)
    if not waiting then redis.call('SET', flight, waiter)
    elseif not string.find(',' .. waiting .. ',', ',' .. waiter .. ',', 1, true) then
      redis.call('APPEND', flight, ',' .. waiter)
    end
    if isLeft == '1' or not waiting then leaves[#leaves + 1] = job else stays[#stays + 1] = job end
  end
end
-- What a full Redis may refuse comes first: the call is sent again then.
if #leaves > 0 then redis.call('HSET', backlog, backlogChunk, '[' .. table.concat(leaves, ',') .. ']') end
if #stays > 0 then redis.call('HSET', joined, chunk, '[' .. table.concat(stays, ',') .. ']')
else redis.call('HDEL', joined, chunk) end
return #leaves
`,
);
