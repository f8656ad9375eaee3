import { SettingsError } from "@drover/shared/errors";
import { PROCESS_NAME } from "@drover/shared/process-name";
import { ForgottenError, RunLostError } from "@drover/shared/protocol/backlog";
import { Keys } from "@drover/shared/protocol/keys";
import { PRODUCER_SILENCE_MS } from "@drover/shared/protocol/ledger";
import { recordRun } from "@drover/shared/protocol/record-run";
import { scanFailures } from "@drover/shared/protocol/run-failures";
import { fileRuns, forgetRunsOlderThan, pruneRuns } from "@drover/shared/protocol/run-retention";
import type { Redis } from "ioredis";
import { describe, expect } from "vitest";
import { it as base } from "../../harness/redis.js";
import {
  collect,
  DEAD_PROCESS,
  dump,
  FAR_PROCESS,
  failureOf,
  Member,
  queued,
  redisMs,
  settling,
  specOf,
} from "../helpers/fleet.js";

const it = base.extend<{ fleet: Member; run: string }>({
  fleet: async ({ redis, keys }, use) => use(new Member(redis, keys)),
  run: async ({ fleet }, use) => use(await fleet.newRun()),
});

describe("a run", () => {
  it("is read as it was written", async ({ fleet }) => {
    const spec = specOf({ root: "/über/all", sources: ["http://h/a?token=***"], retries: 7 });
    const id = await recordRun(fleet.ledger, spec, {
      headers: { "x-key": "v" },
      sources: ["http://h/a?token=s"],
    });
    const run = await fleet.ledger.get(id);
    expect(run).toMatchObject({
      id,
      state: "running",
      owner: PROCESS_NAME,
      batch: 0,
      sealed: false,
      generation: 0,
    });
    expect(run.spec).toEqual(spec);
    expect(run.startedMs).toBeGreaterThan(Date.now() - 60_000);
    expect(await fleet.secrets.get(id)).toEqual({
      headers: { "x-key": "v" },
      sources: ["http://h/a?token=s"],
    });
  });

  it("keeps its secrets in one key, which expires", async ({ fleet, redis, keys }) => {
    const secrets = { headers: { authorization: "CANARY-1" }, sources: ["http://u:CANARY-2@h/a"] };
    const id = await recordRun(fleet.ledger, specOf(), secrets);
    await fleet.secrets.keepSources(id, new Map([["flight", "http://h/a?sig=CANARY-3"]]));
    const ttl = await redis.ttl(keys.secrets(id));
    expect(ttl).toBeGreaterThan(0);
    expect(ttl).toBeLessThanOrEqual(7 * 86_400);
    expect(await fleet.secrets.source(id, "flight")).toBe("http://h/a?sig=CANARY-3");
    await redis.del(keys.secrets(id));
    expect(JSON.stringify(await dump(redis, keys))).not.toContain("CANARY");
    await expect(fleet.secrets.get(id)).rejects.toThrow(SettingsError);
    expect(await fleet.secrets.source(id, "flight")).toBeUndefined();
  });

  it("keeps what is no secret as long as the run, which can be resumed until then", async ({
    fleet,
    redis,
    keys,
  }) => {
    const id = await recordRun(fleet.ledger, specOf(), { headers: {}, sources: ["http://h/a"] });
    expect(await redis.ttl(keys.secrets(id))).toBe(-1);
    await fleet.secrets.keepSources(id, new Map([["flight", "http://h/a?sig=CANARY"]]));
    expect(await redis.ttl(keys.secrets(id))).toBeGreaterThan(0);
  });

  it("has secrets expire that are stored after the others have expired", async ({
    fleet,
    run,
    redis,
    keys,
  }) => {
    await redis.del(keys.secrets(run));
    await fleet.secrets.keepSources(run, new Map([["flight", "http://h/a?sig=CANARY"]]));
    expect(await redis.ttl(keys.secrets(run))).not.toBe(-1);
  });

  it("that does not exist is reported as such", async ({ fleet }) => {
    await expect(fleet.ledger.get("rnone-000000")).rejects.toThrow(/no such run: rnone-000000/);
  });

  it("is listed with the newest first, up to the requested number", async ({ fleet }) => {
    const ids: string[] = [];
    for (let nth = 0; nth < 4; nth++) {
      ids.push(await fleet.newRun());
      await fleet.redis.zadd(fleet.keys.runs(), 1_000 + nth, ids[nth] as string);
    }
    expect((await fleet.ledger.list()).map((run) => run.id)).toEqual([...ids].reverse());
    expect((await fleet.ledger.list(2)).map((run) => run.id)).toEqual([ids[3], ids[2]]);
  });

  it("is interrupted when its owner is dead or has left, and not when that is unknown", async ({
    redis,
    keys,
  }) => {
    for (const [owner, state] of [
      [DEAD_PROCESS, "interrupted"],
      [PROCESS_NAME, "running"],
      [FAR_PROCESS, "running"],
    ] as const) {
      const { ledger } = new Member(redis, keys, owner);
      const id = await recordRun(ledger, specOf(), { headers: {}, sources: [] });
      expect((await ledger.get(id)).state).toBe(state);
      await ledger.leave(id);
      expect((await ledger.get(id)).state).toBe("interrupted");
    }
  });
});

