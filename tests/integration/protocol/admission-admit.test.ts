import { shortHash } from "@drover/shared/ids";
import { Admission, LEASE_MS } from "@drover/shared/protocol/admission";
import { encodeCatalog } from "@drover/shared/protocol/catalog-entry";
import { connect } from "@drover/shared/redis/connect";
import { describe, expect } from "vitest";
import { it as base } from "../../harness/redis.js";
import { expireLease, keysOf, Member, RULES, redisMs, request, settling } from "../helpers/fleet.js";

const ENTRY = encodeCatalog({
  source: "source-hash_",
  version: "version",
  sha256: "ff".repeat(32),
  stamp: "stamp",
  sizeBytes: 5,
});

const it = base.extend<{ fleet: Member; run: string }>({
  fleet: async ({ redis, keys }, use) => use(new Member(redis, keys)),
  run: async ({ fleet }, use) => use(await fleet.newRun()),
});

describe("a lease", () => {
  it("is granted to the first who asks, with a fence from the clock of Redis", async ({
    fleet,
    run,
    redis,
  }) => {
    const file = await fleet.file(run);
    const before = await redisMs(redis);
    const admitted = await fleet.admit(file);
    expect(admitted).toMatchObject({ origin: "new", predecessors: [], staged: "", epoch: "0" });
    expect(admitted.catalog).toHaveLength(0);
    expect(admitted.fence).toMatch(/^\d{16}$/);
    expect(Number(admitted.fence)).toBeGreaterThanOrEqual(before * 1_000);
  });

  it("is refused to a second, who learns the owner, the source and the time left", async ({ fleet, run }) => {
    const file = await fleet.file(run);
    const { fence } = await fleet.admit(file, "d:1", { sourceHash: "mine" });
    const answer = await fleet.admission.admit(request(file, "other:1", { sourceHash: "theirs" }));
    expect(answer).toMatchObject({ is: "busy", owner: fleet.owner, sourceHash: "mine", fence });
    if (answer.is !== "busy") throw new Error();
    expect(answer.leftMs).toBeGreaterThan(0);
    expect(answer.leftMs).toBeLessThanOrEqual(LEASE_MS);
  });

  it("is granted again with the same fence when the same delivery asks again", async ({
    fleet,
    run,
    redis,
  }) => {
    const file = await fleet.file(run);
    const first = await fleet.admit(file, "d:1");
    await redis.script("FLUSH");
    const again = await fleet.admit(file, "d:1");
    expect(again).toMatchObject({ fence: first.fence, origin: "same", predecessors: [] });
    expect((await fleet.admission.admit(request(file, "d:2"))).is).toBe("busy");
  });

  it("stays with its delivery after it expired, until somebody else takes it", async ({ fleet, run }) => {
    const file = await fleet.file(run);
    const first = await fleet.admit(file, "d:1");
    await expireLease(fleet, file);
    expect(await fleet.admit(file, "d:1")).toMatchObject({ fence: first.fence, origin: "same" });
  });

  it("is granted at once after a release, with what is known of the staged bytes", async ({ fleet, run }) => {
    const file = await fleet.file(run);
    const first = await fleet.admit(file, "d:1");
    await fleet.admission.release({
      ...file,
      fence: first.fence,
      staged: "staged",
      verdict: "none",
      epoch: "0",
      rules: RULES,
      retryAfterMs: 0,
      fencedOff: true,
    });
    const second = await fleet.admit(file, "d:2");
    expect(second).toMatchObject({ origin: "released", staged: "staged", predecessors: [first.fence] });
    expect(BigInt(second.fence)).toBeGreaterThan(BigInt(first.fence));
    expect((await fleet.admission.admit(request(file, "d:3"))).is).toBe("busy");
  });

  it("gets a new fence after a release, for the same delivery too", async ({ fleet, run }) => {
    const file = await fleet.file(run);
    const first = await fleet.admit(file, "d:1");
    await fleet.admission.release({
      ...file,
      fence: first.fence,
      staged: "",
      verdict: "none",
      epoch: "0",
      rules: RULES,
      retryAfterMs: 0,
      fencedOff: true,
    });
    const again = await fleet.admit(file, "d:1");
    expect(again.origin).toBe("released");
    expect(BigInt(again.fence)).toBeGreaterThan(BigInt(first.fence));
  });

  it("of a dead process is taken over, but only if it is the one that was seen", async ({ fleet, run }) => {
    const file = await fleet.file(run);
    const first = await fleet.admit(file, "d:1");
    const wrong = await fleet.admission.admit(request(file, "d:2", { deadFence: "1" }));
    expect(wrong.is).toBe("busy");
    const second = await fleet.admit(file, "d:2", { deadFence: first.fence });
    expect(second).toMatchObject({ origin: "dead", predecessors: [first.fence] });
    // A third that saw the same dead owner comes too late.
    expect((await fleet.admission.admit(request(file, "d:3", { deadFence: first.fence }))).is).toBe("busy");
  });

  it("is taken over after it expired", async ({ fleet, run }) => {
    const file = await fleet.file(run);
    const first = await fleet.admit(file, "d:1");
    await expireLease(fleet, file);
    const second = await fleet.admit(file, "d:2");
    expect(second).toMatchObject({ origin: "expired", predecessors: [first.fence] });
    expect(BigInt(second.fence)).toBeGreaterThan(BigInt(first.fence));
  });

  it("lasts no longer than its time from now on where the clock of Redis was set back", async ({
    fleet,
    run,
    redis,
    keys,
  }) => {
    const file = await fleet.file(run);
    const first = await fleet.admit(file, "d:1");
    const lease = keys.lease(file.lease);
    await redis.hset(lease, { e: `${await redis.hget(lease, "e")}0` }); // centuries ahead
    // Its holder may live: it is not robbed, it has the time of a lease to renew it.
    const answer = await fleet.admission.admit(request(file, "d:2"));
    expect(answer).toMatchObject({ is: "busy", fence: first.fence, leftMs: LEASE_MS });
    const expiresMs = Number(await redis.hget(lease, "e"));
    expect(expiresMs).toBeLessThanOrEqual((await redisMs(redis)) + LEASE_MS);
    // Who asks again puts nothing off.
    await fleet.admission.admit(request(file, "d:3"));
    expect(Number(await redis.hget(lease, "e"))).toBe(expiresMs);
    await expireLease(fleet, file);
    expect((await fleet.admit(file, "d:2")).origin).toBe("expired");
  });

  it("names all predecessors that may have left staged bytes, until one of them releases it fenced off", async ({
    fleet,
    run,
  }) => {
    const file = await fleet.file(run);
    const fences: string[] = [];
    for (const delivery of ["d:1", "d:2", "d:3"]) {
      const admitted = await fleet.admit(file, delivery);
      expect(admitted.predecessors).toEqual(fences);
      fences.push(admitted.fence);
      await expireLease(fleet, file);
    }
    const fourth = await fleet.admit(file, "d:4");
    expect(fourth.predecessors).toEqual(fences);
    // A repeated request must not forget them, as the first answer may have been lost.
    expect((await fleet.admit(file, "d:4")).predecessors).toEqual(fences);
    await fleet.admission.release({
      ...file,
      fence: fourth.fence,
      staged: "",
      verdict: "none",
      epoch: "0",
      rules: RULES,
      retryAfterMs: 0,
      fencedOff: true,
    });
    expect((await fleet.admit(file, "d:5")).predecessors).toEqual([fourth.fence]);
  });

  it("still names them after a release that could not fence them off", async ({ fleet, run }) => {
    const file = await fleet.file(run);
    const first = await fleet.admit(file, "d:1");
    await expireLease(fleet, file);
    const second = await fleet.admit(file, "d:2");
    await fleet.admission.release({
      ...file,
      fence: second.fence,
      staged: "",
      verdict: "none",
      epoch: "0",
      rules: RULES,
      retryAfterMs: 0,
      fencedOff: false,
    });
    expect((await fleet.admit(file, "d:3")).predecessors).toEqual([first.fence, second.fence]);
  });

  it("names them no more once the successor has noted staged bytes of its own", async ({ fleet, run }) => {
    const file = await fleet.file(run);
    await fleet.admit(file, "d:1");
    await expireLease(fleet, file);
    const { fence } = await fleet.admit(file, "d:2");
    await fleet.admission.renew([{ lease: file.lease, fence, staged: "note" }]);
    await expireLease(fleet, file);
    expect((await fleet.admit(file, "d:3")).predecessors).toEqual([fence]);
  });

  it("counts the holders that died, and not those that released it", async ({ fleet, run }) => {
    const file = await fleet.file(run);
    const dead = await fleet.admit(file, "d:1");
    expect(dead.crashes).toBe(0);
    expect((await fleet.admit(file, "d:2", { deadFence: dead.fence })).crashes).toBe(1);
    await expireLease(fleet, file);
    const third = await fleet.admit(file, "d:3");
    expect(third.crashes).toBe(2);
    await fleet.admission.release({
      ...file,
      fence: third.fence,
      staged: "",
      verdict: "none",
      epoch: "0",
      rules: RULES,
      retryAfterMs: 0,
      fencedOff: true,
    });
    expect((await fleet.admit(file, "d:4")).crashes).toBe(2);
  });

  it("keeps its record for a day after it expired, so that a successor knows its predecessor", async ({
    fleet,
    run,
    redis,
    keys,
  }) => {
    const file = await fleet.file(run);
    await fleet.admit(file);
    const ttl = await redis.pttl(keys.lease(file.lease));
    expect(ttl).toBeGreaterThan(86_000_000);
    expect(ttl).toBeLessThanOrEqual(86_400_000);
  });
});

