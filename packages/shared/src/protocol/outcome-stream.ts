import type { Redis } from "ioredis";
import type { Outcome } from "../outcome.js";
import type { Run } from "../run.js";
import type { Keys } from "./keys.js";
import { readOutcomesScript } from "./lua/read-outcomes.lua.js";

/**
 * Outcomes are kept for a follower until it has not asked for this time, in milliseconds: a slow link or a Redis that
 * restarts must cost nobody a line, and a follower that is gone for good must not fill Redis.
 */
export const FOLLOW_MS = 180_000;
/** Outcomes that are read in one call at most. */
export const MOST_READ = 1_000;

/** An entry of the stream: its id, and fields and values in turn. */
type Entry = [id: string, fields: string[]];

/**
 * The outcomes of a fleet's run as one follower reads them: all that is still kept when it begins, and every one that
 * comes while it follows, whoever else reads them too. Those from before the run was last resumed or retried are left out.
 */
export class OutcomeStream {
  /** Id of the last outcome that was read. */
  #lastId = "0-0";

  /** @param follower name of its own among all that follow the run. */
  constructor(
    private readonly redis: Redis,
    private readonly keys: Keys,
    private readonly run: Pick<Run, "id" | "generation">,
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
    const { keys, run } = this;
    for (;;) {
      const entries = (await readOutcomesScript.run(
        this.redis,
        [keys.run(run.id), keys.outcomes(run.id), keys.followers(run.id)],
        [this.follower, this.#lastId, FOLLOW_MS, MOST_READ],
      )) as Entry[];
      this.#lastId = entries.at(-1)?.[0] ?? this.#lastId;
      const current = entries
        .map(readEntry)
        .filter(({ generation = run.generation }) => generation >= run.generation);
      if (current.length > 0 || entries.length === 0)
        return current.map(({ index, outcome }) => [index, outcome]);
    }
  }

  /** Ends following: nothing is kept for this follower any more. */
  async leave(): Promise<void> {
    await this.redis.hdel(this.keys.followers(this.run.id), this.follower);
  }
}

/** An outcome that is kept. */
export interface KeptOutcome extends Outcome {
  /** When it was recorded, by the clock of Redis (Unix ms). */
  endedMs: number;
}

/**
 * The outcomes of a run that are still kept, the newest first, in pages. Of a file that was tried again, the last one.
 */
export async function* keptOutcomes(redis: Redis, keys: Keys, runId: string): AsyncGenerator<KeptOutcome[]> {
  const seen = new Set<number>();
  for (let before = "+"; ; ) {
    const entries = (await redis.xrevrange(keys.outcomes(runId), before, "-", "COUNT", MOST_READ)) as Entry[];
    const page: KeptOutcome[] = [];
    for (const entry of entries) {
      const { index, outcome } = readEntry(entry);
      if (seen.has(index)) continue;
      seen.add(index);
      page.push({ ...outcome, index, endedMs: Number.parseInt(entry[0], 10) });
    }
    if (page.length > 0) yield page;
    const last = entries.at(-1);
    if (entries.length < MOST_READ || last === undefined) return;
    before = `(${last[0]}`;
  }
}

function readEntry([, fields]: Entry): { index: number; outcome: Outcome; generation: number | undefined } {
  const [, index, , outcome = "{}", , generation] = fields; // in the order in which the scripts add them
  return {
    index: Number(index),
    outcome: JSON.parse(outcome) as Outcome,
    generation: generation === undefined ? undefined : Number(generation),
  };
}
