import type { Redis } from "ioredis";
import { z } from "zod";
import { SettingsError } from "../errors.js";
import { newRunId } from "../ids.js";
import { OUTCOMES } from "../outcome.js";
import { isProcessDead } from "../process-name.js";
import { pipelined, Script } from "../redis/script.js";
import { type Run, type RunCounts, type RunSecrets, type RunSpec, runSpecSchema } from "../run.js";
import { RunLostError } from "./backlog.js";
import { CLAIM_BUCKETS, type Keys } from "./keys.js";
import { FINISH, HOLD, LEAVE, NOTE, TAKE } from "./lua/ledger.lua.js";
import { FOLLOW_MS } from "./outcome-stream.js";

/** Secrets of a run are forgotten after so long; a retry after that needs them anew. */
const SECRETS_SECONDS = 7 * 86_400;
/** Outcomes of a run that has ended are kept for those who follow it for so long. */
const UNREAD_SECONDS = 3_600;
/** Runs beyond this many are forgotten, oldest first. */
const KEPT_RUNS = 200;

/** What did not succeed, as the ledger keeps it. */
const failureSchema = z.object({
  job: z.object({ s: z.string(), d: z.string() }).loose(),
  error: z.object({ class: z.string(), message: z.string() }),
  attempts: z.number().default(0),
});
export type Failure = z.infer<typeof failureSchema> & { index: number };

/** Who expands a fleet's run, perhaps on another machine, is thought dead when it has not said so for so long. */
const PRODUCER_MS = 15_000;

const takeScript = new Script(TAKE);
const holdScript = new Script(HOLD);
const leaveScript = new Script(LEAVE);
const finishScript = new Script(FINISH);
const noteScript = new Script(NOTE);

/** How a fleet's run stands. */
export interface Standing {
  cancelled: boolean;
  sealed: boolean;
  /** Chunks in its backlog. */
  chunks: number;
}

/** Runs and what became of their files. The bitmaps are the truth about files; the hash is about the run. */
export class Ledger {
  /** @param whereabouts where a run was looked for in vain, for people, with what they can do; "" to say nothing. */
  constructor(
    private readonly redis: Redis,
    private readonly keys: Keys,
    private readonly owner: string,
    private readonly whereabouts = "",
  ) {}

  /** @param id of a run that Redis has forgotten; a new one otherwise. */
  async create(spec: RunSpec, secrets: RunSecrets, id = newRunId()): Promise<string> {
    const started = Date.now();
    await pipelined(this.redis, (redis) =>
      redis
        .multi()
        .hset(this.keys.run(id), {
          state: "running",
          owner: this.owner,
          started,
          spec: JSON.stringify(spec),
          batch: 0,
          files: 0,
          bytes: 0,
          generation: 0,
          ...(spec.fleet ? { follow: started + FOLLOW_MS } : {}),
        })
        .hset(this.keys.secrets(id), {
          headers: JSON.stringify(secrets.headers),
          sources: JSON.stringify(secrets.sources),
        })
        .expire(this.keys.secrets(id), SECRETS_SECONDS)
        .zadd(this.keys.runs(), started, id),
    );
    if (spec.fleet) {
      await this.hold(id);
      await this.redis.sadd(this.keys.active(), id);
    }
    return id;
  }

  /** Forgets the oldest runs beyond what is kept, except those that are being worked on. */
  async prune(): Promise<void> {
    const old = await this.redis.zrange(this.keys.runs(), "0", String(-KEPT_RUNS - 1));
    for (const id of old) {
      const owner = await this.redis.hget(this.keys.run(id), "owner");
      const over = !(await this.redis.sismember(this.keys.active(), id));
      if (over && (!owner || isProcessDead(owner))) await this.#forget(id);
    }
  }

