import { type Admitted, type FileKeys, LEASE_MS } from "@drover/shared/protocol/admission";
import { HOST_LIMIT } from "@drover/shared/protocol/fields";
import type { HostVerdict } from "@drover/shared/protocol/flights";
import { type HostLimit, setHostLimits } from "@drover/shared/protocol/host-limits";
import { describe, expect } from "vitest";
import { it as base } from "../../harness/redis.js";
import { expireLease, Member, redisMs, request, settling } from "../helpers/fleet.js";

const HOST = "host:80";

const it = base.extend<{
  fleet: Member;
  run: string;
  limit: (limit: HostLimit, host?: string) => Promise<void>;
}>({
  fleet: async ({ redis, keys }, use) => use(new Member(redis, keys)),
  run: async ({ fleet }, use) => use(await fleet.newRun()),
  limit: async ({ redis, keys }, use) =>
    use((limit, host = HOST) => setHostLimits(redis, keys, [{ hosts: [host], limit }])),
});

const names = (count: number) => Array.from({ length: count }, (_, at) => `f${at}`);

async function files(fleet: Member, run: string, count: number, host = "host"): Promise<FileKeys[]> {
  return fleet.files(
    run,
    Object.fromEntries(names(count).map((name) => [`${host}-${name}`, `http://${host}/${name}`])),
  );
}

function asked(fleet: Member, file: FileKeys) {
  return fleet.admission.admit(request(file, `${file.name}:1`));
}

/** Settles a file with a verdict. */
async function ended(
  fleet: Member,
  file: FileKeys,
  admitted: Admitted,
  verdict: HostVerdict,
  retryAfterMs = 0,
) {
  await fleet.admission.settle(
    settling(file, admitted, { verdict, retryAfterMs, waiting: admitted.waiting }),
  );
}

/** Has the turn of a file come now. */
async function hurry(fleet: Member, file: FileKeys): Promise<void> {
  const { redis, keys } = fleet;
  await redis.zadd(keys.turns(HOST), Date.now() - 1_000, keys.lease(file.lease));
}

describe("where the clock of Redis was set back", () => {
  it("slots last no longer than a lease, and a host is held for no longer than it may be", async ({
    fleet,
    run,
    limit,
    redis,
    keys,
  }) => {
    await limit({ files: 1 });
    const [first, second] = await files(fleet, run, 2);
    if (!first || !second) throw new Error();
    expect((await asked(fleet, first)).is).toBe("admitted");
    const ahead = Date.now() + 86_400_000;
    await redis.zadd(keys.slots(HOST), ahead, keys.lease(first.lease));
    await redis.hset(keys.limit(HOST), HOST_LIMIT.notBeforeMs, ahead);
    expect((await asked(fleet, second)).is).toBe("wait");
    const nowMs = await redisMs(redis);
    const slot = Number(await redis.zscore(keys.slots(HOST), keys.lease(first.lease)));
    expect(slot).toBeLessThanOrEqual(nowMs + LEASE_MS);
    expect(slot).toBeGreaterThan(nowMs); // it is not lost
    expect(Number(await redis.hget(keys.limit(HOST), HOST_LIMIT.notBeforeMs))).toBeLessThanOrEqual(
      nowMs + 60_000,
    );
  });
});