describe("finishing", () => {
  it("ends a run only when it is sealed and all its files have ended", async ({ fleet, run }) => {
    const files = await fleet.files(run, { a: "http://h/a", b: "http://h/b" });
    expect(await fleet.ledger.finish(run)).toBe("open");
    for (const [index, file] of files.entries()) {
      expect(await fleet.ledger.finish(run)).toBe("open");
      await fleet.admission.settle(settling(file, await fleet.admit(file), { index }));
    }
    expect(await fleet.ledger.finish(run)).toBe("open");
    await fleet.ledger.seal(run);
    expect(await fleet.ledger.finish(run)).toBe("done");
    const { state, owner, endedMs } = await fleet.ledger.get(run);
    expect([state, owner]).toEqual(["done", ""]);
    expect(endedMs).toBeGreaterThan(0);
  });

  it("counts a file once that was settled twice", async ({ fleet, run }) => {
    const files = await fleet.files(run, { a: "http://h/a", b: "http://h/b" });
    await fleet.ledger.seal(run);
    const [a] = files;
    if (!a) throw new Error();
    const admitted = await fleet.admit(a);
    await fleet.admission.settle(settling(a, admitted));
    await fleet.redis.set(fleet.keys.flight(a.flight), "0"); // as if a lost write had brought the flight back
    await fleet.admission.settle(settling(a, undefined));
    expect(await fleet.ledger.finish(run)).toBe("open");
    expect((await fleet.ledger.counts(run)).settled).toBe(1);
  });

  it("ends a run without files as soon as it is sealed", async ({ fleet, run }) => {
    expect(await fleet.ledger.finish(run)).toBe("open");
    await fleet.ledger.seal(run);
    expect(await fleet.ledger.finish(run)).toBe("done");
  });

  it("leaves a cancelled run cancelled, sealed or not", async ({ fleet, run }) => {
    const [file] = await fleet.files(run, { a: "http://h/a" });
    if (!file) throw new Error();
    await fleet.ledger.cancel(run);
    expect(await fleet.ledger.isCancelled(run)).toBe(true);
    expect(await fleet.ledger.finish(run)).toBe("open");
    const over = { outcome: "cancelled", failure: failureOf("http://h/a", "a", "cancelled") } as const;
    await fleet.admission.settle(settling(file, undefined, over));
    expect(await fleet.ledger.finish(run)).toBe("done");
    expect((await fleet.ledger.get(run)).state).toBe("cancelled");
  });

  it("does not end a fleet's run while its producer may add files", async ({ fleet }) => {
    const run = await fleet.newRun({ fleet: true });
    await fleet.ledger.seal(run);
    expect(await fleet.ledger.finishFleet(run)).toBe(false);
    await fleet.ledger.leave(run);
    expect(await fleet.ledger.finishFleet(run)).toBe(true);
    expect((await fleet.ledger.get(run)).state).toBe("done");
  });

  it("is refused to a process that lost the run", async ({ fleet, run, redis, keys }) => {
    await fleet.ledger.seal(run);
    expect(await new Member(redis, keys, FAR_PROCESS).ledger.finish(run)).toBe("lost");
    expect((await fleet.ledger.get(run)).state).toBe("running");
    await expect(fleet.ledger.finish("rnone-000000")).rejects.toThrow(ForgottenError);
  });
});