describe("a fence grows", () => {
  it("and differs for each file of a call, because it names what they stage", async ({ fleet, run }) => {
    const names = Array.from({ length: 100 }, (_, at) => [`f${at}`, `http://host/${at}`]);
    const files = await fleet.files(run, Object.fromEntries(names));
    const admitted = await Promise.all(files.map((file) => fleet.admit(file)));
    expect(new Set(admitted.map(({ fence }) => fence)).size).toBe(100);
  });

  it("when the lease's record is gone", async ({ fleet, run, redis, keys }) => {
    const file = await fleet.file(run);
    let last = 0n;
    for (const delivery of ["d:1", "d:2", "d:3", "d:4"]) {
      const fence = BigInt((await fleet.admit(file, delivery)).fence);
      expect(fence).toBeGreaterThan(last);
      last = fence;
      await redis.del(keys.lease(file.lease));
    }
  });

  it("for the file of the next run on the same destination", async ({ fleet, run }) => {
    const file = await fleet.file(run);
    const first = await fleet.admit(file);
    await fleet.admission.settle(settling(file, first));
    const next = await fleet.file(await fleet.newRun());
    const second = await fleet.admit(next);
    expect(second.origin).toBe("new");
    expect(BigInt(second.fence)).toBeGreaterThan(BigInt(first.fence));
  });

  it("by one when the clock of Redis was set back", async ({ fleet, run, redis, keys }) => {
    const file = await fleet.file(run);
    await fleet.admit(file, "d:1");
    const ahead = "9007199254740000"; // in the year 2255
    await redis.hset(keys.lease(file.lease), { f: ahead, e: "1" });
    const second = await fleet.admit(file, "d:2");
    expect(second.fence).toBe("9007199254740001");
    expect(second.predecessors).toEqual([ahead]);
  });
});