describe("files at once", () => {
  it("do not exceed the limit of all workers together; the others get a turn", async ({
    fleet,
    run,
    limit,
    redis,
    keys,
  }) => {
    await limit({ files: 2 });
    const [a, b, c, d] = (await files(fleet, run, 4)) as [FileKeys, FileKeys, FileKeys, FileKeys];
    const other = new Member(redis, keys, "00000000.elsewhere.1.1");
    const first = await fleet.admit(a);
    await other.admit(b);
    const third = await asked(other, c);
    const fourth = await asked(fleet, d);
    if (third.is !== "wait" || fourth.is !== "wait") throw new Error(`${third.is}, ${fourth.is}`);
    const turnMs = async ({ lease }: FileKeys) =>
      Number(await redis.zscore(keys.turns(HOST), keys.lease(lease)));
    expect(await turnMs(d)).toBeGreaterThan(await turnMs(c)); // turns come one after the other
    await ended(fleet, a, first, "ok");
    await hurry(fleet, c);
    // A file whose turn has come goes before one that asks for the first time.
    expect((await asked(fleet, d)).is).toBe("wait");
    expect((await asked(other, c)).is).toBe("admitted");
  });

  it("get their turn within seconds, however long the last files took", async ({
    fleet,
    run,
    limit,
    redis,
    keys,
  }) => {
    await limit({ files: 2 });
    const all = await files(fleet, run, 42);
    for (const file of all.slice(0, 2)) await fleet.admit(file);
    await redis.hset(keys.limit(HOST), "v", 40_000); // workers were paused while they copied
    const waits: number[] = [];
    for (const file of all.slice(2)) {
      const answer = await asked(fleet, file);
      if (answer.is !== "wait") throw new Error(answer.is);
      waits.push(answer.waitMs);
    }
    expect(Math.max(...waits)).toBeLessThanOrEqual(5_000);
  });

  it("do not include those of other hosts and local files", async ({ fleet, run, limit }) => {
    await limit({ files: 1 });
    const [a] = (await files(fleet, run, 1)) as [FileKeys];
    const [b, c] = (await files(fleet, run, 2, "other")) as [FileKeys, FileKeys];
    for (const file of [a, b, c]) expect((await asked(fleet, file)).is).toBe("admitted");
  });

  it("are limited by the default if the host has no limit of its own", async ({ fleet, run, limit }) => {
    await limit({ files: 1 }, "*");
    await limit({ files: 2 }, "other:80");
    const [a, b] = (await files(fleet, run, 2)) as [FileKeys, FileKeys];
    expect((await asked(fleet, a)).is).toBe("admitted");
    expect((await asked(fleet, b)).is).toBe("wait");
    for (const file of await files(fleet, run, 2, "other"))
      expect((await asked(fleet, file)).is).toBe("admitted");
  });

  it("free the slot of a dead worker when its lease expires", async ({ fleet, run, limit, redis, keys }) => {
    await limit({ files: 1 });
    const [a, b] = (await files(fleet, run, 2)) as [FileKeys, FileKeys];
    await fleet.admit(a);
    expect((await asked(fleet, b)).is).toBe("wait");
    await redis.zadd(keys.slots(HOST), 1, keys.lease(a.lease)); // its lease was not renewed
    await hurry(fleet, b);
    expect((await asked(fleet, b)).is).toBe("admitted");
  });

  it("stay limited while the lease of a long file is renewed", async ({ fleet, run, limit, redis, keys }) => {
    await limit({ files: 1 });
    const [a] = (await files(fleet, run, 1)) as [FileKeys];
    const { fence } = await fleet.admit(a);
    await redis.zadd(keys.slots(HOST), 1, keys.lease(a.lease));
    await fleet.admission.renew([{ lease: a.lease, host: HOST, fence, staged: "" }]);
    expect(Number(await redis.zscore(keys.slots(HOST), keys.lease(a.lease)))).toBeGreaterThan(Date.now());
  });

  it("count the file of a dead worker once: its successor takes the same slot", async ({
    fleet,
    run,
    limit,
  }) => {
    await limit({ files: 1 });
    const [a] = (await files(fleet, run, 1)) as [FileKeys];
    await fleet.admit(a, "d:1");
    await expireLease(fleet, a);
    expect(await fleet.admit(a, "d:2")).toMatchObject({ origin: "expired" });
  });

  it("do not wait for a file that misses its turn", async ({ fleet, run, limit, redis, keys }) => {
    await limit({ files: 1 });
    const [a, b, c] = (await files(fleet, run, 3)) as [FileKeys, FileKeys, FileKeys];
    const first = await fleet.admit(a);
    expect((await asked(fleet, b)).is).toBe("wait");
    await redis.zadd(keys.turns(HOST), Date.now() - 10_000, keys.lease(b.lease));
    await ended(fleet, a, first, "ok");
    expect((await asked(fleet, c)).is).toBe("admitted");
  });

  it("count no lease that was granted without a limit when it is renewed", async ({
    fleet,
    run,
    redis,
    keys,
  }) => {
    const [a] = (await files(fleet, run, 1)) as [FileKeys];
    const { fence } = await fleet.admit(a);
    await fleet.admission.renew([{ lease: a.lease, host: HOST, fence, staged: "" }]);
    expect(await redis.exists(keys.slots(HOST))).toBe(0);
  });

  it("free the slot of a file that ended, whatever its outcome", async ({
    fleet,
    run,
    limit,
    redis,
    keys,
  }) => {
    await limit({ files: 1 });
    const [a, b] = (await files(fleet, run, 2)) as [FileKeys, FileKeys];
    await ended(fleet, a, await fleet.admit(a), "ok");
    const admitted = await fleet.admit(b);
    await fleet.admission.release({
      ...b,
      fence: admitted.fence,
      staged: "",
      verdict: "fail",
      epoch: admitted.epoch,
      rules: { threshold: 5, ttlMs: 1, probeMs: 1 },
      retryAfterMs: 0,
      fencedOff: true,
    });
    expect(await redis.zcard(keys.slots(HOST))).toBe(0);
  });

  it("are not limited after the limit was removed", async ({ fleet, run, limit }) => {
    await limit({ files: 1 });
    await limit({});
    for (const file of await files(fleet, run, 3)) expect((await asked(fleet, file)).is).toBe("admitted");
  });
});

