import type { Redis } from "ioredis";
import type { Outcome } from "../outcome.js";
import { Script } from "../redis/script.js";
import type { Keys } from "./keys.js";

/**
 * Outcomes are kept for those who follow a run until they have not asked for so long: a slow link or a Redis that
 * restarts must cost nobody a line, and who is gone for good must not fill Redis.
 */
export const FOLLOW_MS = 180_000;
/** Outcomes that are read at once. */
export const MOST_READ = 1_000;

/**
 * Reads on for one of those who follow a run. What all of them have read is trimmed.
 * KEYS: run, outcomes, followers (hash: name → 'ms until which it is thought alive' 'last id that it has').
 * ARGV: follower, last id that it has, ms, most entries. Returns entries.
 */
const READ = new Script(`
if redis.call('EXISTS', KEYS[1]) == 0 then return {} end
local nowMs = tonumber(redis.call('TIME')[1]) * 1000
local untilMs, has = (redis.call('HGET', KEYS[3], ARGV[1]) or '0 '):match('(%d+) (.*)')
if has ~= ARGV[2] or tonumber(untilMs) < nowMs + ARGV[3] * 0.9 then
  local mine = string.format('%.0f', nowMs + ARGV[3])
  redis.call('HSET', KEYS[1], 'follow', mine)
  redis.call('HSET', KEYS[3], ARGV[1], mine .. ' ' .. ARGV[2])
  local leastMs, leastSeq
  local all = redis.call('HGETALL', KEYS[3])
  for at = 1, #all, 2 do
    local aliveMs, ms, seq = all[at + 1]:match('(%d+) (%d+)-(%d+)')
    ms, seq = tonumber(ms), tonumber(seq)
    if tonumber(aliveMs) < nowMs then redis.call('HDEL', KEYS[3], all[at])
    elseif not leastMs or ms < leastMs or (ms == leastMs and seq < leastSeq) then leastMs, leastSeq = ms, seq end
  end
  redis.call('XTRIM', KEYS[2], 'MINID', string.format('%.0f-%.0f', leastMs, leastSeq + 1))
end
return redis.call('XRANGE', KEYS[2], '(' .. ARGV[2], '+', 'COUNT', ARGV[4])
`);

/**
 * The outcomes of a fleet's run as one follower reads them: all that is still kept when it begins, and every one that
 * comes while it follows, whoever else reads them too.
 */
export class OutcomeStream {
  #lastId = "0-0";

  /** @param follower name of its own among all that follow the run. */
  constructor(
    private readonly redis: Redis,
    private readonly keys: Keys,
    private readonly runId: string,
    private readonly follower: string,
  ) {}

  /**
   * Has them kept, and tells what has come since the last call. An answer that is lost on its way is given again.
   *
   * @returns outcomes with the indexes of their files, {@link MOST_READ} at most. One may come twice after Redis has
   *   forgotten its last second.
   */
  async read(): Promise<[number, Outcome][]> {
    const { keys, runId } = this;
    const entries = (await READ.run(
      this.redis,
      [keys.run(runId), keys.outcomes(runId), keys.followers(runId)],
      [this.follower, this.#lastId, FOLLOW_MS, MOST_READ],
    )) as [string, string[]][];
    this.#lastId = entries.at(-1)?.[0] ?? this.#lastId;
    return entries.map(([, fields]) => [Number(fields[1]), JSON.parse(fields[3] as string) as Outcome]);
  }

  /** Nothing is kept for this follower any more. */
  async leave(): Promise<void> {
    await this.redis.hdel(this.keys.followers(this.runId), this.follower);
  }
}
