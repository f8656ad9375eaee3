import { Script } from "../../redis/script.js";
import { BREAKER, RUN } from "../fields.js";
import { HOST_BREAKER } from "./fragments/breaker.lua.js";
import { CLOCK } from "./fragments/clock.lua.js";
import { HOST_LIMITS } from "./fragments/host-limits.lua.js";
import { LEASES } from "./fragments/lease.lua.js";

/** Numbers of keys and arguments, see below. */
const HEAD_KEYS = 1;
const HEAD_ARGS = 4;
const RUN_HOST_KEYS = 5;
const FILE_KEYS = 3;
const FILE_ARGS = 5;

/**
 * Takes the leases on the destinations of files, each with its fence, where breaker and limits of its host allow. Files
 * are handled one after the other, so that those that are asked for at the same time share one call.
 *
 * KEYS:
 *   - default limit
 *   - per run host, which is a run and a host (5): run, breaker, limit, slots, turns
 *   - per file (3): flight, lease, hash of the catalog
 * ARGV:
 *   - lease ms, probe ms, owner, number of run hosts
 *   - per run host: the host, or '' for a local source
 *   - per file (5): number of its run host, delivery, hash of its source, fence of an owner known to be dead or '', its
 *     field in the catalog
 * Returns per file one of:
 *   - {'DONE'}: it has ended
 *   - {'CANCELLED'}: its run was cancelled
 *   - {'BUSY', owner, hash of the source, fence, ms left}: somebody else holds the lease
 *   - {'WAIT', ms until its turn}: the limit of its host is reached
 *   - {'BLOCKED', ms}: the breaker of its host is open
 *   - {'OK', fence, epoch of the breaker, catalog entry or '', origin of the lease ('new' | 'same' | 'released' | 'dead'
 *     | 'expired'), fences of predecessors, what is known of the staged bytes or '', files that wait for it (the
 *     flight's value), holders that died, bytes per second for its host or 0, files that share them, streams for
 *     this file or 0}
 */
export const admitScript = new Script(
  "admit",
  `${CLOCK}${HOST_BREAKER}${HOST_LIMITS}${LEASES}
local defaultLimit = KEYS[1]
local leaseMs, probeMs, owner, runHosts = tonumber(ARGV[1]), tonumber(ARGV[2]), ARGV[3], tonumber(ARGV[4])
local keysBeforeFiles = ${HEAD_KEYS} + runHosts * ${RUN_HOST_KEYS}
local argsBeforeFiles = ${HEAD_ARGS} + runHosts

-- States of runs that this call has read; and the epochs of breakers that it found closed, by host.
local runStates, closedEpochs = {}, {}

-- Decides on one file. Returns its answer.
local function admit(file)
  local key, arg = keysBeforeFiles + (file - 1) * ${FILE_KEYS}, argsBeforeFiles + (file - 1) * ${FILE_ARGS}
  local flight, lease, catalog = KEYS[key + 1], KEYS[key + 2], KEYS[key + 3]
  local runHost, delivery, source, deadFence, catalogField = unpack(ARGV, arg + 1, arg + ${FILE_ARGS})
  runHost = tonumber(runHost)
  local host = ARGV[${HEAD_ARGS} + runHost]
  key = ${HEAD_KEYS} + (runHost - 1) * ${RUN_HOST_KEYS}
  local run, breaker, limitKey, slots, turns = unpack(KEYS, key + 1, key + ${RUN_HOST_KEYS})

  local runState = runStates[run]
  if not runState then
    runState = redis.call('HGET', run, '${RUN.state}') or ''
    runStates[run] = runState
  end
  local waiting = redis.call('GET', flight)
  if not waiting then return {'DONE'} end
  -- Where other runs wait for the file too, it is copied for them.
  if runState == 'cancelled' and not string.find(waiting, ',', 1, true) then return {'CANCELLED'} end

  local known, busy = lookAtLease(lease, delivery, deadFence, leaseMs)
  if busy then return busy end
  local origin = known.origin

  local epoch, bytesPerSecond, sharers, mostStreams = '0', 0, 0, 0
  if host ~= '' and origin == 'same' then
    epoch = redis.call('HGET', breaker, '${BREAKER.epoch}') or '0'
  elseif host ~= '' then
    local turnMs, limit = limitAdmit(defaultLimit, limitKey, slots, turns, lease)
    if turnMs then
      shortenSlots(slots, leaseMs)
      return {'WAIT', turnMs}
    end
    epoch = closedEpochs[host]
    if not epoch then
      local untilMs, isClosed
      untilMs, epoch, isClosed = breakerAdmit(breaker, probeMs)
      if untilMs then return {'BLOCKED', untilMs - nowMs} end
      if isClosed then closedEpochs[host] = epoch end
    end
    if limit then bytesPerSecond, sharers, mostStreams = takeSlot(limit, slots, turns, lease, leaseMs) end
  end

  local by = {delivery = delivery, owner = owner, source = source, leaseMs = leaseMs}
  local fence, predecessors, crashes = takeLease(lease, known, by, file - 1)
  return {'OK', fence, epoch, redis.call('HGET', catalog, catalogField) or '', origin, predecessors, known.staged,
    waiting, crashes, bytesPerSecond, sharers, mostStreams}
end

local answers = {}
for file = 1, (#KEYS - keysBeforeFiles) / ${FILE_KEYS} do answers[file] = admit(file) end
return answers
`,
);