describe("requests per second", () => {
  it("are spread evenly: each file waits for one turn", async ({ fleet, run, limit }) => {
    await limit({ requestsPerSecond: 10 });
    const all = await files(fleet, run, 4);
    const waits: number[] = [];
    for (const file of all) {
      const answer = await asked(fleet, file);
      waits.push(answer.is === "wait" ? answer.waitMs : 0);
    }
    expect(waits[0]).toBe(0);
    for (const nth of [1, 2, 3]) {
      expect(waits[nth]).toBeGreaterThan(nth * 100 - 60);
      expect(waits[nth]).toBeLessThanOrEqual(nth * 100);
    }
    await hurry(fleet, all[3] as FileKeys);
    expect((await asked(fleet, all[3] as FileKeys)).is).toBe("admitted");
    expect((await asked(fleet, all[2] as FileKeys)).is).toBe("wait"); // too early: it keeps its turn
  });

  it("count a file once that asks again because its answer was lost", async ({ fleet, run, limit }) => {
    await limit({ requestsPerSecond: 1 });
    const [a, b] = (await files(fleet, run, 2)) as [FileKeys, FileKeys];
    const { fence } = await fleet.admit(a, "d:1");
    expect(await fleet.admit(a, "d:1")).toMatchObject({ origin: "same", fence });
    const next = await asked(fleet, b);
    if (next.is !== "wait") throw new Error(next.is);
    expect(next.waitMs).toBeLessThanOrEqual(1_000);
  });
});

describe("a host that asks for less", () => {
  it("gets half of the load, and more again with every success", async ({
    fleet,
    run,
    limit,
    redis,
    keys,
  }) => {
    await limit({ files: 8, requestsPerSecond: 1000 });
    const [a, b] = (await files(fleet, run, 2)) as [FileKeys, FileKeys];
    await ended(fleet, a, await fleet.admit(a), "slow");
    const left = async () => (await redis.hmget(keys.limit(HOST), "x", "y")).map(Number);
    expect(await left()).toEqual([4, 500]);
    await redis.zadd(keys.turns(HOST), 1, keys.lease(b.lease));
    await ended(fleet, b, await fleet.admit(b), "ok");
    expect(await left()).toEqual([4.25, 500.002]);
  });

  it("has its limit halved once for many complaints at the same time", async ({
    fleet,
    run,
    limit,
    redis,
    keys,
  }) => {
    await limit({ files: 16 });
    const all = await files(fleet, run, 4);
    const admitted = await Promise.all(all.map((file) => fleet.admit(file)));
    for (const [at, file] of all.entries()) await ended(fleet, file, admitted[at] as Admitted, "slow");
    expect(Number(await redis.hget(keys.limit(HOST), "x"))).toBe(8);
  });

  it("gets a limit, is left alone for the time it asks, and loses the limit after an hour", async ({
    fleet,
    run,
    redis,
    keys,
  }) => {
    const [a, b] = (await files(fleet, run, 2)) as [FileKeys, FileKeys];
    await ended(fleet, a, await fleet.admit(a), "slow", 20_000);
    const answer = await asked(fleet, b);
    if (answer.is !== "wait") throw new Error(answer.is);
    expect(answer.waitMs).toBeGreaterThan(15_000);
    expect(answer.waitMs).toBeLessThanOrEqual(20_000);
    expect(await redis.pttl(keys.limit(HOST))).toBeGreaterThan(0);
  });

  it("is left alone for at most a minute", async ({ fleet, run }) => {
    const [a, b] = (await files(fleet, run, 2)) as [FileKeys, FileKeys];
    await ended(fleet, a, await fleet.admit(a), "slow", 3_600_000);
    const answer = await asked(fleet, b);
    if (answer.is !== "wait") throw new Error(answer.is);
    expect(answer.waitMs).toBeLessThanOrEqual(60_000);
  });

  it("keeps the limit that a user set for it", async ({ fleet, run, limit, redis, keys }) => {
    await limit({ files: 8 });
    const [a] = (await files(fleet, run, 1)) as [FileKeys];
    await ended(fleet, a, await fleet.admit(a), "slow");
    expect(await redis.pttl(keys.limit(HOST))).toBe(-1);
  });
});

describe("bytes per second", () => {
  it("are answered with the number of files that share them", async ({ fleet, run, limit }) => {
    await limit({ bytesPerSecond: 1_000_000 });
    const [a, b] = (await files(fleet, run, 2)) as [FileKeys, FileKeys];
    expect(await fleet.admit(a)).toMatchObject({ bytesPerSecond: 1_000_000, others: 1 });
    expect(await fleet.admit(b)).toMatchObject({ bytesPerSecond: 1_000_000, others: 2 });
  });
});
