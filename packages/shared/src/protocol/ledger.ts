import type { Redis } from "ioredis";
import { SettingsError } from "../errors.js";
import type { RunCounts } from "../outcome.js";
import { OUTCOMES } from "../outcome.js";
import { isProcessDead } from "../process-name.js";
import { pipelined } from "../redis/script.js";
import type { Run } from "../run.js";
import { count } from "../telemetry.js";
import { ForgottenError, RunLostError } from "./backlog.js";
import { RUN } from "./fields.js";
import { OtherFormatError } from "./format.js";
import { CLAIM_BUCKETS, type Keys } from "./keys.js";
import { cancelScript } from "./lua/cancel.lua.js";
import { finishRunScript } from "./lua/finish.lua.js";
import { holdScript } from "./lua/hold.lua.js";
import { leaveScript } from "./lua/leave.lua.js";
import { noteFieldScript } from "./lua/note-field.lua.js";
import { sealScript } from "./lua/seal.lua.js";
import { settleLostScript } from "./lua/settle-lost.lua.js";
import { takeScript } from "./lua/take.lua.js";
import { readRun } from "./run-record.js";

/** Runs that are read in one call. */
const PAGE = 200;
/** Those who follow a run that has ended are forgotten after this time, in seconds. */
const FOLLOWERS_TTL_SECONDS = 3_600;
/**
 * The producer of a fleet's run, perhaps on another machine, is thought dead when it was silent for this time, in
 * milliseconds.
 */
export const PRODUCER_SILENCE_MS = 15_000;
/** Files that are ended in one call because nobody knows of them: Redis does nothing else meanwhile, about 10 ms. */
const LOST_AT_ONCE = 10_000;
/** What is recorded of them. */
const LOST = JSON.stringify({
  job: { s: "", d: "" },
  error: { class: "removed", message: "Redis has lost what this run was to copy: start a new sync" },
  attempts: 0,
});
/** Owner to the script that ends runs: anybody's. */
const ANYBODY = "*";

/** What a dispatcher needs to know of a fleet's run. */
export interface Standing {
  /** All its files have ended, and whoever saw that has said so. */
  ended: boolean;
  cancelled: boolean;
  /** All its files are registered. */
  sealed: boolean;
  /** Chunks in its backlog. */
  chunks: number;
}

/**
 * Runs and what became of their files. The truth about files is in bitmaps; the hash of a run is about the run alone.
 * Who records a run: record-run.ts; its secrets: secret-store.ts; what failed: run-failures.ts; who forgets old runs:
 * run-retention.ts.
 */
export class Ledger {
  /**
   * @param owner name of this process, see process-name.ts.
   * @param whereabouts where a run was looked for in vain, for people, with what they can do. Default "": nothing is
   *   said.
   */
  constructor(
    readonly redis: Redis,
    readonly keys: Keys,
    readonly owner: string,
    private readonly whereabouts = "",
  ) {}

  /**
   * Forgets the claims of a run, which serve to find duplicates while it is expanded.
   *
   * @param buckets that may have some; undefined for all.
   */
  async forgetClaims(id: string, buckets: Iterable<number> | undefined): Promise<void> {
    const all = buckets ?? Array.from({ length: CLAIM_BUCKETS }, (_, at) => at);
    const names = [...all].map((bucket) => this.keys.claims(id, bucket));
    for (let from = 0; from < names.length; from += 1000)
      await this.redis.unlink(...names.slice(from, from + 1000));
  }

  /** @throws SettingsError when there is no such run, or another version of Drover made it. */
  async get(id: string): Promise<Run> {
    const hash = await this.redis.hgetall(this.keys.run(id));
    if (!hash[RUN.spec]) throw this.#unknown(id);
    const run = readRun(id, hash);
    if (!run) throw new OtherFormatError(`run ${id} was made by another version of Drover: start a new sync`);
    return run;
  }

  /**
   * The id of a run as a person names it: the id, as much of its beginning as no other id has, or `latest` for the
   * newest.
   *
   * @throws SettingsError when there is no such run, or several are meant.
   */
  async find(given: string): Promise<string> {
    if ((await this.redis.exists(this.keys.run(given))) === 1) return given;
    const ids = await this.redis.zrange(this.keys.runs(), "0", "-1", "REV");
    const [found, ...others] =
      given === "latest" ? ids.slice(0, 1) : ids.filter((id) => id.startsWith(given));
    if (found === undefined) throw this.#unknown(given);
    if (others.length === 0) return found;
    const shown = [found, ...others].slice(0, 3).join(", ");
    const more = others.length > 2 ? `, and ${others.length - 2} more` : "";
    throw new SettingsError(`several runs begin with ${given}: ${shown}${more}`);
  }

