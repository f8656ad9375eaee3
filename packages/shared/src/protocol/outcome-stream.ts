import type { Redis } from "ioredis";
import type { Outcome } from "../outcome.js";
import type { Keys } from "./keys.js";
import { readOutcomesScript } from "./lua/read-outcomes.lua.js";

/**
 * Outcomes are kept for a follower until it has not asked for this time, in milliseconds: a slow link or a Redis that
 * restarts must cost nobody a line, and a follower that is gone for good must not fill Redis.
 */
export const FOLLOW_MS = 180_000;
/** Outcomes that are read in one call at most. */
export const MOST_READ = 1_000;

/**
 * The outcomes of a fleet's run as one follower reads them: all that is still kept when it begins, and every one that
 * comes while it follows, whoever else reads them too.
 */
export class OutcomeStream {
  /** Id of the last outcome that was read. */
  #lastId = "0-0";

  /** @param follower name of its own among all that follow the run. */
  constructor(
    private readonly redis: Redis,
    private readonly keys: Keys,
    private readonly runId: string,
    private readonly follower: string,
  ) {}

  /**
   * Reads what has come since the last call, and has what comes kept for {@link FOLLOW_MS}. An answer that is lost on
   * its way is given again.
   *
   * @returns outcomes with the indexes of their files, {@link MOST_READ} at most. One may come twice after Redis has
   *   forgotten its last second.
   */
  async read(): Promise<[number, Outcome][]> {
    const { keys, runId } = this;
    const entries = (await readOutcomesScript.run(
      this.redis,
      [keys.run(runId), keys.outcomes(runId), keys.followers(runId)],
      [this.follower, this.#lastId, FOLLOW_MS, MOST_READ],
    )) as [string, string[]][];
    this.#lastId = entries.at(-1)?.[0] ?? this.#lastId;
    return entries.map(([, fields]) => [Number(fields[1]), JSON.parse(fields[3] as string) as Outcome]);
  }

  /** Ends following: nothing is kept for this follower any more. */
  async leave(): Promise<void> {
    await this.redis.hdel(this.keys.followers(this.runId), this.follower);
  }
}