  /**
   * Forgets runs that ended longer ago; of runs of one machine also those that began longer ago, were interrupted, and
   * that nobody works on.
   *
   * @returns how many, and the lists that were kept for those who would go on with them.
   */
  async forgetOlderThan(ageMs: number): Promise<{ runs: number; lists: string[] }> {
    const beforeMs = Date.now() - ageMs;
    const lists: string[] = [];
    let runs = 0;
    for (const id of await this.redis.zrange(this.keys.runs(), "0", "-1")) {
      const hash = await this.redis.hgetall(this.keys.run(id));
      if (hash.ended) {
        if (Number(hash.ended) > beforeMs || (hash.owner && !isProcessDead(hash.owner))) continue;
        if (await this.redis.sismember(this.keys.active(), id)) continue;
      } else {
        const run = readRun(id, hash);
        if (run?.state !== "interrupted" || run.spec.fleet || run.startedMs > beforeMs) continue;
        // Somebody may be about to go on with it: it is forgotten by who has it.
        if ((await this.#tryTake(run)) !== "OK") continue;
        if (run.spec.listIsStdin && run.spec.list !== undefined) lists.push(run.spec.list);
      }
      await this.#forget(id);
      runs++;
    }
    return { runs, lists };
  }

  async #forget(id: string): Promise<void> {
    if ((await this.redis.hget(this.keys.run(id), "state")) !== "done") await this.#forgetQueues(id);
    await this.forgetClaims(id, undefined);
    await this.redis.unlink(
      this.keys.run(id),
      this.keys.done(id),
      this.keys.failed(id),
      this.keys.backlog(id),
      this.keys.secrets(id),
      this.keys.inFlight(id),
      this.keys.outcomes(id),
      this.keys.followers(id),
      ...OUTCOMES.map((outcome) => this.keys.outcome(id, outcome)),
    );
    await this.redis.zrem(this.keys.runs(), id);
  }

  /** Queues that an interrupted run left. */
  async #forgetQueues(id: string): Promise<void> {
    const pattern = `${this.keys.queuePrefix()}:${this.keys.queue(id)}-*`;
    let cursor = "0";
    do {
      // SCAN names no key: on a Cluster the command before it leads both to the node that has the fleet's keys.
      const [, page] = await pipelined(this.redis, (redis) =>
        redis.pipeline().exists(this.keys.run(id)).scan(cursor, "MATCH", pattern, "COUNT", 1000),
      );
      const [next, names] = page as [string, string[]];
      cursor = next;
      if (names.length > 0) await this.redis.unlink(...names);
    } while (cursor !== "0");
  }

  /** Claims serve to find duplicates while a run is expanded; `buckets` undefined means all of them. */
  async forgetClaims(id: string, buckets: Iterable<number> | undefined): Promise<void> {
    const all = buckets ?? Array.from({ length: CLAIM_BUCKETS }, (_, at) => at);
    const names = [...all].map((bucket) => this.keys.claims(id, bucket));
    for (let from = 0; from < names.length; from += 1000)
      await this.redis.unlink(...names.slice(from, from + 1000));
  }

  /** @throws SettingsError when there is no such run. */
  async get(id: string): Promise<Run> {
    const hash = await this.redis.hgetall(this.keys.run(id));
    if (!hash.spec) throw new SettingsError(`no such run: ${id}${this.whereabouts} (drover runs lists them)`);
    const run = readRun(id, hash);
    if (!run) throw new SettingsError(`run ${id} was made by another version of Drover: start a new sync`);
    return run;
  }

  /** Newest first; runs that another version of Drover made are left out. */
  async list(most = KEPT_RUNS): Promise<Run[]> {
    const ids = await this.redis.zrange(this.keys.runs(), "0", String(most - 1), "REV");
    const runs: Run[] = [];
    for (const id of ids) {
      const hash = await this.redis.hgetall(this.keys.run(id));
      const run = readRun(id, hash);
      if (run) runs.push(run);
    }
    return runs;
  }

  async counts(id: string): Promise<RunCounts> {
    const others = OUTCOMES.filter((outcome) => outcome !== "copied");
    const answers = await pipelined(this.redis, (redis) => {
      const pipeline = redis.pipeline().hget(this.keys.run(id), "files").bitcount(this.keys.done(id));
      for (const outcome of others) pipeline.bitcount(this.keys.outcome(id, outcome));
      return pipeline;
    });
    const [files = 0, settled = 0, ...rest] = answers.map((value) => Number(value ?? 0));
    const counts = Object.fromEntries(others.map((outcome, at) => [outcome, rest[at] ?? 0]));
    const copied = settled - rest.reduce((sum, each) => sum + each, 0);
    return { files, settled, copied, ...counts } as unknown as RunCounts;
  }