describe("taking a run", () => {
  it("works when nobody has it, and counts its generation", async ({ fleet, run, redis, keys }) => {
    await fleet.ledger.leave(run);
    const other = new Member(redis, keys, FAR_PROCESS);
    await other.ledger.take(await other.ledger.get(run));
    expect(await other.ledger.get(run)).toMatchObject({
      owner: FAR_PROCESS,
      state: "running",
      generation: 1,
    });
  });

  it("works when its owner is dead", async ({ fleet, redis, keys }) => {
    const dead = new Member(redis, keys, DEAD_PROCESS);
    const id = await dead.newRun();
    await fleet.ledger.take(await fleet.ledger.get(id));
    expect(await fleet.ledger.get(id)).toMatchObject({
      owner: PROCESS_NAME,
      state: "running",
      generation: 1,
    });
  });

  it("is refused while its owner is alive or may be", async ({ redis, keys, run }) => {
    const other = new Member(redis, keys, FAR_PROCESS);
    await expect(other.ledger.take(await other.ledger.get(run))).rejects.toThrow(SettingsError);
    await expect(other.ledger.take(await other.ledger.get(run))).rejects.toThrow(`process ${process.pid}`);
    const far = await other.newRun();
    const mine = new Member(redis, keys);
    await expect(mine.ledger.take(await mine.ledger.get(far))).rejects.toThrow(SettingsError);
  });

  it("of a fleet is refused while its producer reports on any machine", async ({ fleet, redis, keys }) => {
    const far = new Member(redis, keys, FAR_PROCESS);
    const run = await far.newRun({ fleet: true });
    await expect(fleet.ledger.take(await fleet.ledger.get(run))).rejects.toThrow(/being worked on/);
    expect(await fleet.ledger.hold(run)).toBe(false);
    expect(await far.ledger.hold(run)).toBe(true);
    await redis.hset(keys.run(run), "ownerUntil", "1"); // its time is over
    await fleet.ledger.take(await fleet.ledger.get(run));
    expect(await far.ledger.hold(run)).toBe(false);
    expect(await fleet.ledger.hold(run)).toBe(true);
  });

  it("of a fleet is not refused for longer than its producer may be silent, where the clock of Redis was set back", async ({
    fleet,
    redis,
    keys,
  }) => {
    const far = new Member(redis, keys, FAR_PROCESS);
    const run = await far.newRun({ fleet: true });
    const ahead = Date.now() + 86_400_000;
    await redis.hset(keys.run(run), { ownerUntil: ahead });
    await expect(fleet.ledger.take(await fleet.ledger.get(run))).rejects.toThrow(/being worked on/);
    const untilMs = Number(await redis.hget(keys.run(run), "ownerUntil"));
    expect(untilMs).toBeLessThanOrEqual((await redisMs(redis)) + PRODUCER_SILENCE_MS);
    await expect(fleet.ledger.take(await fleet.ledger.get(run))).rejects.toThrow(/being worked on/);
    expect(Number(await redis.hget(keys.run(run), "ownerUntil"))).toBe(untilMs);
    // So it is where the fleet asks whether it can be ended.
    await redis.hset(keys.run(run), { ownerUntil: ahead });
    expect(await fleet.ledger.finishFleet(run)).toBe(false);
    expect(Number(await redis.hget(keys.run(run), "ownerUntil"))).toBeLessThan(ahead);
    await redis.hset(keys.run(run), { ownerUntil: 1 });
    await fleet.ledger.take(await fleet.ledger.get(run));
  });

  it("by many processes at once has one winner", async ({ redis, keys }) => {
    const dead = new Member(redis, keys, DEAD_PROCESS);
    const id = await dead.newRun();
    const run = await dead.ledger.get(id);
    const takers = Array.from({ length: 10 }, (_, at) =>
      new Member(redis, keys, `owner-${at}`).ledger.take(run),
    );
    const ends = await Promise.allSettled(takers);
    expect(ends.filter((end) => end.status === "fulfilled")).toHaveLength(1);
  });

  it("keeps its former owner from leaving, sealing or annotating it", async ({ fleet, run, redis, keys }) => {
    await fleet.ledger.leave(run);
    const other = new Member(redis, keys, FAR_PROCESS);
    await other.ledger.take(await other.ledger.get(run));
    await fleet.ledger.leave(run);
    expect((await other.ledger.get(run)).owner).toBe(FAR_PROCESS);
    await expect(fleet.ledger.seal(run)).rejects.toThrow(RunLostError);
    await expect(fleet.ledger.noteDeletionRefused(run, "why")).rejects.toThrow(
      /taken over by another process/,
    );
    expect(await other.ledger.get(run)).toMatchObject({ sealed: false, deletionRefused: "" });
    await other.ledger.leave(run);
    await other.ledger.seal(run); // Redis may have forgotten it
    expect(await other.ledger.get(run)).toMatchObject({ owner: "", sealed: true });
  });

  it("keeps its former owner from ending it, but not from settling the files it has leases for", async ({
    fleet,
    run,
    redis,
    keys,
  }) => {
    const [file] = await fleet.files(run, { a: "http://h/a" });
    if (!file) throw new Error();
    const admitted = await fleet.admit(file);
    await fleet.ledger.leave(run);
    const other = new Member(redis, keys, FAR_PROCESS);
    await other.ledger.take(await other.ledger.get(run));
    await other.ledger.seal(run);
    // Its lease is still valid: the file ends once, and the new owner counts it.
    expect((await fleet.admission.settle(settling(file, admitted))).is).toBe("ok");
    expect(await fleet.ledger.finish(run)).toBe("lost");
    expect(await other.ledger.finish(run)).toBe("done");
  });

  it("does not recreate a forgotten run", async ({ fleet, run, redis, keys }) => {
    const known = await fleet.ledger.get(run);
    await redis.del(keys.run(run));
    await expect(fleet.ledger.take(known)).rejects.toThrow();
    expect(await redis.exists(keys.run(run))).toBe(0);
  });
});

