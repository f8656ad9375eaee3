import { Script } from "../../redis/script.js";
import { RUN } from "../fields.js";
import { FAILURES } from "./fragments/failures.lua.js";

/** Numbers of keys and arguments, see below. */
const HEAD_KEYS = 8;
const HEAD_ARGS = 6;
const FILE_ARGS = 7;

/** What is recorded of a file whose destination another source of its run has. */
const COLLISION = JSON.stringify({
  class: "collision",
  message: "another source of this run has the same destination: give it a name of its own",
});

/**
 * Registers a batch of files with a run, all or nothing: claims destinations, gives indexes, makes flights, and writes
 * the chunks of the backlog, the counts and the producer's cursor.
 *
 * In a fleet a file that is queued by another run already, and that no worker has taken up yet, is joined. One that is
 * taken up could be older than what this run asks for: this run's file gets a flight of its own, which waits for the
 * lease. A file that joined is noted apart, so that it is found should the other run be lost.
 *
 * KEYS:
 *   - run, done, is:unchanged, is:failed, failed, its groups, backlog, joined
 *   - per file (2, in a fleet 4): claims, flight; in a fleet also the run's own flight for it, and its lease
 * ARGV:
 *   - producer (which must own the run), batch number, cursor, run where it is a fleet's or '', '1' where two files
 *     could have one destination or '', generation in which the producer may have left the run or ''
 *   - per file (7): kind (q queued | u unchanged | f failed), host, hash of its destination, hash of its source, job
 *     (JSON without its index), bytes, failure (JSON, kind f) or ''
 * Returns one of:
 *   - {'OK', answer per file...}: its index, 'dup' (the same file was in the run already), or 'col'..index (another
 *     source has its destination: it is recorded as failed). A batch that was sent again gets the first answer again
 *   - {'GAP', last batch}: batches before this one are missing
 *   - {'GONE'}: there is no such run
 *   - {'CANCELLED'}
 *   - {'OWNER', name}: the run is another process's
 */
export const enqueueScript = new Script(
  "enqueue",
  `${FAILURES}
local run, done, unchangedFiles, failedFiles, failures, groups, backlog, joined = unpack(KEYS, 1, ${HEAD_KEYS})
local producer, batch, cursor, fleetRun, mayCollide, leftGeneration = unpack(ARGV, 1, ${HEAD_ARGS})
mayCollide = mayCollide == '1'
local isFleet = fleetRun ~= ''
local fileKeys = isFleet and 4 or 2

local state, owner, lastBatch, files, lastAnswer, generation = unpack(redis.call('HMGET', run, '${RUN.state}',
  '${RUN.owner}', '${RUN.batch}', '${RUN.files}', '${RUN.answer}', '${RUN.generation}'))
if not state then return {'GONE'} end
if state == 'cancelled' then return {'CANCELLED'} end
if owner ~= producer and not (owner == '' and generation == leftGeneration) then return {'OWNER', owner or ''} end
lastBatch = tonumber(lastBatch or '0')
if tonumber(batch) == lastBatch then return cjson.decode(lastAnswer) end
if tonumber(batch) ~= lastBatch + 1 then return {'GAP', lastBatch} end

-- Files to queue, and files that joined another run's (JSON), by host.
local chunks, joinedChunks = {}, {}

local function note(byHost, host, file)
  local chunk = byHost[host]
  if not chunk then
    chunk = {}
    byHost[host] = chunk
  end
  chunk[#chunk + 1] = file
end

-- Registers a file that somebody is to copy.
local function queue(host, job, index, flight, ownFlight, lease)
  local waiter, ownMark = index, ''
  if isFleet then
    waiter = fleetRun .. ':' .. index
    if redis.call('EXISTS', flight) == 1 then
      if redis.call('EXISTS', lease) == 0 then
        redis.call('APPEND', flight, ',' .. waiter)
        return note(joinedChunks, host, '[' .. index .. ',' .. job .. ']')
      end
      flight, ownMark = ownFlight, ',1'
    end
  end
  redis.call('SET', flight, waiter)
  note(chunks, host, '[' .. index .. ',' .. job .. ownMark .. ']')
end

local answer, nextIndex = {'OK'}, tonumber(files or '0')
for file = 1, (#KEYS - ${HEAD_KEYS}) / fileKeys do
  local key, arg = ${HEAD_KEYS} + (file - 1) * fileKeys, ${HEAD_ARGS} + (file - 1) * ${FILE_ARGS}
  local claims, flight, ownFlight, lease = unpack(KEYS, key + 1, key + fileKeys)
  local kind, host, destination, source, job, bytes, failure = unpack(ARGV, arg + 1, arg + ${FILE_ARGS})
  -- One claim per file of a large run: 60 bits of the destination and 30 of the source tell them apart.
  local claimed, claimant = string.sub(destination, 1, 10), string.sub(source, 1, 5)
  local otherClaimant = mayCollide and redis.call('HGET', claims, claimed)
  if otherClaimant == claimant then
    answer[file + 1] = 'dup'
  else
    local index = string.format('%.0f', nextIndex)
    nextIndex = nextIndex + 1
    if otherClaimant then
      redis.call('SETBIT', done, index, 1)
      redis.call('SETBIT', failedFiles, index, 1)
      noteFailure(failures, groups, index, '{"job":' .. job .. ',"error":${COLLISION},"host":' .. cjson.encode(host) .. '}')
      answer[file + 1] = 'col' .. index
    else
      if mayCollide then redis.call('HSET', claims, claimed, claimant) end
      if kind == 'q' then
        queue(host, job, index, flight, ownFlight, lease)
      else
        redis.call('SETBIT', done, index, 1)
        redis.call('SETBIT', kind == 'u' and unchangedFiles or failedFiles, index, 1)
        if kind == 'f' then noteFailure(failures, groups, index, failure)
        elseif bytes ~= '0' then redis.call('HINCRBY', run, '${RUN.bytes}', bytes) end
      end
      answer[file + 1] = index
    end
  end
end
for host, chunk in pairs(chunks) do
  redis.call('HSET', backlog, batch .. '|' .. host, '[' .. table.concat(chunk, ',') .. ']')
end
for host, chunk in pairs(joinedChunks) do
  redis.call('HSET', joined, batch .. '|' .. host, '[' .. table.concat(chunk, ',') .. ']')
end
redis.call('HSET', run, '${RUN.batch}', batch, '${RUN.cursor}', cursor,
  '${RUN.files}', string.format('%.0f', nextIndex), '${RUN.answer}', cjson.encode(answer))
return answer
`,
);