  /** What did not succeed, a page at a time. */
  async *failures(id: string): AsyncGenerator<Failure[]> {
    let cursor = "0";
    do {
      const [next, flat] = await this.redis.hscan(this.keys.failed(id), cursor, "COUNT", 500);
      cursor = next;
      const page: Failure[] = [];
      for (let at = 0; at + 1 < flat.length; at += 2) {
        const parsed = failureSchema.parse(JSON.parse(flat[at + 1] as string));
        page.push({ ...parsed, index: Number(flat[at]) });
      }
      if (page.length > 0) yield page;
    } while (cursor !== "0");
  }

  /** @throws SettingsError when they have expired. */
  async secrets(id: string): Promise<RunSecrets> {
    const [headers, sources] = await this.redis.hmget(this.keys.secrets(id), "headers", "sources");
    if (headers == null || sources == null) {
      throw new SettingsError(`the credentials of run ${id} have expired: start a new sync`);
    }
    return { headers: JSON.parse(headers), sources: JSON.parse(sources) };
  }

  /** Keeps sources with their secrets, by flight. */
  async keepSecretSources(id: string, sources: Map<string, string>): Promise<void> {
    if (sources.size === 0) return;
    const key = this.keys.secrets(id);
    await pipelined(this.redis, (redis) => redis.pipeline().hset(key, sources).expire(key, SECRETS_SECONDS));
  }

  async secretSource(id: string, flight: string): Promise<string | undefined> {
    return (await this.redis.hget(this.keys.secrets(id), flight)) ?? undefined;
  }

  /**
   * Makes this process the one that works on the run.
   *
   * @throws SettingsError when another live process has it.
   */
  async take(run: Run): Promise<void> {
    const answer = await this.#tryTake(run);
    if (answer === "OK") return;
    throw new SettingsError(
      `run ${run.id} is being worked on by process ${processNumber(answer)}: let it finish`,
    );
  }

