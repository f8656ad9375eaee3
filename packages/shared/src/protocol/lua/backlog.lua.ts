/** What {@link Backlog} has Redis do, each all or nothing. */

/**
 * Enqueue a batch, all or nothing: destinations claimed, indexes given, flights and counts registered, the backlog
 * chunks and the producer's cursor written.
 *
 * In a fleet a file that is queued by another run already and that nobody has taken up yet is joined. One that is taken
 * up could be older than what this run asks for: it gets a flight of its own, which waits for the lease.
 *
 * KEYS: run, done, is:unchanged, is:failed, failed, backlog; per file: claim bucket, flight; in a fleet also the run's
 *   own flight for it, and its lease.
 * ARGV: producer (its name must own the run), batch number, cursor, run where it is a fleet's or '', '1' where two
 *   files could have one destination; per file (7): kind (q queued | u unchanged |
 *   f failed), host, destination, source, job (JSON without its index), bytes, what failed (JSON, kind f) or ''.
 * Returns {'OK', answer per file...}, an answer being an index, 'dup', or 'col'..index (another source has that
 *   destination: settled failed); a batch that was sent again gets the answer of the first time. Or {'GAP', batch
 *   known}, {'GONE'} (there is no such run), {'CANCELLED'}, {'OWNER', name}.
 */
export const ENQUEUE = `
local run, done = KEYS[1], KEYS[2]
local r = redis.call('HMGET', run, 'state', 'owner', 'batch', 'files', 'answer')
if not r[1] then return {'GONE'} end
if r[1] == 'cancelled' then return {'CANCELLED'} end
if r[2] ~= ARGV[1] then return {'OWNER', r[2] or ''} end
local batch, known = tonumber(ARGV[2]), tonumber(r[3] or '0')
if batch == known then return cjson.decode(r[5]) end
if batch ~= known + 1 then return {'GAP', known} end
local index = tonumber(r[4] or '0')
local chunks, answer, fleet = {}, {'OK'}, ARGV[4]
local stride = fleet == '' and 2 or 4
for file = 1, (#KEYS - 6) / stride do
  local a, k = 5 + (file - 1) * 7, 6 + (file - 1) * stride
  local claim, flight = KEYS[k+1], KEYS[k+2]
  local kind, host, destination, source, job = ARGV[a+1], ARGV[a+2], ARGV[a+3], ARGV[a+4], ARGV[a+5]
  -- One claim per file of a large run: 60 bits of the destination and 30 of the source tell them apart.
  local place, mine = string.sub(destination, 1, 10), string.sub(source, 1, 5)
  local other = ARGV[5] == '1' and redis.call('HGET', claim, place)
  if other == mine then
    answer[file + 1] = 'dup'
  else
    local bit = string.format('%.0f', index)
    if other then
      redis.call('SETBIT', done, bit, 1)
      redis.call('SETBIT', KEYS[4], bit, 1)
      redis.call('HSET', KEYS[5], bit, '{"job":' .. job .. ',"error":{"class":"collision","message":"another source of this run has the same destination: give it a name of its own"}}')
      answer[file + 1] = 'col' .. bit
    else
      if ARGV[5] == '1' then redis.call('HSET', claim, place, mine) end
      if kind == 'q' then
        local waiter, own, joined = bit, '', false
        if fleet ~= '' then
          waiter = fleet .. ':' .. bit
          if redis.call('EXISTS', flight) == 1 then
            joined = redis.call('EXISTS', KEYS[k+4]) == 0
            if not joined then flight, own = KEYS[k+3], ',1' end
          end
        end
        if joined then redis.call('APPEND', flight, ',' .. waiter)
        else
          redis.call('SET', flight, waiter)
          local chunk = chunks[host]
          if not chunk then
            chunk = {}
            chunks[host] = chunk
          end
          chunk[#chunk + 1] = '[' .. bit .. ',' .. job .. own .. ']'
        end
      else
        redis.call('SETBIT', done, bit, 1)
        redis.call('SETBIT', kind == 'u' and KEYS[3] or KEYS[4], bit, 1)
        if kind == 'f' then redis.call('HSET', KEYS[5], bit, ARGV[a+7])
        elseif ARGV[a+6] ~= '0' then redis.call('HINCRBY', run, 'bytes', ARGV[a+6]) end
      end
      answer[file + 1] = bit
    end
    index = index + 1
  end
end
for host, jobs in pairs(chunks) do
  redis.call('HSET', KEYS[6], ARGV[2] .. '|' .. host, '[' .. table.concat(jobs, ',') .. ']')
end
redis.call('HSET', run, 'batch', ARGV[2], 'cursor', ARGV[3], 'files', string.format('%.0f', index),
  'answer', cjson.encode(answer))
return answer
`;

/**
 * Puts files back into the backlog: what failed, with a new generation (retry), or what a dead process left in its
 * queue (resume).
 *
 * KEYS: run, done, failed, backlog; then is:<outcome> for each outcome that is cleared; then a flight per file.
 * ARGV: producer, chunk id, number of outcome keys, clear ('1' for retry), what comes before the index in a flight;
 *   per file: index, [index, job] (JSON).
 * Returns how many were put back: a file that is settled and not cleared stays as it is.
 */
export const REQUEUE = `
local outcomes, count, jobs = tonumber(ARGV[3]), 0, {}
if redis.call('HGET', KEYS[1], 'owner') ~= ARGV[1] then return -1 end
for file = 1, #KEYS - 4 - outcomes do
  local bit, job = ARGV[4 + file * 2], ARGV[5 + file * 2]
  local settled = redis.call('GETBIT', KEYS[2], bit) == 1
  local failed = ARGV[4] == '1' and redis.call('HDEL', KEYS[3], bit) == 1
  if failed or not settled then
    redis.call('SETBIT', KEYS[2], bit, 0)
    if failed then for i = 1, outcomes do redis.call('SETBIT', KEYS[4 + i], bit, 0) end end
    redis.call('SET', KEYS[4 + outcomes + file], ARGV[5] .. bit)
    count = count + 1
    jobs[count] = job
  end
end
if count > 0 then redis.call('HSET', KEYS[4], ARGV[2], '[' .. table.concat(jobs, ',') .. ']') end
return count
`;

/** Moves chunks from the backlog to those in BullMQ. KEYS: backlog, flying. ARGV: chunks. */
export const MARK_IN_FLIGHT = `
for _, chunk in ipairs(ARGV) do
  local files = redis.call('HGET', KEYS[1], chunk)
  if files then
    redis.call('HSET', KEYS[2], chunk, files)
    redis.call('HDEL', KEYS[1], chunk)
  end
end
`;