describe("failures", () => {
  it("are read in pages", async ({ fleet, run }) => {
    const files = Array.from({ length: 1_500 }, (_, at) =>
      queued(run, `http://h/${at}`, `f${at}`, {
        kind: "failed",
        failure: failureOf(`http://h/${at}`, `f${at}`, "path"),
      }),
    );
    await fleet.backlog.enqueue(run, 1, "", files);
    const pages = await collect(scanFailures(fleet.redis, fleet.keys, run));
    expect(pages.length).toBeGreaterThan(1);
    const indexes = new Set(pages.flat().map((failure) => failure.index));
    expect(indexes.size).toBe(1_500);
    expect(await fleet.ledger.counts(run)).toMatchObject({ files: 1_500, settled: 1_500, failed: 1_500 });
  });
});

/** How often Redis was asked, by command. */
async function commandsOf(redis: Redis): Promise<Record<"hmget" | "hgetall" | "evalsha", number>> {
  const stats = await redis.info("commandstats");
  const calls = (name: string) => Number(new RegExp(`cmdstat_${name}:calls=(\\d+)`).exec(stats)?.[1] ?? 0);
  return { hmget: calls("hmget"), hgetall: calls("hgetall"), evalsha: calls("evalsha") };
}

/** Makes a run that has ended, so many days ago. */
async function ended(
  fleet: Member,
  over: { daysAgo?: number; spec?: Parameters<typeof specOf>[0]; failed?: boolean; undeleted?: boolean } = {},
): Promise<string> {
  const { ledger, redis, keys } = fleet;
  const { daysAgo = 0, spec, failed = false, undeleted = false } = over;
  const id = await fleet.newRun(spec);
  if (failed) {
    const file = queued(id, "http://h/a", "a", { kind: "failed", failure: failureOf("http://h/a", "a") });
    await fleet.backlog.enqueue(id, 1, "", [file]);
  }
  if (undeleted) await ledger.noteDeletionRefused(id, "why");
  await ledger.seal(id);
  expect(await ledger.finish(id)).toBe("done");
  if (daysAgo > 0) {
    await redis.hset(keys.run(id), "ended", Date.now() - daysAgo * 86_400_000);
    await fileRuns(fleet, true);
  }
  return id;
}

const FETCH = { kind: "fetch", whenBusy: "skip-same-source" } as const;

