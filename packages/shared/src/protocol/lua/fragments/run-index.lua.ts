import { RUN } from "../../fields.js";

/**
 * Files a run by whether it has ended, for scripts: `indexRun(id, run, failures, indexes)`. The indexes are those of
 * `Keys.runIndexes`, in their order. One that has not ended is among the unfinished, by its start; one that has is among
 * those of its kind that went well or did not, by its end. One that is forgotten is in none.
 */
export const RUN_INDEX = `
local function indexRun(id, run, failures, indexes)
  for _, index in ipairs(indexes) do redis.call('ZREM', index, id) end
  local state, startedMs, endedMs, kind, undeleted = unpack(redis.call('HMGET', run, '${RUN.state}', '${RUN.startedMs}',
    '${RUN.endedMs}', '${RUN.kind}', '${RUN.deletionRefused}'))
  if not state or not startedMs then return end
  if not endedMs then
    redis.call('ZADD', indexes[1], startedMs, id)
    return
  end
  if not kind then -- it was recorded before runs said what they are
    local spec = redis.call('HGET', run, '${RUN.spec}') or ''
    kind = string.find(spec, '"whenBusy":"skip-same-source"', 1, true) and 'fetch' or 'sync'
  end
  local isGood = state == 'done' and (undeleted or '') == '' and redis.call('HLEN', failures) == 0
  redis.call('ZADD', indexes[(kind == 'fetch' and 4 or 2) + (isGood and 0 or 1)], endedMs, id)
end
`;