describe("admission", () => {
  it("of a file that has ended is refused and takes no lease", async ({ fleet, run, redis, keys }) => {
    const file = await fleet.file(run);
    const first = await fleet.admit(file);
    await fleet.admission.settle(settling(file, first));
    expect(await fleet.admission.admit(request(file, "d:2"))).toEqual({ is: "done" });
    expect(await redis.exists(keys.lease(file.lease))).toBe(0);
  });

  it("of a file of a cancelled run is refused and takes no lease", async ({ fleet, run, redis, keys }) => {
    const file = await fleet.file(run);
    await fleet.ledger.cancel(run);
    expect(await fleet.admission.admit(request(file))).toEqual({ is: "cancelled" });
    expect(await redis.exists(keys.lease(file.lease))).toBe(0);
  });

  it("answers with the catalog entry of the file", async ({ fleet, run, redis, keys }) => {
    const file = await fleet.file(run);
    const admitted = await fleet.admit(file);
    await fleet.admission.settle(settling(file, admitted, { catalog: ENTRY }));
    await redis.script("FLUSH");
    const next = await fleet.file(await fleet.newRun());
    expect((await fleet.admit(next)).catalog).toEqual(ENTRY);
    // The same tree with another name, or another tree with the same name, is another file.
    const other = await fleet.file(run, "b");
    expect((await fleet.admit(other)).catalog).toHaveLength(0);
    const elsewhere = { ...(await fleet.file(await fleet.newRun())), tree: "other", lease: shortHash("x") };
    expect((await fleet.admit(elsewhere)).catalog).toHaveLength(0);
    expect(await redis.exists(keys.flight(file.flight))).toBe(0);
  });

  it("of many files in one call gives each file its own answer", async ({ fleet, run }) => {
    const names = Object.fromEntries(
      Array.from({ length: 300 }, (_, at) => [`file-${at}`, `http://host-${at % 7}/${at}`]),
    );
    const files = await fleet.files(run, names);
    await fleet.admit(files[17] as (typeof files)[number], "somebody:1");
    const answers = await Promise.all(
      files.map((file, at) => fleet.admission.admit(request(file, `d-${at}:1`))),
    );
    expect(answers.map((answer) => answer.is)).toEqual(
      files.map((_, at) => (at === 17 ? "busy" : "admitted")),
    );
    // Each is settled with its own fence; a mixed-up answer would be stale.
    const settled = await Promise.all(
      files.map((file, at) => {
        const answer = answers[at];
        return answer?.is === "admitted"
          ? fleet.admission.settle(settling(file, answer, { index: at }))
          : undefined;
      }),
    );
    expect(settled.filter((answer) => answer?.is === "ok")).toHaveLength(299);
    expect(await fleet.ledger.counts(run)).toMatchObject({ files: 300, settled: 299, copied: 299 });
  });

  it("of one destination over many connections at once has one winner", async ({
    server,
    fleet,
    run,
    keys,
  }) => {
    const connections = await Promise.all(Array.from({ length: 8 }, () => connect(server.address)));
    try {
      for (const name of ["a", "b", "c"]) {
        const file = await fleet.file(run, name);
        const all = connections.flatMap((redis, at) => {
          const admission = new Admission(redis, keys, `owner-${at}`, RULES.probeMs);
          return Array.from({ length: 40 }, (_, nth) => admission.admit(request(file, `d-${at}-${nth}:1`)));
        });
        const answers = await Promise.all(all);
        const holders = answers.filter((answer) => answer.is === "admitted");
        expect(holders).toHaveLength(1);
        const busy = new Set(answers.flatMap((answer) => (answer.is === "busy" ? [answer.fence] : [])));
        expect([...busy]).toEqual(holders.map((holder) => (holder.is === "admitted" ? holder.fence : "")));
      }
    } finally {
      for (const redis of connections) redis.disconnect();
    }
  });

  it("of two files of one call on the same destination has one winner", async ({ fleet, run }) => {
    const other = await fleet.newRun();
    const [mine, theirs] = [await fleet.file(run), await fleet.file(other)];
    const answers = await Promise.all([
      fleet.admission.admit(request(mine, "d:1")),
      fleet.admission.admit(request(theirs, "e:1")),
    ]);
    expect(answers.map((answer) => answer.is)).toEqual(["admitted", "busy"]);
  });

  it("of many who all saw the same owner dead has one winner", async ({ fleet, run }) => {
    const file = await fleet.file(run);
    const { fence } = await fleet.admit(file, "dead:1");
    const answers = await Promise.all(
      Array.from({ length: 50 }, (_, at) =>
        fleet.admission.admit(request(file, `d-${at}:1`, { deadFence: fence })),
      ),
    );
    expect(answers.filter((answer) => answer.is === "admitted")).toHaveLength(1);
  });
});

