import type { Redis } from "ioredis";
import { OUTCOMES } from "../outcome.js";
import { isProcessDead } from "../process-name.js";
import { pipelined } from "../redis/script.js";
import { RUN } from "./fields.js";
import type { Keys } from "./keys.js";
import { KEPT_RUNS, type Ledger } from "./ledger.js";
import { readRun } from "./run-record.js";

/** Where runs are kept. */
export interface RunStore {
  redis: Redis;
  keys: Keys;
  ledger: Ledger;
}

/** Keys that are looked at in one call. */
const SCAN_COUNT = 1_000;

/** Forgets the oldest runs beyond the {@link KEPT_RUNS} newest, except those that somebody works on. */
export async function pruneRuns(store: RunStore): Promise<void> {
  const { redis, keys } = store;
  for (const id of await redis.zrange(keys.runs(), "0", String(-KEPT_RUNS - 1))) {
    const owner = await redis.hget(keys.run(id), RUN.owner);
    const isActive = await redis.sismember(keys.active(), id);
    if (!isActive && (!owner || isProcessDead(owner))) await forgetRun(store, id);
  }
}

/**
 * Forgets runs that ended longer ago than `ageMs` milliseconds; and interrupted runs of one machine that began longer
 * ago and that nobody works on.
 *
 * @returns how many, and the copies of piped lists that were kept for those who would go on with them.
 */
export async function forgetRunsOlderThan(
  store: RunStore,
  ageMs: number,
): Promise<{ runs: number; lists: string[] }> {
  const { redis, keys, ledger } = store;
  const beforeMs = Date.now() - ageMs;
  const lists: string[] = [];
  let runs = 0;
  for (const id of await redis.zrange(keys.runs(), "0", "-1")) {
    const hash = await redis.hgetall(keys.run(id));
    const [endedMs, owner] = [hash[RUN.endedMs], hash[RUN.owner]];
    if (endedMs) {
      if (Number(endedMs) > beforeMs || (owner && !isProcessDead(owner))) continue;
      if (await redis.sismember(keys.active(), id)) continue;
    } else {
      const run = readRun(id, hash);
      if (run?.state !== "interrupted" || run.spec.fleet || run.startedMs > beforeMs) continue;
      // Somebody may be about to go on with it: only whoever has it forgets it.
      if ((await ledger.tryTake(run)) !== undefined) continue;
      if (run.spec.listIsStdin && run.spec.list !== undefined) lists.push(run.spec.list);
    }
    await forgetRun(store, id);
    runs++;
  }
  return { runs, lists };
}

async function forgetRun(store: RunStore, id: string): Promise<void> {
  const { redis, keys, ledger } = store;
  if ((await redis.hget(keys.run(id), RUN.state)) !== "done") await forgetQueues(store, id);
  await ledger.forgetClaims(id, undefined);
  await redis.unlink(
    keys.run(id),
    keys.done(id),
    keys.failed(id),
    keys.backlog(id),
    keys.secrets(id),
    keys.inFlight(id),
    keys.joined(id),
    keys.outcomes(id),
    keys.followers(id),
    ...OUTCOMES.map((outcome) => keys.outcome(id, outcome)),
  );
  await redis.zrem(keys.runs(), id);
}

/** Forgets the queues that an interrupted run left. */
async function forgetQueues({ redis, keys }: RunStore, id: string): Promise<void> {
  const pattern = `${keys.queuePrefix()}:${keys.queue(id)}-*`;
  let cursor = "0";
  do {
    // SCAN names no key: on a Cluster the command before it leads both to the node that has the fleet's keys.
    const [, page] = await pipelined(redis, () =>
      redis.pipeline().exists(keys.run(id)).scan(cursor, "MATCH", pattern, "COUNT", SCAN_COUNT),
    );
    const [next, names] = page as [string, string[]];
    cursor = next;
    if (names.length > 0) await redis.unlink(...names);
  } while (cursor !== "0");
}
