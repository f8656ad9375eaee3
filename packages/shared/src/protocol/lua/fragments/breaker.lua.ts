import { BREAKER, BREAKER_STATE } from "../../fields.js";
import { MAX_PROBE_MS } from "../../host-breakers.js";

/** How long failures in a row are remembered at least, in milliseconds. */
const FAILURES_TTL_MS = 3_600_000;
/** How long the record of a breaker outlives the time that it is open for, in milliseconds. */
const OPENED_TTL_MS = 86_400_000;
/** Whoever finds all probes of a half-open breaker out asks again after this time at most, in milliseconds. */
const MAX_PROBE_WAIT_MS = 1_000;

/**
 * A host's circuit breaker, as functions for scripts. Needs CLOCK.
 *
 * breakerAdmit(key, probeMs): may a file go to this host?
 *
 * breakerReport(key, report): what came of a try. A report is a table of epoch, verdict ('ok' | 'fail' | 'slow', a
 * failure that asks for less | 'none'), threshold, ttlMs, retryAfterMs and force (true opens the breaker at once).
 */
export const HOST_BREAKER = `
local PROBES = {'${BREAKER.probe1}', '${BREAKER.probe2}', '${BREAKER.probe3}'}

-- Returns nil, the epoch, and true where the breaker is closed: then every file may go.
-- Or the time (ms) to ask again.
local function breakerAdmit(key, probeMs)
  local breaker = redis.call('HMGET', key, '${BREAKER.state}', '${BREAKER.openUntilMs}', '${BREAKER.epoch}',
    '${BREAKER.probe1}', '${BREAKER.probe2}', '${BREAKER.probe3}', '${BREAKER.openedMs}')
  local state, epoch = breaker[1], breaker[3] or '0'
  if not state then return nil, epoch, true end
  if state == '${BREAKER_STATE.open}' then
    local openUntilMs, openedMs = tonumber(breaker[2]), tonumber(breaker[7] or '0')
    if openedMs > nowMs then -- the clock was set back
      openUntilMs = openUntilMs - openedMs + nowMs
      redis.call('HSET', key, '${BREAKER.openUntilMs}', openUntilMs, '${BREAKER.openedMs}', nowMs)
    end
    if openUntilMs > nowMs then return openUntilMs end
    epoch = tostring(tonumber(epoch) + 1)
    redis.call('HSET', key, '${BREAKER.state}', '${BREAKER_STATE.halfOpen}', '${BREAKER.epoch}', epoch,
      '${BREAKER.probe1}', nowMs + probeMs)
    redis.call('HDEL', key, '${BREAKER.probe2}', '${BREAKER.probe3}')
    return nil, epoch
  end
  local firstExpiryMs
  for nth, probe in ipairs(PROBES) do
    local expiryMs = tonumber(breaker[3 + nth] or '0')
    if expiryMs <= nowMs then
      redis.call('HSET', key, probe, nowMs + probeMs)
      return nil, epoch
    end
    if expiryMs > nowMs + ${MAX_PROBE_MS} then -- the clock was set back
      expiryMs = nowMs + ${MAX_PROBE_MS}
      redis.call('HSET', key, probe, expiryMs)
    end
    if not firstExpiryMs or expiryMs < firstExpiryMs then firstExpiryMs = expiryMs end
  end
  return math.min(firstExpiryMs, nowMs + ${MAX_PROBE_WAIT_MS})
end

-- Returns until when (ms) the report opened the breaker, or 0. A report from an epoch that is over changes nothing.
local function breakerReport(key, report)
  local breaker = redis.call('HMGET', key, '${BREAKER.state}', '${BREAKER.epoch}', '${BREAKER.failures}',
    '${BREAKER.probe1}', '${BREAKER.probe2}', '${BREAKER.probe3}')
  local state, epoch, failures, verdict = breaker[1], report.epoch, breaker[3], report.verdict
  if (breaker[2] or '0') ~= epoch then return 0 end
  if verdict == 'none' then
    -- A probe that learnt nothing makes room for another one. It need not be the very one: all probes are alike.
    if state == '${BREAKER_STATE.halfOpen}' then
      for nth, probe in ipairs(PROBES) do
        if breaker[3 + nth] then
          redis.call('HDEL', key, probe)
          break
        end
      end
    end
    return 0
  end
  if verdict == 'ok' then
    if state or failures then
      redis.call('HSET', key, '${BREAKER.epoch}', tonumber(epoch) + (state and 1 or 0))
      redis.call('HDEL', key, '${BREAKER.state}', '${BREAKER.openUntilMs}', '${BREAKER.openedMs}',
        '${BREAKER.failures}', '${BREAKER.probe1}', '${BREAKER.probe2}', '${BREAKER.probe3}')
    end
    return 0
  end
  failures = tonumber(failures or '0') + 1
  if state ~= '${BREAKER_STATE.halfOpen}' and failures < report.threshold and not report.force then
    redis.call('HSET', key, '${BREAKER.failures}', failures)
    redis.call('PEXPIRE', key, math.max(report.ttlMs, ${FAILURES_TTL_MS}))
    return 0
  end
  local untilMs = nowMs + math.max(report.ttlMs, report.retryAfterMs)
  redis.call('HSET', key, '${BREAKER.state}', '${BREAKER_STATE.open}', '${BREAKER.openUntilMs}', untilMs,
    '${BREAKER.openedMs}', nowMs, '${BREAKER.epoch}', tonumber(epoch) + 1)
  redis.call('HDEL', key, '${BREAKER.failures}', '${BREAKER.probe1}', '${BREAKER.probe2}', '${BREAKER.probe3}')
  redis.call('HINCRBY', key, '${BREAKER.opens}', 1)
  redis.call('PEXPIRE', key, untilMs - nowMs + ${OPENED_TTL_MS})
  return untilMs
end
`;