  /** @returns `OK`, or who has it. */
  async #tryTake(run: Run): Promise<string> {
    const dead = run.owner !== "" && isProcessDead(run.owner) ? run.owner : "";
    return String(
      await takeScript.run(
        this.redis,
        [this.keys.run(run.id), this.keys.active()],
        [this.owner, dead, run.spec.fleet ? run.id : "", PRODUCER_MS],
      ),
    );
  }

  /** There are no more files. @throws RunLostError when the run is another process's by now. */
  async seal(id: string): Promise<void> {
    await this.#note(id, "sealed", "1");
  }

  /**
   * Keeps why nothing is removed at the destination although it was asked for.
   *
   * @throws RunLostError when the run is another process's by now.
   */
  async noteDeletionRefused(id: string, why: string): Promise<void> {
    await this.#note(id, "undeleted", why);
  }

  async #note(id: string, field: string, value: string): Promise<void> {
    const written = await noteScript.run(this.redis, [this.keys.run(id)], [this.owner, field, value]);
    if (written !== 1) throw RunLostError.takenOver(id);
  }

  /** A run that removed nothing is to try that again, once what failed was taken up again. */
  async reopenDeletion(id: string): Promise<void> {
    await this.redis.hdel(this.keys.run(id), "sealed", "undeleted");
  }

  /** Says that the producer of a fleet's run lives. @returns whether the run is still its own. */
  async hold(id: string): Promise<boolean> {
    return (await holdScript.run(this.redis, [this.keys.run(id)], [this.owner, PRODUCER_MS])) === 1;
  }

  /** Runs of the fleet that are not done. */
  active(): Promise<string[]> {
    return this.redis.smembers(this.keys.active());
  }

  /** @returns whether everything of a fleet's run is settled: then it is ended. */
  async finishFleet(id: string): Promise<boolean> {
    const keys = [this.keys.run(id), this.keys.done(id)];
    if ((await finishScript.run(this.redis, keys, ["*", Date.now()])) !== 1) return false;
    await this.redis.unlink(this.keys.inFlight(id));
    await this.redis.expire(this.keys.outcomes(id), UNREAD_SECONDS);
    await this.redis.expire(this.keys.followers(id), UNREAD_SECONDS);
    await this.redis.srem(this.keys.active(), id);
    return true;
  }

  /** Last batch that Redis has, and whether it knows that there are no more; undefined where the run is forgotten. */
  async registered(id: string): Promise<{ batch: number; sealed: boolean } | undefined> {
    const [batch, sealed] = await this.redis.hmget(this.keys.run(id), "batch", "sealed");
    return batch === null ? undefined : { batch: Number(batch), sealed: sealed === "1" };
  }

  /** @returns `done`, `open` while files are not settled, or `lost` when another process has taken the run. */
  async finish(id: string): Promise<"done" | "open" | "lost"> {
    const answer = await finishScript.run(
      this.redis,
      [this.keys.run(id), this.keys.done(id)],
      [this.owner, Date.now()],
    );
    return answer === 1 ? "done" : answer === 0 ? "open" : "lost";
  }

  /** Gives an unfinished run back, if it is still this process's: it can be resumed. */
  async leave(id: string): Promise<void> {
    await leaveScript.run(this.redis, [this.keys.run(id)], [this.owner]);
  }

  /** Asks whoever works on the run to stop. */
  async cancel(id: string): Promise<void> {
    await this.redis.hset(this.keys.run(id), "state", "cancelled", "ended", Date.now());
  }

  async isCancelled(id: string): Promise<boolean> {
    return (await this.redis.hget(this.keys.run(id), "state")) === "cancelled";
  }

  /** State of many runs of a fleet, and chunks in their backlogs; undefined for a run that is gone. */
  async standings(ids: string[]): Promise<(Standing | undefined)[]> {
    const answers = await pipelined(this.redis, () => {
      const pipeline = this.redis.pipeline();
      for (const id of ids) pipeline.hmget(this.keys.run(id), "state", "sealed").hlen(this.keys.backlog(id));
      return pipeline;
    });
    return ids.map((_, at) => {
      const [state, sealed] = answers[at * 2] as (string | null)[];
      if (!state) return undefined;
      return {
        cancelled: state === "cancelled",
        sealed: sealed === "1",
        chunks: answers[at * 2 + 1] as number,
      };
    });
  }

  /** Files that are registered and not settled; undefined for a run that is cancelled or forgotten. */
  async openFiles(id: string): Promise<number | undefined> {
    const [run, settled] = await pipelined(this.redis, (redis) =>
      redis.pipeline().hmget(this.keys.run(id), "state", "files").bitcount(this.keys.done(id)),
    );
    const [state, files] = run as (string | null)[];
    if (!state || state === "cancelled") return undefined;
    return Number(files ?? 0) - (settled as number);
  }

  /** Which files of a range are settled, as the bytes of the bitmap from `firstIndex`'s byte on. */
  async settledBytes(id: string, firstIndex: number, lastIndex: number): Promise<Buffer> {
    return await this.redis.getrangeBuffer(this.keys.done(id), firstIndex >> 3, lastIndex >> 3);
  }
}

/** The pid in a process name, for people. */
function processNumber(owner: string): string {
  return owner.split(".")[2] ?? owner;
}

function readRun(id: string, hash: Record<string, string>): Run | undefined {
  const spec = runSpecSchema.safeParse(JSON.parse(hash.spec ?? "null"));
  if (!spec.success) return undefined;
  const owner = hash.owner ?? "";
  const running = hash.state === "running";
  const { fleet } = spec.data;
  const idle = owner === "" || isProcessDead(owner) || (fleet && Number(hash.ownerUntil ?? 0) < Date.now());
  const interrupted = running && idle && !(fleet && hash.sealed === "1");
  return {
    id,
    state: interrupted ? "interrupted" : (hash.state as Run["state"]),
    startedMs: Number(hash.started),
    endedMs: hash.ended === undefined ? undefined : Number(hash.ended),
    owner,
    spec: spec.data,
    batch: Number(hash.batch),
    cursor: hash.cursor ?? "",
    sealed: hash.sealed === "1",
    deletionRefused: hash.undeleted ?? "",
    bytes: Number(hash.bytes ?? 0),
    generation: Number(hash.generation ?? 0),
  };
}
