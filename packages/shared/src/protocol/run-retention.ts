import type { Redis } from "ioredis";
import { OUTCOMES } from "../outcome.js";
import { isProcessDead } from "../process-name.js";
import { pipelined } from "../redis/script.js";
import { RUN } from "./fields.js";
import { IDEMPOTENCY_KEPT_MS } from "./idempotency.js";
import type { Keys } from "./keys.js";
import type { Ledger } from "./ledger.js";
import { indexRunsScript } from "./lua/index-runs.lua.js";

/** Where runs are kept. */
export interface RunStore {
  redis: Redis;
  keys: Keys;
  ledger: Ledger;
}

const DAY_MS = 86_400_000;
/** Runs of each kind that went well are kept for this time after they ended, and at most so many. */
export const KEPT_MS = 7 * DAY_MS;
export const KEPT_RUNS = 20_000;
/** The same of runs in which something failed, was cancelled, or was not deleted. */
const KEPT_FAILED_MS = 30 * DAY_MS;
const KEPT_FAILED_RUNS = 1_000;
/** Most runs that are forgotten by the way, so that no command takes long for it. The next ones go on. */
const MOST_AT_ONCE = 100;
/** Runs that are read or filed in one call. */
const PAGE = 200;
/** Keys that are looked at in one call. */
const SCAN_COUNT = 1_000;

export interface PruneOptions {
  /** Runs of each kind that went well and are kept. Default {@link KEPT_RUNS}. */
  keepRuns?: number | undefined;
  /** Most runs to forget of each kind. Default 100. */
  most?: number;
  /** Whether to look at each run anew, which finds those that an earlier version of Drover has ended. Default false. */
  thorough?: boolean;
}

/**
 * Forgets runs that ended long ago, and the oldest where there are too many. Syncs and fetches are counted apart, and so are
 * those that went well and those that did not. Interrupted runs are never forgotten by this.
 *
 * @returns how many.
 */
export async function pruneRuns(store: RunStore, options: PruneOptions = {}): Promise<number> {
  const { redis, keys } = store;
  const { keepRuns = KEPT_RUNS, most = MOST_AT_ONCE, thorough = false } = options;
  await fileRuns(store, thorough);
  const nowMs = Date.now();
  const [, ...indexes] = keys.runIndexes();
  const rules = indexes.map((index, at) =>
    at % 2 === 0
      ? { index, runs: keepRuns, beforeMs: nowMs - KEPT_MS }
      : { index, runs: KEPT_FAILED_RUNS, beforeMs: nowMs - KEPT_FAILED_MS },
  );
  const answers = await pipelined(redis, () => {
    const pipeline = redis.pipeline();
    for (const { index, beforeMs } of rules) pipeline.zcard(index).zcount(index, "-inf", beforeMs);
    return pipeline;
  });
  let forgotten = 0;
  for (const [at, { index, runs }] of rules.entries()) {
    const [kept = 0, aged = 0] = answers.slice(at * 2, at * 2 + 2) as number[];
    const surplus = Math.min(Math.max(kept - runs, aged), most);
    if (surplus > 0)
      forgotten += await forgetEnded(store, await redis.zrange(index, "0", String(surplus - 1)));
  }
  return forgotten;
}

/** Runs that are forgotten, and the copies of piped lists that were kept for those who would go on with them. */
export interface Forgotten {
  runs: number;
  lists: string[];
}

/**
 * Forgets runs that ended longer ago than `ageMs` milliseconds, however they ended; and interrupted runs as
 * {@link forgetInterrupted}.
 */
export async function forgetRunsOlderThan(store: RunStore, ageMs: number): Promise<Forgotten> {
  const { redis, keys } = store;
  await fileRuns(store, true);
  const [, ...indexes] = keys.runIndexes();
  let runs = 0;
  for (const index of indexes)
    runs += await forgetEnded(store, await redis.zrangebyscore(index, "-inf", Date.now() - ageMs));
  const interrupted = await forgetInterrupted(store, ageMs);
  return { runs: runs + interrupted.runs, lists: interrupted.lists };
}

/** Forgets interrupted runs of one machine that began longer ago than `ageMs` milliseconds and that nobody works on. */
export async function forgetInterrupted(store: RunStore, ageMs: number): Promise<Forgotten> {
  const { ledger } = store;
  const beforeMs = Date.now() - ageMs;
  const gone: string[] = [];
  const lists: string[] = [];
  for (const run of await ledger.unfinished()) {
    if (run.state !== "interrupted" || run.spec.fleet || run.startedMs > beforeMs) continue;
    // Somebody may be about to go on with it: only whoever has it forgets it.
    if ((await ledger.tryTake(run)) !== undefined) continue;
    if (run.spec.listIsStdin && run.spec.list !== undefined) lists.push(run.spec.list);
    gone.push(run.id);
  }
  await forgetRuns(store, gone);
  return { runs: gone.length, lists };
}

/**
 * Files runs by whether they have ended, where they are not. Those that an earlier version of Drover made or forgot are in no
 * index, or still in one: then there are not as many in the indexes as there are runs.
 *
 * @param thorough whether to look at each run in any case.
 */
