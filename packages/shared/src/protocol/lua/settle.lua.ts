import { Script } from "../../redis/script.js";
import { LEASE, OUTCOME_ENTRY, RUN } from "../fields.js";
import { HOST_BREAKER } from "./fragments/breaker.lua.js";
import { CLOCK } from "./fragments/clock.lua.js";
import { FAILURES } from "./fragments/failures.lua.js";
import { HOST_LIMITS } from "./fragments/host-limits.lua.js";

/** Numbers of keys and arguments, see below. */
const HEAD_KEYS = 1;
const HEAD_ARGS = 3;
const REPORT_KEYS = 3;
const REPORT_ARGS = 6;
const RUN_OUTCOME_KEYS = 7;
const FILE_KEYS = 3;
const FILE_ARGS = 14;
const WAITER_ARGS = 2;
const FORMER_KEYS = 2;

/**
 * Ends files. Without its flight a file is not ended twice; without its lease it is not ended at all.
 *
 * Every file of any run that waits for the flight ends with it. Their keys must be declared, so the caller names those
 * that it knows: where there are others the answer names them, and nothing is done.
 *
 * KEYS:
 *   - default limit
 *   - per host report, which is what came of a file at its host (3): breaker, limit, slots
 *   - per run outcome, which is a run and an outcome (7): run, done, is:<outcome>, failed, its groups, outcomes, secrets
 *   - per file (3): flight, lease, hash of the catalog
 *   - per file that was moved (2): lease on the path that it was moved from, hash of the catalog of that
 * ARGV:
 *   - number of host reports, number of run outcomes, number of files
 *   - per host report (6): verdict (ok | slow | fail | none, '' where there is no host), epoch of the breaker, its
 *     threshold, ms that it stays open, ms of Retry-After, '1' to open it at once or ''
 *   - per run outcome: its outcome
 *   - per file (14): number of its host report, number of its run outcome, fence or '' (it ends without a lease), bytes,
 *     failure (JSON) or '', field in the catalog, catalog entry or '' (stays as it is) or '-' (is dropped), '1' to keep
 *     the record of the lease (what its predecessors staged could not be removed) or '', who waits (the flight's
 *     value), the outcome to be kept (JSON) or '', flight whose secret is not needed any more or '',
 *     fence of the lease on the path that it was moved from or '', field of that in the catalog (which is dropped) or '',
 *     number of files that wait; and behind them
 *   - per waiting file of it (2): number of its run outcome, its index
 * Returns per file one of:
 *   - {'OK' | 'ALREADY' | 'STALE', until when its host is blocked now (ms) or 0}: STALE where the lease is not the
 *     caller's any more
 *   - {'WAITING', the flight's value}: others wait for it, too
 */