describe("pruning", () => {
  it("forgets the oldest runs beyond those that are kept, with all their keys", async ({
    fleet,
    redis,
    keys,
  }) => {
    const all: string[] = [];
    for (let nth = 0; nth < 5; nth++) all.push(await ended(fleet, { daysAgo: 6 - nth }));
    const [first = "", second = "", ...rest] = all;
    expect(await pruneRuns(fleet, { keepRuns: 3 })).toBe(2);
    expect((await fleet.ledger.list()).map(({ id }) => id).sort()).toEqual(rest.sort());
    const names = Object.keys(await dump(redis, keys));
    expect(names.filter((name) => name.includes(first) || name.includes(second))).toEqual([]);
    expect(JSON.stringify(await dump(redis, keys))).not.toContain(first);
  });

  it("never forgets what is unfinished, or what a process works on", async ({ fleet, redis, keys }) => {
    const interrupted = await fleet.newRun();
    await fleet.ledger.leave(interrupted);
    await redis.hset(keys.run(interrupted), "started", 1);
    const alive = await ended(fleet, { daysAgo: 100 });
    await redis.hset(keys.run(alive), "owner", PROCESS_NAME);
    const inFleet = await ended(fleet, { daysAgo: 100 });
    await fleet.ledger.activate([inFleet]);
    const dead = await ended(fleet, { daysAgo: 100 });
    await redis.hset(keys.run(dead), "owner", DEAD_PROCESS);
    for (let nth = 0; nth < 205; nth++) await ended(fleet, { spec: FETCH });
    expect(await pruneRuns(fleet, { keepRuns: 5 })).toBe(101); // at most 100 of a kind by the way
    expect(await pruneRuns(fleet, { keepRuns: 5, most: 1_000 })).toBe(100);
    expect((await fleet.ledger.list()).map(({ id }) => id)).toHaveLength(8);
    for (const id of [interrupted, alive, inFleet]) expect(await redis.exists(keys.run(id))).toBe(1);
    expect((await fleet.ledger.get(interrupted)).state).toBe("interrupted");
  });

  it.for([
    { over: { daysAgo: 6 }, is: "kept" },
    { over: { daysAgo: 8 }, is: "forgotten" },
    { over: { daysAgo: 8, failed: true }, is: "kept" },
    { over: { daysAgo: 8, undeleted: true }, is: "kept" },
    { over: { daysAgo: 8, failed: true, spec: FETCH }, is: "kept" },
    { over: { daysAgo: 8, spec: FETCH }, is: "forgotten" },
    { over: { daysAgo: 31, failed: true }, is: "forgotten" },
  ])("a run that ended so is $is: $over", async ({ over, is }, { fleet, redis, keys }) => {
    const id = await ended(fleet, over);
    await pruneRuns(fleet);
    expect(await redis.exists(keys.run(id))).toBe(is === "kept" ? 1 : 0);
  });

  it("counts syncs, fetches, and those that failed, apart", async ({ fleet }) => {
    const kinds = [{}, { failed: true }, { spec: FETCH }, { spec: FETCH, failed: true }];
    const ids = [];
    for (const over of kinds) ids.push(await ended(fleet, over));
    expect(await pruneRuns(fleet, { keepRuns: 1 })).toBe(0);
    for (const over of kinds) ids.push(await ended(fleet, over));
    expect(await pruneRuns(fleet, { keepRuns: 1 })).toBe(2);
    const left = (await fleet.ledger.list()).map(({ id }) => id);
    expect(left.sort()).toEqual(ids.filter((_, at) => at !== 0 && at !== 2).sort());
  });

  it("keeps a cancelled run as one that failed, and a retried one as unfinished", async ({
    fleet,
    redis,
    keys,
  }) => {
    const cancelled = await fleet.newRun();
    await fleet.ledger.cancel(cancelled);
    await fleet.ledger.finish(cancelled);
    await redis.hset(keys.run(cancelled), "ended", Date.now() - 8 * 86_400_000);
    const retried = await ended(fleet, { daysAgo: 8 });
    await fleet.ledger.take(await fleet.ledger.get(retried));
    await fleet.ledger.leave(retried);
    expect(await pruneRuns(fleet, { thorough: true })).toBe(0);
    await redis.hset(keys.run(cancelled), "ended", Date.now() - 31 * 86_400_000);
    expect(await pruneRuns(fleet, { thorough: true })).toBe(1);
    expect((await fleet.ledger.list()).map(({ id, state }) => [id, state])).toEqual([
      [retried, "interrupted"],
    ]);
  });

  it("finds runs that an earlier version made, ended, or forgot", async ({ fleet, redis, keys }) => {
    const [made, fetched, failed] = [
      await ended(fleet, { daysAgo: 8 }),
      await ended(fleet, { daysAgo: 8, spec: { whenBusy: "skip-same-source" } }),
      await ended(fleet, { daysAgo: 8, failed: true }),
    ];
    const open = await fleet.newRun();
    await fleet.ledger.leave(open);
    // As they were recorded: in one set, without their kind.
    await redis.del(...keys.runIndexes());
    for (const id of [made, fetched, failed, open]) await redis.hdel(keys.run(id), "kind");
    await redis.zadd(keys.runs(), 1, "rlost-000000");
    await fileRuns(fleet);
    const filed = [];
    for (const each of keys.runIndexes()) filed.push(await redis.zrange(each, "0", "-1"));
    expect(filed).toEqual([[open], [made], [failed], [fetched], []]);
    expect(await redis.zscore(keys.runs(), "rlost-000000")).toBeNull();
    // It has forgotten one, and taken another one up again.
    await redis.del(keys.run(fetched));
    await redis.zrem(keys.runs(), fetched);
    await redis.hdel(keys.run(made), "ended");
    expect(await pruneRuns(fleet)).toBe(0);
    expect((await fleet.ledger.unfinished()).map(({ id }) => id).sort()).toEqual([made, open].sort());
  });

  it("reads no run where none is to be forgotten, however many there are", async ({ fleet, redis, keys }) => {
    for (let nth = 0; nth < 50; nth++) await ended(fleet);
    const before = await commandsOf(redis);
    await pruneRuns(fleet);
    const after = await commandsOf(redis);
    expect(after.hmget - before.hmget + after.hgetall - before.hgetall + after.evalsha - before.evalsha).toBe(
      0,
    );
    expect(await redis.zcard(keys.runs())).toBe(50);
  });

  it("by age forgets interrupted runs that began before, but none that a process may work on", async ({
    fleet,
    redis,
    keys,
  }) => {
    const { ledger } = fleet;
    const began = async (spec: Parameters<typeof specOf>[0], owner: string, hoursAgo: number) => {
      const id = await recordRun(ledger, specOf({ fleet: false, ...spec }), { headers: {}, sources: [] });
      await redis.hset(keys.run(id), "owner", owner, "started", Date.now() - hoursAgo * 3_600_000);
      return id;
    };
    const listed = { listIsStdin: true, list: "/state/lists/x" };
    const old = [await began({}, "", 2), await began(listed, DEAD_PROCESS, 2)];
    const kept = [
      await began({}, DEAD_PROCESS, 0),
      await began({}, PROCESS_NAME, 2),
      await began({}, FAR_PROCESS, 2),
      await began({ fleet: true }, DEAD_PROCESS, 2),
    ];
    expect(await forgetRunsOlderThan(fleet, 3_600_000)).toEqual({ runs: 2, lists: ["/state/lists/x"] });
    const left = (await ledger.list()).map((run) => run.id);
    expect(left.sort()).toEqual(kept.sort());
    const names = Object.keys(await dump(redis, keys));
    expect(names.filter((name) => old.some((id) => name.includes(id)))).toEqual([]);
  });
});

describe("keys", () => {
  it("of one fleet share a hash tag, so that scripts work on a Cluster", () => {
    const keys = new Keys("{fleet}");
    const names = [
      keys.runs(),
      ...keys.runIndexes(),
      keys.run("r"),
      keys.done("r"),
      keys.outcome("r", "failed"),
      keys.failed("r"),
      keys.backlog("r"),
      keys.secrets("r"),
      keys.claims("r", 7),
      keys.flight("f"),
      keys.lease("l"),
      keys.breaker("h:80"),
      keys.catalog("t", 9),
      keys.queuePrefix(),
    ];
    expect(new Set(names).size).toBe(names.length);
    for (const name of names) expect(name.startsWith("{fleet}:")).toBe(true);
    expect(new Keys().run("r")).toBe("{drover}:run:r");
  });

  it("of two fleets on one Redis do not overlap", async ({ fleet, redis, run }) => {
    const other = new Member(redis, new Keys("{other-fleet}"));
    await expect(other.ledger.get(run)).rejects.toThrow(SettingsError);
    expect(await other.ledger.list()).toEqual([]);
    expect(await fleet.ledger.list()).toHaveLength(1);
  });
});