  #unknown(given: string): SettingsError {
    return new SettingsError(`no such run: ${given}${this.whereabouts} (drover runs lists them)`);
  }

  /**
   * The newest runs, newest first. Those that another version of Drover made are left out.
   *
   * @param most default: all.
   */
  async list(most?: number): Promise<Run[]> {
    const last = most === undefined ? -1 : most - 1;
    return await this.#read(await this.redis.zrange(this.keys.runs(), "0", String(last), "REV"));
  }

  /**
   * Runs behind a place among all, newest first, in pages. Those that another version of Drover made are left out.
   *
   * @param place start (ms) and id of the run before; undefined for the newest.
   */
  async *listFrom(place: Pick<Run, "id" | "startedMs"> | undefined): AsyncGenerator<Run[]> {
    let [most, skipped]: [string, string | undefined] = place
      ? [String(place.startedMs), place.id]
      : ["+inf", undefined];
    for (;;) {
      const found = await this.redis.zrange(
        this.keys.runs(),
        most,
        "-inf",
        "BYSCORE",
        "REV",
        "LIMIT",
        "0",
        String(PAGE),
        "WITHSCORES",
      );
      const pairs = Array.from(
        { length: found.length / 2 },
        (_, at) => [found[at * 2], found[at * 2 + 1]] as [string, string],
      );
      // Of runs of the same millisecond the greater id comes first.
      const ids = pairs
        .filter(([id, ms]) => skipped === undefined || ms !== most || id < skipped)
        .map(([id]) => id);
      if (ids.length > 0) yield await this.#read(ids);
      const last = pairs.at(-1);
      if (pairs.length < PAGE || last === undefined) return;
      if (last[1] === most && last[0] === skipped) return; // a page of one millisecond: cannot be
      [skipped, most] = last;
    }
  }

  /** How many runs are known. */
  count(): Promise<number> {
    return this.redis.zcard(this.keys.runs());
  }

  /**
   * Runs that have not ended, the oldest first. Those that another version of Drover made are left out.
   *
   * @param most default: all.
   */
  async unfinished(most = 0): Promise<Run[]> {
    const [open = ""] = this.keys.runIndexes();
    return await this.#read(await this.redis.zrange(open, "0", String(most - 1)));
  }

  /**
   * Runs in which something may have failed, the newest first: those that have not ended, and those that did not end well
   * since a time. Those that another version of Drover made are left out.
   *
   * @param sinceMs Unix ms.
   */
  async withFailures(sinceMs: number): Promise<Run[]> {
    const [open = "", , failedSyncs = "", , failedFetches = ""] = this.keys.runIndexes();
    const ids = await pipelined(this.redis, (redis) =>
      redis
        .pipeline()
        .zrange(open, "0", "-1")
        .zrange(failedSyncs, sinceMs, "+inf", "BYSCORE")
        .zrange(failedFetches, sinceMs, "+inf", "BYSCORE"),
    );
    const runs = await this.#read((ids as string[][]).flat());
    return runs.sort(
      (one, other) => other.startedMs - one.startedMs || (one.id < other.id ? 1 : one.id > other.id ? -1 : 0),
    );
  }

  async #read(ids: string[]): Promise<Run[]> {
    const runs: Run[] = [];
    for (let from = 0; from < ids.length; from += PAGE) {
      const page = ids.slice(from, from + PAGE);
      const hashes = await pipelined(this.redis, (redis) => {
        const pipeline = redis.pipeline();
        for (const id of page) pipeline.hgetall(this.keys.run(id));
        return pipeline;
      });
      for (const [at, id] of page.entries()) {
        const run = readRun(id, hashes[at] as Record<string, string>);
        if (run) runs.push(run);
      }
    }
    return runs;
  }

  /** How many files of a run are registered, have ended, and with which outcome. */
  async counts(id: string): Promise<RunCounts> {
    const [counts] = await this.countsOf([id]);
    return counts as RunCounts;
  }

  /** As {@link counts}, of many runs in their order. */
  async countsOf(ids: string[]): Promise<RunCounts[]> {
    const counts: RunCounts[] = [];
    for (let from = 0; from < ids.length; from += PAGE) {
      const page = ids.slice(from, from + PAGE);
      const answers = await pipelined(this.redis, (redis) => {
        const pipeline = redis.pipeline();
        for (const id of page) {
          pipeline.hget(this.keys.run(id), RUN.files).bitcount(this.keys.done(id)).hlen(this.keys.failed(id));
          for (const outcome of COUNTED) pipeline.bitcount(this.keys.outcome(id, outcome));
        }
        return pipeline;
      });
      const each = answers.length / page.length;
      for (let at = 0; at < answers.length; at += each)
        counts.push(countsFrom(answers.slice(at, at + each).map((value) => Number(value ?? 0))));
    }
    return counts;
  }

  /**
   * Makes this process the one that works on the run.
   *
   * @param lifts whether its deadline, its limit of failures and its budgets hold no more. Default false.
   * @throws SettingsError when another live process has it.
   */
  async take(run: Run, lifts = false): Promise<void> {
    const owner = await this.tryTake(run, lifts);
    if (owner === undefined) return;
    throw new SettingsError(
      `run ${run.id} is being worked on by process ${processNumber(owner)}: let it finish`,
    );
  }

  /** As {@link take}. @returns undefined where it worked, else the name of the process that has the run. */
  async tryTake(run: Run, lifts = false): Promise<string | undefined> {
    const deadOwner = run.owner !== "" && isProcessDead(run.owner) ? run.owner : "";
    const answer = await takeScript.run(
      this.redis,
      [
        this.keys.run(run.id),
        this.keys.active(),
        this.keys.failed(run.id),
        this.keys.outcomes(run.id),
        ...[this.keys.webhook(run.id), this.keys.webhookTarget(run.id), this.keys.webhooks()],
        ...this.keys.runIndexes(),
      ],
      [this.owner, deadOwner, run.spec.fleet ? run.id : "", PRODUCER_SILENCE_MS, run.id, lifts ? "1" : ""],
    );
    return answer === "OK" ? undefined : String(answer);
  }

  /**
   * Records that all files of a run are registered.
   *
   * @param lastBatch number of the last batch of its files. Default 0: it has none.
   * @returns false, with nothing done, where Redis does not know that batch, or the run itself, any more.
   * @throws RunLostError when it is another process's by now.
   */
  async seal(id: string, lastBatch = 0): Promise<boolean> {
    const answer = await sealScript.run(this.redis, [this.keys.run(id)], [this.owner, lastBatch]);
    if (answer === 0) throw RunLostError.takenOver(id);
    return answer === 1;
  }

  /**
   * Records why nothing is removed at the destination although it was asked for.
   *
   * @throws RunLostError when the run is another process's by now.
   */
  async noteDeletionRefused(id: string, why: string): Promise<void> {
    const args = [this.owner, RUN.deletionRefused, why];
    const written = await noteFieldScript.run(this.redis, [this.keys.run(id)], args);
    if (written !== 1) throw RunLostError.takenOver(id);
  }

  /** Has a run that removed nothing try that again, once what failed was taken up again. */
  async reopenDeletion(id: string): Promise<void> {
    await this.redis.hdel(this.keys.run(id), RUN.sealed, RUN.deletionRefused);
  }

  /** Records that the producer of a fleet's run lives. @returns whether the run is still its own. */
  async hold(id: string): Promise<boolean> {
    const held = await holdScript.run(
      this.redis,
      [this.keys.run(id), this.keys.active()],
      [this.owner, PRODUCER_SILENCE_MS, id],
    );
    return held === 1;
  }

  /** Runs of the fleet that are not done. */
  active(): Promise<string[]> {
    return this.redis.smembers(this.keys.active());
  }

  /** Records that the fleet works on runs, which somebody took out of {@link active}. */
  async activate(ids: string[]): Promise<void> {
    if (ids.length > 0) await this.redis.sadd(this.keys.active(), ...ids);
  }

  /**
   * Ends files that are in no chunk and have not ended, as failed: Redis has lost what is known of them. It does
   * nothing while any of the run's files are in a chunk.
   *
   * @returns how many files that were.
   */
  async settleLost(id: string): Promise<number> {
    const { keys } = this;
    const names = [keys.run(id), keys.done(id), keys.outcome(id, "failed"), keys.failed(id)];
    names.push(keys.backlog(id), keys.inFlight(id), keys.joined(id));
    for (let lost = 0; ; ) {
      const ended = (await settleLostScript.run(this.redis, names, [LOST_AT_ONCE, LOST])) as number;
      lost += ended;
      if (ended < LOST_AT_ONCE) return lost;
    }
  }

  /** Ends a fleet's run whose files have all ended, unless somebody expands it. @returns whether it has ended. */
  async finishFleet(id: string): Promise<boolean> {
    if ((await this.#finish(id, ANYBODY)) !== 1) return false;
    await this.redis.unlink(this.keys.inFlight(id), this.keys.joined(id));
    await this.redis.expire(this.keys.followers(id), FOLLOWERS_TTL_SECONDS);
    if ((await this.redis.srem(this.keys.active(), id)) === 1) count("runs.ended");
    return true;
  }

  #finish(id: string, owner: string): Promise<unknown> {
    return finishRunScript.run(
      this.redis,
      [
        this.keys.run(id),
        this.keys.done(id),
        this.keys.failed(id),
        this.keys.outcomes(id),
        ...this.keys.runIndexes(),
      ],
      [owner, Date.now(), PRODUCER_SILENCE_MS, id],
    );
  }

  /**
   * Last batch that Redis knows, and whether it knows that there are no more; undefined where it has forgotten the
   * run.
   */
  async registered(id: string): Promise<{ batch: number; sealed: boolean } | undefined> {
    const [batch, sealed] = await this.redis.hmget(this.keys.run(id), RUN.batch, RUN.sealed);
    return batch === null ? undefined : { batch: Number(batch), sealed: sealed === "1" };
  }

  /**
   * Ends a run of this process whose files have all ended.
   *
   * @returns `done`, `open` while files have not ended or are not registered, or `lost` when another process has the
   *   run.
   * @throws ForgottenError when Redis does not know the run any more.
   */
  async finish(id: string): Promise<"done" | "open" | "lost"> {
    const answer = await this.#finish(id, this.owner);
    if (answer === -2) throw new ForgottenError(id, undefined);
    if (answer === 1) count("runs.ended");
    return answer === 1 ? "done" : answer === 0 ? "open" : "lost";
  }

  /** Gives an unfinished run back, if it is still this process's, so that it can be resumed. */
  async leave(id: string): Promise<void> {
    await leaveScript.run(this.redis, [this.keys.run(id)], [this.owner]);
  }

  /** Asks whoever works on the run to stop. */
  async cancel(id: string): Promise<void> {
    await this.#cancel(id, "");
  }

  /**
   * As {@link cancel}, for a run that has reached a limit of its own.
   *
   * @param why one line for people, not "".
   * @returns false, with nothing done, where it does not go on.
   */
  async stop(id: string, why: string): Promise<boolean> {
    return (await this.#cancel(id, why)) === 1;
  }

  #cancel(id: string, why: string): Promise<unknown> {
    const names = [this.keys.run(id), this.keys.failed(id), ...this.keys.runIndexes()];
    return cancelScript.run(this.redis, names, [id, Date.now(), why]);
  }

  async isCancelled(id: string): Promise<boolean> {
    return (await this.redis.hget(this.keys.run(id), RUN.state)) === "cancelled";
  }

  /** Standings of many runs of a fleet; undefined for one that Redis does not know. */
  async standings(ids: string[]): Promise<(Standing | undefined)[]> {
    const answers = await pipelined(this.redis, () => {
      const pipeline = this.redis.pipeline();
      for (const id of ids)
        pipeline.hmget(this.keys.run(id), RUN.state, RUN.sealed).hlen(this.keys.backlog(id));
      return pipeline;
    });
    return ids.map((_, at) => {
      const [state, sealed] = answers[at * 2] as (string | null)[];
      if (!state) return undefined;
      return {
        ended: state === "done",
        cancelled: state === "cancelled",
        sealed: sealed === "1",
        chunks: answers[at * 2 + 1] as number,
      };
    });
  }

  /** How many files are registered and have not ended; undefined for a run that is cancelled or forgotten. */
  async openFiles(id: string): Promise<number | undefined> {
    const [run, settled] = await pipelined(this.redis, (redis) =>
      redis.pipeline().hmget(this.keys.run(id), RUN.state, RUN.files).bitcount(this.keys.done(id)),
    );
    const [state, files] = run as (string | null)[];
    if (!state || state === "cancelled") return undefined;
    return Number(files ?? 0) - (settled as number);
  }

  /**
   * Which files of a range have ended: bytes of the bitmap from the one with `firstIndex` to the one with
   * `lastIndex`.
   */
  async settledBytes(id: string, firstIndex: number, lastIndex: number): Promise<Buffer> {
    return await this.redis.getrangeBuffer(this.keys.done(id), firstIndex >> 3, lastIndex >> 3);
  }
}

/** Outcomes that have a bitmap. */
const COUNTED = OUTCOMES.filter((outcome) => outcome !== "copied");

/** @param answers files, files that ended, failures that are told of, and the counts of the outcomes in {@link COUNTED}. */
function countsFrom([files = 0, settled = 0, failures = 0, ...rest]: number[]): RunCounts {
  const counts = Object.fromEntries(COUNTED.map((outcome, at) => [outcome, rest[at] ?? 0])) as Record<
    (typeof COUNTED)[number],
    number
  >;
  // Where somebody deletes a bitmap, what failed must not count as copied.
  const told = counts.failed + counts.blocked + counts.locked + counts.cancelled;
  counts.failed += Math.max(failures - told, 0);
  const copied = settled - Object.values(counts).reduce((sum, each) => sum + each, 0);
  return { files, settled, copied: Math.max(copied, 0), ...counts };
}

/** The pid in a process name, for people. */
function processNumber(owner: string): string {
  return owner.split(".")[2] ?? owner;
}