export const settleScript = new Script(
  "settle",
  `${CLOCK}${HOST_BREAKER}${HOST_LIMITS}${FAILURES}
local defaultLimit = KEYS[1]
local hostReports, runOutcomes, files = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
local keysBeforeRunOutcomes = ${HEAD_KEYS} + hostReports * ${REPORT_KEYS}
local argsBeforeRunOutcomes = ${HEAD_ARGS} + hostReports * ${REPORT_ARGS}
local keysBeforeFiles = keysBeforeRunOutcomes + runOutcomes * ${RUN_OUTCOME_KEYS}
local argsBeforeFiles = argsBeforeRunOutcomes + runOutcomes
local nextFormer = keysBeforeFiles + files * ${FILE_KEYS}

-- Host reports that this call has read, by number; and the epoch of the last success that a breaker got, by its key.
local reports, successEpochs = {}, {}
-- By key of the run: bytes to add, of all files and of those that were copied; and what is to be done with its outcomes.
local runBytes, runCopied, runKeeping = {}, {}, {}

-- Keeps an outcome for those who follow the run; without them the newest for those who ask later. What a run left as it
-- was is of no interest then.
local function keepOutcome(run, outcomes, outcome, index, told)
  local keeping = runKeeping[run]
  if not keeping then
    local untilMs, most, generation = unpack(redis.call('HMGET', run, '${RUN.followedUntilMs}', '${RUN.keepOutcomes}',
      '${RUN.generation}'))
    keeping = {isFollowed = tonumber(untilMs or '0') > nowMs, most = tonumber(most or '0'), generation = generation or '0'}
    runKeeping[run] = keeping
  end
  if keeping.isFollowed then
    redis.call('XADD', outcomes, '*', '${OUTCOME_ENTRY.index}', index, '${OUTCOME_ENTRY.outcome}', told,
      '${OUTCOME_ENTRY.generation}', keeping.generation)
  elseif keeping.most > 0 and outcome ~= 'unchanged' then
    redis.call('XADD', outcomes, 'MAXLEN', '~', keeping.most, '*', '${OUTCOME_ENTRY.index}', index,
      '${OUTCOME_ENTRY.outcome}', told, '${OUTCOME_ENTRY.generation}', keeping.generation)
  end
end

local function readReport(number)
  local key, arg = ${HEAD_KEYS} + (number - 1) * ${REPORT_KEYS}, ${HEAD_ARGS} + (number - 1) * ${REPORT_ARGS}
  local verdict, epoch, threshold, ttlMs, retryAfterMs, force = unpack(ARGV, arg + 1, arg + ${REPORT_ARGS})
  local report = {breaker = KEYS[key + 1], limit = KEYS[key + 2], slots = KEYS[key + 3], verdict = verdict,
    epoch = epoch, threshold = tonumber(threshold), ttlMs = tonumber(ttlMs), retryAfterMs = tonumber(retryAfterMs),
    force = force == '1'}
  reports[number] = report
  return report
end

-- Reports to breaker and limits of the host what came of a file.
-- Returns until when (ms) the breaker is open now, or 0.
local function reportToHost(report, lease, fence)
  local breaker, verdict, epoch, blockedUntilMs = report.breaker, report.verdict, report.epoch, 0
  local isRepeated = verdict == 'ok' and successEpochs[breaker] == epoch
  if (verdict ~= 'none' or fence ~= '') and not isRepeated then
    blockedUntilMs = breakerReport(breaker, report)
    successEpochs[breaker] = verdict == 'ok' and epoch
  end
  if fence ~= '' then limitReport(defaultLimit, report, lease, fence) end
  return blockedUntilMs
end

-- Ends one file. Its keys and arguments are behind those with the numbers key and arg.
-- Returns its answer, and the number of its last argument.
local function settle(key, arg)
  local flight, lease, catalog = KEYS[key + 1], KEYS[key + 2], KEYS[key + 3]
  local hostReport, runOutcome, fence, bytes, failure, catalogField, catalogEntry, keepsLease, expectedWaiting,
    told, secret, formerFence, formerField, waiters = unpack(ARGV, arg + 1, arg + ${FILE_ARGS})
  local firstWaiter = arg + ${FILE_ARGS} + 1
  local lastArg = arg + ${FILE_ARGS} + tonumber(waiters) * ${WAITER_ARGS}

  local formerLease, formerCatalog
  if formerFence ~= '' then
    formerLease, formerCatalog = KEYS[nextFormer + 1], KEYS[nextFormer + 2]
    nextFormer = nextFormer + ${FORMER_KEYS}
  end

  local waiting = redis.call('GET', flight)
  if waiting and waiting ~= expectedWaiting then return {'WAITING', waiting}, lastArg end
  local hasFormer = formerLease and redis.call('HGET', formerLease, '${LEASE.fence}') == formerFence
  local function leaveFormer()
    if hasFormer then redis.call('HSET', formerLease, '${LEASE.released}', '1') end
  end
  if formerLease and waiting and not hasFormer then return {'STALE', 0}, lastArg end
  if fence ~= '' and redis.call('HGET', lease, '${LEASE.fence}') ~= fence then
    leaveFormer()
    return {waiting and 'STALE' or 'ALREADY', 0}, lastArg
  end

  local blockedUntilMs = 0
  hostReport = tonumber(hostReport)
  local report = reports[hostReport] or readReport(hostReport)
  if report.verdict ~= '' then blockedUntilMs = reportToHost(report, lease, fence) end
  if not waiting then
    if fence ~= '' then redis.call('HSET', lease, '${LEASE.released}', '1') end
    leaveFormer()
    return {'ALREADY', blockedUntilMs}, lastArg
  end

  if catalogEntry == '-' then redis.call('HDEL', catalog, catalogField)
  elseif catalogEntry ~= '' then redis.call('HSET', catalog, catalogField, catalogEntry) end
  if formerLease then
    redis.call('HDEL', formerCatalog, formerField)
    redis.call('DEL', formerLease)
  end

  runOutcome, bytes = tonumber(runOutcome), tonumber(bytes)
  local outcome = ARGV[argsBeforeRunOutcomes + runOutcome]
  for at = firstWaiter, lastArg, ${WAITER_ARGS} do
    local waiterKey, index = keysBeforeRunOutcomes + (tonumber(ARGV[at]) - 1) * ${RUN_OUTCOME_KEYS}, ARGV[at + 1]
    local run, done, hasOutcome, failures, groups, outcomes = unpack(KEYS, waiterKey + 1, waiterKey + 6)
    redis.call('SETBIT', done, index, 1)
    if outcome ~= 'copied' then redis.call('SETBIT', hasOutcome, index, 1) end
    if failure ~= '' then noteFailure(failures, groups, index, failure) end
    runBytes[run] = (runBytes[run] or 0) + bytes
    if outcome == 'copied' then runCopied[run] = (runCopied[run] or 0) + bytes end
    if told ~= '' then keepOutcome(run, outcomes, outcome, index, told) end
  end
  if secret ~= '' then
    local secrets = KEYS[keysBeforeRunOutcomes + runOutcome * ${RUN_OUTCOME_KEYS}]
    redis.call('HDEL', secrets, secret)
  end

  if fence == '' then redis.call('DEL', flight)
  elseif keepsLease == '1' then
    redis.call('DEL', flight)
    redis.call('HSET', lease, '${LEASE.released}', '1')
  else redis.call('DEL', flight, lease) end
  return {'OK', blockedUntilMs}, lastArg
end

local answers, arg = {}, argsBeforeFiles
for file = 1, files do answers[file], arg = settle(keysBeforeFiles + (file - 1) * ${FILE_KEYS}, arg) end
local function addBytes(field, bytesByRun)
  for run, bytes in pairs(bytesByRun) do
    if bytes > 0 then redis.call('HINCRBY', run, field, string.format('%.0f', bytes)) end
  end
end
addBytes('${RUN.bytes}', runBytes)
addBytes('${RUN.copiedBytes}', runCopied)
return answers
`,
);