export async function fileRuns({ redis, keys }: Omit<RunStore, "ledger">, thorough = false): Promise<void> {
  const all = [keys.runs(), ...keys.runIndexes()];
  const [runs = 0, ...filed] = (await pipelined(redis, () => {
    const pipeline = redis.pipeline();
    for (const each of all) pipeline.zcard(each);
    return pipeline;
  })) as number[];
  if (!thorough && runs === filed.reduce((sum, each) => sum + each, 0)) return;
  const ids = new Set<string>();
  for (const each of all) for (const id of await redis.zrange(each, "0", "-1")) ids.add(id);
  await fileAnew(redis, keys, [...ids]);
}

async function fileAnew(redis: Redis, keys: Keys, ids: string[]): Promise<void> {
  for (const page of pagesOf(ids)) {
    const names = page.flatMap((id) => [keys.run(id), keys.failed(id)]);
    await indexRunsScript.run(redis, [keys.runs(), ...keys.runIndexes(), ...names], page);
  }
}

/** Forgets those of the runs that have ended and that nobody works on. @returns how many. */
async function forgetEnded(store: RunStore, ids: string[]): Promise<number> {
  const { redis, keys } = store;
  let forgotten = 0;
  for (const page of pagesOf(ids)) {
    const answers = await pipelined(redis, () => {
      const pipeline = redis.pipeline();
      for (const id of page)
        pipeline.hmget(keys.run(id), RUN.endedMs, RUN.owner).sismember(keys.active(), id);
      return pipeline;
    });
    const endOf = (at: number) => answers[at * 2] as (string | null)[];
    // Another version of Drover has taken these up again, or has forgotten them.
    const stray = page.filter((_, at) => endOf(at)[0] === null);
    if (stray.length > 0) await fileAnew(redis, keys, stray);
    const over = page.filter((_, at) => {
      const [endedMs, owner] = endOf(at);
      return endedMs && answers[at * 2 + 1] === 0 && (!owner || isProcessDead(owner));
    });
    await forgetRuns(store, over);
    forgotten += over.length;
  }
  return forgotten;
}

async function forgetRuns(store: RunStore, ids: string[]): Promise<void> {
  const { redis, keys, ledger } = store;
  const unsettled: string[] = [];
  const requests = new Map<string, { request: string; untilMs: number }>();
  for (const page of pagesOf(ids)) {
    const states = (await pipelined(redis, () => {
      const pipeline = redis.pipeline();
      for (const id of page)
        pipeline.hmget(keys.run(id), RUN.state, RUN.sealed, RUN.idempotency, RUN.startedMs);
      return pipeline;
    })) as (string | null)[][];
    for (const [at, id] of page.entries()) {
      const [state, sealed, request, startedMs] = states[at] as (string | null)[];
      if (request) requests.set(id, { request, untilMs: Number(startedMs) + IDEMPOTENCY_KEPT_MS });
      if (state !== "done") unsettled.push(id);
      if (sealed !== "1") await ledger.forgetClaims(id, undefined); // they are forgotten before it is sealed
    }
  }
  await forgetQueues(store, unsettled);
  for (const page of pagesOf(ids))
    await pipelined(redis, () => {
      const pipeline = redis.pipeline();
      for (const id of page) {
        pipeline.unlink(...namesOf(keys, id));
        const made = requests.get(id);
        if (made) pipeline.pexpireat(keys.idempotency(made.request), made.untilMs); // in the past: gone at once
      }
      const indexes = [keys.runs(), ...keys.runIndexes(), keys.webhooks()];
      for (const index of indexes) pipeline.zrem(index, ...page);
      return pipeline;
    });
}

/** All keys of a run but those of its queues and claims. */
function namesOf(keys: Keys, id: string): string[] {
  return [
    keys.run(id),
    keys.done(id),
    keys.failed(id),
    keys.failureGroups(id),
    keys.backlog(id),
    keys.secrets(id),
    keys.webhook(id),
    keys.webhookTarget(id),
    keys.inFlight(id),
    keys.joined(id),
    keys.outcomes(id),
    keys.followers(id),
    ...OUTCOMES.map((outcome) => keys.outcome(id, outcome)),
  ];
}

/** Forgets the queues that interrupted runs left. */
async function forgetQueues({ redis, keys }: RunStore, ids: string[]): Promise<void> {
  if (ids.length === 0) return;
  const queues = `${keys.queuePrefix()}:`;
  const pattern = ids.length === 1 ? `${queues}${keys.queue(ids[0] as string)}-*` : `${queues}*`;
  const gone = new Set(ids.map((id) => keys.queue(id)));
  // A queue is named by its run and a number: `run-0:wait`.
  const isGone = (name: string) => {
    const [queue = ""] = name.slice(queues.length).split(":");
    return gone.has(queue.slice(0, queue.lastIndexOf("-")));
  };
  let cursor = "0";
  do {
    // SCAN names no key: on a Cluster the command before it leads both to the node that has the fleet's keys.
    const [, page] = await pipelined(redis, () =>
      redis.pipeline().exists(keys.runs()).scan(cursor, "MATCH", pattern, "COUNT", SCAN_COUNT),
    );
    const [next, names] = page as [string, string[]];
    cursor = next;
    const left = names.filter(isGone);
    if (left.length > 0) await redis.unlink(...left);
  } while (cursor !== "0");
}

function pagesOf(ids: string[]): string[][] {
  return Array.from({ length: Math.ceil(ids.length / PAGE) }, (_, at) =>
    ids.slice(at * PAGE, (at + 1) * PAGE),
  );
}