describe("releasing and renewing", () => {
  it("is refused to a worker that was taken over; the lease of its successor stays", async ({
    fleet,
    run,
  }) => {
    const file = await fleet.file(run);
    const stale = await fleet.admit(file, "d:1");
    await expireLease(fleet, file);
    const holder = await fleet.admit(file, "d:2");
    const answer = await fleet.admission.release({
      ...file,
      fence: stale.fence,
      staged: "stale",
      verdict: "none",
      epoch: "0",
      rules: RULES,
      retryAfterMs: 0,
      fencedOff: true,
    });
    expect(answer.is).toBe("stale");
    const third = await fleet.admission.admit(request(file, "d:3"));
    expect(third).toMatchObject({ is: "busy", fence: holder.fence });
    expect((await fleet.admit(file, "d:2")).staged).toBe("");
  });

  it("is refused when the record is gone, and does not recreate it", async ({ fleet, run, redis, keys }) => {
    const file = await fleet.file(run);
    const { fence } = await fleet.admit(file, "d:1");
    await redis.del(keys.lease(file.lease));
    const answer = await fleet.admission.release({
      ...file,
      fence,
      staged: "",
      verdict: "none",
      epoch: "0",
      rules: RULES,
      retryAfterMs: 0,
      fencedOff: true,
    });
    expect(answer.is).toBe("stale");
    expect(await fleet.admission.renew([{ lease: file.lease, fence, staged: "" }])).toEqual([false]);
    expect(await redis.exists(keys.lease(file.lease))).toBe(0);
  });

  it("renews all leases of a process in one call and answers for each whether it is still held", async ({
    fleet,
    run,
  }) => {
    const files = await fleet.files(run, { a: "http://h/a", b: "http://h/b", c: "http://h/c" });
    const [a, b, c] = files as [(typeof files)[0], (typeof files)[0], (typeof files)[0]];
    const fences = await Promise.all(files.map(async (file) => (await fleet.admit(file)).fence));
    for (const file of files) await expireLease(fleet, file);
    const taken = await fleet.admit(b, "thief:1");
    const asked = files.map((file, at) => ({
      lease: file.lease,
      fence: fences[at] as string,
      staged: at === 2 ? "note" : "",
    }));
    expect(await fleet.admission.renew(asked)).toEqual([true, false, true]);
    for (const file of [a, c]) expect((await fleet.admission.admit(request(file, "e:1"))).is).toBe("busy");
    expect(await fleet.admission.admit(request(b, "e:1"))).toMatchObject({ is: "busy", fence: taken.fence });
    for (const file of [a, c]) await expireLease(fleet, file);
    expect((await fleet.admit(a, "e:1")).staged).toBe("");
    expect((await fleet.admit(c, "e:1")).staged).toBe("note");
  });

  it("keeps the note of staged bytes when there is no new one", async ({ fleet, run, redis }) => {
    const file = await fleet.file(run);
    const { fence } = await fleet.admit(file);
    await fleet.admission.renew([{ lease: file.lease, fence, staged: "note" }]);
    await redis.script("FLUSH");
    await fleet.admission.renew([{ lease: file.lease, fence, staged: "" }]);
    await expireLease(fleet, file);
    expect((await fleet.admit(file, "d:2")).staged).toBe("note");
  });

  it("keeps the record for another day", async ({ fleet, run, redis, keys }) => {
    const file = await fleet.file(run);
    const { fence } = await fleet.admit(file);
    await redis.pexpire(keys.lease(file.lease), 60_000);
    await fleet.admission.renew([{ lease: file.lease, fence, staged: "" }]);
    expect(await redis.pttl(keys.lease(file.lease))).toBeGreaterThan(86_000_000);
  });

  it("works with no leases", async ({ fleet }) => {
    expect(await fleet.admission.renew([])).toEqual([]);
  });
});

describe("flights", () => {
  it("differ by run, source, destination and generation", () => {
    const flights = [
      keysOf("r1", "http://h/a", "a"),
      keysOf("r2", "http://h/a", "a"),
      keysOf("r1", "http://h/b", "a"),
      keysOf("r1", "http://h/a", "b"),
      keysOf("r1", "http://h/a", "a", 1),
    ].map((file) => file.flight);
    expect(new Set(flights).size).toBe(5);
  });
});
