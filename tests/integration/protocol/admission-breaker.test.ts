import { Admission, type Admitted, type FileKeys } from "@drover/shared/protocol/admission";
import { MAX_PROBE_MS } from "@drover/shared/protocol/host-breakers";
import { closeBreaker, findHosts, readHosts } from "@drover/shared/protocol/hosts";
import { Keys } from "@drover/shared/protocol/keys";
import { connect } from "@drover/shared/redis/connect";
import { describe, expect } from "vitest";
import { until } from "../../harness/gate.js";
import { it as base } from "../../harness/redis.js";
import { dump, expireLease, Member, RULES, redisMs, request, settling } from "../helpers/fleet.js";

const HOST = "host:80";

const it = base.extend<{ fleet: Member; run: string }>({
  fleet: async ({ redis, keys }, use) => use(new Member(redis, keys)),
  run: async ({ fleet }, use) => use(await fleet.newRun()),
});

/** Asks for a file of the host. A lease that is granted is kept, and nothing is reported of the host. */
async function ask(fleet: Member, run: string): Promise<"through" | number> {
  const file = await fleet.file(run, `ask-${Math.random()}`, `http://host/${Math.random()}`);
  const answer = await fleet.admission.admit(request(file));
  if (answer.is === "blocked") return answer.waitMs;
  if (answer.is !== "admitted") throw new Error(answer.is);
  return "through";
}

async function open(fleet: Member, run: string): Promise<number> {
  const { blockedUntilMs } = await fleet.tell(run, "host", "fail", { openBreaker: true });
  return blockedUntilMs;
}

/** Ends the time of an open breaker now. */
async function cool(fleet: Member): Promise<void> {
  await fleet.redis.hset(fleet.keys.breaker(HOST), "until", "1");
}

describe("a breaker that is closed by hand", () => {
  it("lets everything through, and takes no notice of what was admitted before", async ({
    fleet,
    run,
    redis,
    keys,
  }) => {
    expect(await closeBreaker(redis, keys, HOST)).toBe(false);
    const before = await fleet.file(run, "before", "http://host/before");
    const admitted = (await fleet.admission.admit(request(before))) as Admitted;
    await open(fleet, run);
    expect(await ask(fleet, run)).toBeGreaterThan(0);
    expect(await readHosts(redis, keys, [HOST])).toMatchObject([{ breaker: "open", opens: 1 }]);
    expect(await closeBreaker(redis, keys, HOST)).toBe(true);
    expect(await ask(fleet, run)).toBe("through");
    const settled = await fleet.admission.settle(
      settling(before, admitted, { outcome: "failed", verdict: "fail", openBreaker: true }),
    );
    expect(settled).toMatchObject({ is: "ok", blockedUntilMs: 0 });
    expect(await readHosts(redis, keys, [HOST])).toMatchObject([
      { breaker: "closed", openUntilMs: undefined, failures: 0, opens: 1 },
    ]);
    expect(await closeBreaker(redis, keys, HOST)).toBe(false);
    await open(fleet, run);
    expect(await ask(fleet, run)).toBeGreaterThan(0);
  });

  it("is found among all keys, whatever the namespace is called", async ({ fleet, run, redis, keys }) => {
    await open(fleet, run);
    expect(await findHosts(redis, keys)).toEqual({ hosts: [HOST], isTruncated: false });
    expect(await findHosts(redis, new Keys("{a*[x]}"))).toEqual({ hosts: [], isTruncated: false });
    await redis.hset(new Keys("{a*[x]}").limit("other:443"), "c", "1");
    expect(await findHosts(redis, new Keys("{a*[x]}"))).toEqual({ hosts: ["other:443"], isTruncated: false });
  });
});

describe("a closed breaker", () => {
  it("opens after three failures in a row, and answers until when", async ({ fleet, run, redis }) => {
    const first = await fleet.tell(run, "host", "fail");
    const second = await fleet.tell(run, "host", "fail");
    expect([first.blockedUntilMs, second.blockedUntilMs]).toEqual([0, 0]);
    expect(await ask(fleet, run)).toBe("through");
    await redis.script("FLUSH");
    const now = await redisMs(redis);
    const third = await fleet.tell(run, "host", "fail");
    expect(third.blockedUntilMs).toBeGreaterThanOrEqual(now + RULES.ttlMs);
    expect(third.blockedUntilMs).toBeLessThan(now + RULES.ttlMs + 30_000);
    const wait = await ask(fleet, run);
    expect(wait).toBeGreaterThan(0);
    expect(wait).toBeLessThanOrEqual(RULES.ttlMs);
  });

  it("forgets its failures after a success", async ({ fleet, run }) => {
    for (let round = 0; round < 4; round++) {
      await fleet.tell(run, "host", "fail");
      await fleet.tell(run, "host", "fail");
      await fleet.tell(run, "host", "ok");
    }
    expect(await ask(fleet, run)).toBe("through");
  });

  it("ignores tries without a verdict, local files and other hosts", async ({ fleet, run }) => {
    for (let nth = 0; nth < 5; nth++) {
      await fleet.tell(run, `other-${nth}`, "fail");
      await fleet.tell(run, "host", "fail", { verdict: "none" });
      const local = await fleet.file(run, `local-${nth}`, `/data/${nth}`);
      expect(local.host).toBe("");
      const admitted = await fleet.admit(local);
      const answer = await fleet.admission.settle(settling(local, admitted, { verdict: "fail" }));
      expect(answer).toEqual({ is: "ok", blockedUntilMs: 0 });
    }
    expect(await ask(fleet, run)).toBe("through");
    const local = await fleet.file(run, "local", "/data/again");
    expect((await fleet.admission.admit(request(local))).is).toBe("admitted");
  });

  it("counts the failures of tries that release their lease", async ({ fleet, run }) => {
    const file = await fleet.file(run);
    const answered: number[] = [];
    for (const delivery of ["d:1", "d:2", "d:3"]) {
      const { fence, epoch } = await fleet.admit(file, delivery);
      const answer = await fleet.admission.release({
        ...file,
        fence,
        staged: "",
        verdict: "fail",
        epoch,
        rules: RULES,
        retryAfterMs: 0,
        fencedOff: true,
      });
      answered.push(answer.blockedUntilMs);
    }
    expect(answered.map((each) => each > 0)).toEqual([false, false, true]);
    expect((await fleet.admission.admit(request(file, "d:4"))).is).toBe("blocked");
  });

  it("opens at once when the caller asks for it", async ({ fleet, run }) => {
    const { blockedUntilMs } = await fleet.tell(run, "host", "fail", {
      openBreaker: true,
      rules: { ...RULES, threshold: 100 },
    });
    expect(blockedUntilMs).toBeGreaterThan(0);
    expect(await ask(fleet, run)).not.toBe("through");
  });

  it("is opened once by many failures in one call", async ({ fleet, run, redis, keys }) => {
    const files = await fleet.files(
      run,
      Object.fromEntries(Array.from({ length: 20 }, (_, at) => [`n${at}`, `http://host/${at}`])),
    );
    const admitted = await Promise.all(files.map((file) => fleet.admit(file)));
    const answers = await Promise.all(
      files.map((file, at) =>
        fleet.admission.settle(
          settling(file, admitted[at], { index: at, verdict: "fail", outcome: "failed", failure: "" }),
        ),
      ),
    );
    expect(answers.every((answer) => answer.is === "ok")).toBe(true);
    expect(answers.filter((answer) => answer.blockedUntilMs > 0)).toHaveLength(1);
    expect(await redis.hget(keys.breaker(HOST), "opens")).toBe("1");
    expect((await fleet.ledger.counts(run)).failed).toBe(20);
  });
});

describe("a worker that is admitted right after a file has ended", () => {
  it("finds the breaker as that file left it", async ({ fleet, run }) => {
    const names = Array.from({ length: 30 }, (_, at) => `n${at}`);
    const sources = names.map((name, at) => [name, `http://host${at % 10}/${at}`] as const);
    const files = await fleet.files(run, Object.fromEntries(sources));
    const [before, failing, next] = [files.slice(0, 10), files.slice(10, 20), files.slice(20)];
    const held = await Promise.all([...before, ...failing].map((file) => fleet.admit(file)));
    const options = { outcome: "failed", failure: "", verdict: "fail", openBreaker: true } as const;
    for (let at = 0; at < 10; at++) {
      await fleet.admission.settle(settling(before[at] as FileKeys, held[at], { index: at }));
      const settled = fleet.admission.settle(
        settling(failing[at] as FileKeys, held[10 + at], { ...options, index: 10 + at }),
      );
      const answer = await fleet.admission.admit(request(next[at] as FileKeys));
      expect([(await settled).is, answer.is]).toEqual(["ok", "blocked"]);
    }
  });
});

describe("files that are settled in one call", () => {
  it.for([
    ["fail fail ok fail fail", false],
    ["ok fail fail fail", true],
    ["fail fail fail ok", true],
    ["ok ok fail fail ok", false],
    ["ok fail ok fail fail", false],
    ["fail fail none fail", true],
  ] as const)(
    "are reported to the breaker one after the other: %s",
    async ([order, opens], { fleet, run }) => {
      const verdicts = order.split(" ") as ("ok" | "fail" | "none")[];
      const names = Object.fromEntries(verdicts.map((_, at) => [`n${at}`, `http://host/${at}`]));
      const files = await fleet.files(run, names);
      const admitted = await Promise.all(files.map((file) => fleet.admit(file)));
      const answers = await Promise.all(
        files.map((file, index) =>
          fleet.admission.settle(
            settling(file, admitted[index], { index, verdict: verdicts[index] as "ok" }),
          ),
        ),
      );
      expect(answers.filter((answer) => answer.blockedUntilMs > 0)).toHaveLength(opens ? 1 : 0);
      expect((await ask(fleet, run)) === "through").toBe(!opens);
    },
  );
});

describe("files that are admitted in one call", () => {
  it("each depend on the breaker of their host and on the state of their run", async ({ fleet, run }) => {
    await open(fleet, run);
    const cancelled = await fleet.newRun();
    const hosts = ["host", "free", "other", "host", "free"];
    const files = await Promise.all([
      fleet.files(run, Object.fromEntries(hosts.map((host, at) => [`a${at}`, `http://${host}/a${at}`]))),
      fleet.files(cancelled, { b: "http://free/b" }),
    ]);
    const local = await fleet.file(run, "local", "/data/local");
    await fleet.ledger.cancel(cancelled);
    const answers = await Promise.all(
      [...files.flat(), local].map((file) => fleet.admission.admit(request(file))),
    );
    expect(answers.map((answer) => answer.is)).toEqual([
      ...["blocked", "admitted", "admitted", "blocked", "admitted"],
      ...["cancelled", "admitted"],
    ]);
  });
});

describe("an open breaker", () => {
  it("lets nothing through and grants no lease", async ({ fleet, run, redis, keys }) => {
    await open(fleet, run);
    const file = await fleet.file(run, "blocked", "http://host/blocked");
    const before = await dump(redis, keys);
    for (let nth = 0; nth < 3; nth++) {
      expect((await fleet.admission.admit(request(file, `d:${nth}`))).is).toBe("blocked");
    }
    expect(await dump(redis, keys)).toEqual(before);
  });

  it("holds for every process of the fleet", async ({ fleet, run, server, keys }) => {
    await open(fleet, run);
    const other = await connect(server.address);
    try {
      const file = await fleet.file(run, "blocked", "http://host/blocked");
      const admission = new Admission(other, keys, "another process", RULES.probeMs);
      expect((await admission.admit(request(file, "e:1"))).is).toBe("blocked");
    } finally {
      other.disconnect();
    }
  });

  it("survives a kill -9 of Redis", async ({ fleet, run, server }) => {
    await open(fleet, run);
    await server.restart();
    expect(await ask(fleet, run)).not.toBe("through");
  });

  it("does not change when files end that were admitted before it opened", async ({
    fleet,
    run,
    redis,
    keys,
  }) => {
    const files = await fleet.files(run, { a: "http://host/a", b: "http://host/b", c: "http://host/c" });
    const admitted = await Promise.all(files.map((file) => fleet.admit(file)));
    await open(fleet, run);
    const before = await redis.hgetall(keys.breaker(HOST));
    const verdicts = ["ok", "fail", "fail"] as const;
    for (const [at, file] of files.entries()) {
      const over = { index: at, verdict: verdicts[at] as "ok", openBreaker: at === 2, retryAfterMs: 900_000 };
      const answer = await fleet.admission.settle(settling(file, admitted[at], over));
      expect(answer).toEqual({ is: "ok", blockedUntilMs: 0 });
    }
    expect(await redis.hgetall(keys.breaker(HOST))).toEqual(before);
  });

  it("stays open as long as Retry-After asks, if that is longer", async ({ fleet, run, redis }) => {
    const now = await redisMs(redis);
    const long = await fleet.tell(run, "host", "fail", { openBreaker: true, retryAfterMs: 600_000 });
    expect(long.blockedUntilMs).toBeGreaterThanOrEqual(now + 600_000);
    const short = await fleet.tell(run, "other", "fail", { openBreaker: true, retryAfterMs: 1_000 });
    expect(short.blockedUntilMs).toBeGreaterThanOrEqual(now + RULES.ttlMs);
    expect(short.blockedUntilMs).toBeLessThan(now + 600_000);
  });

  it("keeps its record after its time, to count how often it opened", async ({ fleet, run, redis, keys }) => {
    await open(fleet, run);
    expect(await redis.pttl(keys.breaker(HOST))).toBeGreaterThan(RULES.ttlMs + 80_000_000);
  });

  it("admits the holder of a lease again, with the current epoch", async ({ fleet, run, redis, keys }) => {
    const file = await fleet.file(run);
    const first = await fleet.admit(file, "d:1");
    await open(fleet, run);
    const again = await fleet.admit(file, "d:1");
    expect(again).toMatchObject({ origin: "same", fence: first.fence });
    expect(again.epoch).toBe(await redis.hget(keys.breaker(HOST), "ep"));
  });
});

describe("a half-open breaker", () => {
  it("lets three probes through, and has the others ask again soon", async ({ fleet, run }) => {
    await open(fleet, run);
    await cool(fleet);
    const names = Object.fromEntries(Array.from({ length: 50 }, (_, at) => [`n${at}`, `http://host/${at}`]));
    const files = await fleet.files(run, names);
    const answers = await Promise.all(
      files.map((file, at) => fleet.admission.admit(request(file, `d${at}:1`))),
    );
    expect(answers.filter((answer) => answer.is === "admitted")).toHaveLength(3);
    const waits = answers.flatMap((answer) => (answer.is === "blocked" ? [answer.waitMs] : []));
    expect(waits).toHaveLength(47);
    for (const wait of waits) {
      expect(wait).toBeGreaterThan(0);
      expect(wait).toBeLessThanOrEqual(1_000);
    }
  });

  it("closes with the first success", async ({ fleet, run, redis, keys }) => {
    await open(fleet, run);
    await cool(fleet);
    expect((await fleet.tell(run, "host", "ok")).blockedUntilMs).toBe(0);
    for (let nth = 0; nth < 6; nth++) expect(await ask(fleet, run)).toBe("through");
    expect(await redis.hget(keys.breaker(HOST), "st")).toBeNull();
  });

  it("opens again with the first failure, regardless of the threshold", async ({
    fleet,
    run,
    redis,
    keys,
  }) => {
    await open(fleet, run);
    await cool(fleet);
    const { blockedUntilMs } = await fleet.tell(run, "host", "fail");
    expect(blockedUntilMs).toBeGreaterThan(0);
    expect(await ask(fleet, run)).not.toBe("through");
    expect(await redis.hget(keys.breaker(HOST), "opens")).toBe("2");
  });

  it("is not reopened by a failed probe after another one has closed it", async ({ fleet, run }) => {
    await open(fleet, run);
    await cool(fleet);
    const [a, b] = await fleet.files(run, { a: "http://host/a", b: "http://host/b" });
    if (!a || !b) throw new Error();
    const [first, second] = [await fleet.admit(a), await fleet.admit(b)];
    await fleet.admission.settle(settling(a, first, { verdict: "ok" }));
    const rules = { ...RULES, threshold: 1 };
    const late = await fleet.admission.settle(settling(b, second, { index: 1, verdict: "fail", rules }));
    expect(late.blockedUntilMs).toBe(0);
    expect(await ask(fleet, run)).toBe("through");
  });

  it("is not closed by the success of a file that was admitted before it opened", async ({ fleet, run }) => {
    const file = await fleet.file(run);
    const early = await fleet.admit(file);
    await open(fleet, run);
    await cool(fleet);
    await ask(fleet, run);
    await fleet.admission.settle(settling(file, early, { verdict: "ok" }));
    await ask(fleet, run);
    await ask(fleet, run);
    expect(await ask(fleet, run)).not.toBe("through");
  });

  it("closes with its own success although an older one is reported in the same call", async ({
    fleet,
    run,
    redis,
    keys,
  }) => {
    const before = await fleet.file(run, "before");
    const early = await fleet.admit(before);
    await open(fleet, run);
    await cool(fleet);
    const probe = await fleet.file(run, "probe");
    const late = await fleet.admit(probe);
    await Promise.all([
      fleet.admission.settle(settling(before, early, { index: 0, verdict: "ok" })),
      fleet.admission.settle(settling(probe, late, { index: 2, verdict: "ok" })),
    ]);
    expect(await redis.hget(keys.breaker(HOST), "st")).toBeNull();
  });

  it("does not free a probe when a file ends that was never admitted", async ({
    fleet,
    run,
    redis,
    keys,
  }) => {
    await open(fleet, run);
    await cool(fleet);
    for (let probe = 0; probe < 3; probe++) expect(await ask(fleet, run)).toBe("through");
    const file = await fleet.file(run, "locked");
    const epoch = (await redis.hget(keys.breaker(HOST), "ep")) as string;
    const over = { index: 4, outcome: "locked", failure: "{}", epoch } as const;
    await fleet.admission.settle(settling(file, undefined, over));
    expect(await ask(fleet, run)).not.toBe("through");
  });

  it("frees the probe of a worker that died when it expires", async ({ redis, keys }) => {
    const fleet = new Member(redis, keys, "owner", 100);
    const run = await fleet.newRun();
    await open(fleet, run);
    await cool(fleet);
    for (let nth = 0; nth < 3; nth++) expect(await ask(fleet, run)).toBe("through");
    await until("the probe of a dead worker", async () => (await ask(fleet, run)) === "through");
  });

  it("has no probes that last longer than a probe may, where the clock of Redis was set back", async ({
    fleet,
    run,
    redis,
    keys,
  }) => {
    await open(fleet, run);
    await cool(fleet);
    for (let nth = 0; nth < 3; nth++) expect(await ask(fleet, run)).toBe("through");
    const ahead = (await redisMs(redis)) + 86_400_000;
    await redis.hset(keys.breaker(HOST), { p1: ahead, p2: ahead, p3: ahead });
    expect(await ask(fleet, run)).not.toBe("through");
    const latest = (await redisMs(redis)) + MAX_PROBE_MS;
    for (const probe of await redis.hmget(keys.breaker(HOST), "p1", "p2", "p3"))
      expect(Number(probe)).toBeLessThanOrEqual(latest);
  });

  it("counts the same delivery that asks again as one probe", async ({ fleet, run }) => {
    await open(fleet, run);
    await cool(fleet);
    const file = await fleet.file(run);
    for (let nth = 0; nth < 5; nth++) await fleet.admit(file, "d:1");
    expect(await ask(fleet, run)).toBe("through");
    expect(await ask(fleet, run)).toBe("through");
    expect(await ask(fleet, run)).not.toBe("through");
  });
});

describe("an open breaker whose Redis has its clock set back", () => {
  it("is open for as long as it was to be, from the first who asks", async ({ fleet, run, redis, keys }) => {
    await open(fleet, run);
    const [openedMs, untilMs] = (await redis.hmget(keys.breaker(HOST), "at", "until")).map(Number) as [
      number,
      number,
    ];
    expect(untilMs - openedMs).toBe(RULES.ttlMs);
    const hourMs = 3_600_000; // as it looks when the clock goes back by that
    await redis.hset(keys.breaker(HOST), { at: openedMs + hourMs, until: untilMs + hourMs });
    expect(await ask(fleet, run)).toBe(RULES.ttlMs);
    const shifted = Number(await redis.hget(keys.breaker(HOST), "until"));
    expect(shifted).toBeLessThanOrEqual((await redisMs(redis)) + RULES.ttlMs);
    expect(await ask(fleet, run)).toBeLessThanOrEqual(RULES.ttlMs);
    expect(Number(await redis.hget(keys.breaker(HOST), "until"))).toBe(shifted); // who asks puts nothing off
    await cool(fleet);
    expect(await ask(fleet, run)).toBe("through");
  });

  it("may be open for longer than it was to be, where that was not noted", async ({
    fleet,
    run,
    redis,
    keys,
  }) => {
    const untilMs = (await redisMs(redis)) + 7_200_000;
    await redis.hset(keys.breaker(HOST), { st: "o", until: untilMs, ep: 1 });
    expect(await ask(fleet, run)).toBeGreaterThan(7_000_000);
    expect(Number(await redis.hget(keys.breaker(HOST), "until"))).toBe(untilMs);
  });
});

describe("a worker whose lease was taken over", () => {
  it.for(["ok", "fail"] as const)(
    "changes no breaker when it settles with %s",
    async (verdict, { fleet, run, redis, keys }) => {
      await fleet.tell(run, "host", "fail");
      const file = await fleet.file(run);
      const stale = await fleet.admit(file, "d:1");
      await expireLease(fleet, file);
      await fleet.admit(file, "d:2");
      const before = await redis.hgetall(keys.breaker(HOST));
      const answer = await fleet.admission.settle(settling(file, stale, { verdict, openBreaker: true }));
      expect(answer).toEqual({ is: "stale", blockedUntilMs: 0 });
      expect(await redis.hgetall(keys.breaker(HOST))).toEqual(before);
    },
  );

  it.for(["ok", "fail"] as const)(
    "changes no breaker when it releases with %s",
    async (verdict, { fleet, run, redis, keys }) => {
      await fleet.tell(run, "host", "fail");
      const file = await fleet.file(run);
      const stale = await fleet.admit(file, "d:1");
      await expireLease(fleet, file);
      await fleet.admit(file, "d:2");
      const before = await redis.hgetall(keys.breaker(HOST));
      const answer = await fleet.admission.release({
        ...file,
        fence: stale.fence,
        staged: "",
        verdict,
        epoch: stale.epoch,
        rules: RULES,
        retryAfterMs: 0,
        fencedOff: true,
      });
      expect(answer).toEqual({ is: "stale", blockedUntilMs: 0 });
      expect(await redis.hgetall(keys.breaker(HOST))).toEqual(before);
    },
  );
});

describe("a probe without a verdict", () => {
  it("makes room for another probe", async ({ fleet, run, redis, keys }) => {
    const names = ["a", "b", "c", "d", "e"];
    const all = await fleet.files(
      run,
      Object.fromEntries(names.map((name) => [name, `http://probed/${name}`])),
    );
    await redis.hset(keys.breaker("probed:80"), "st", "o", "until", 1, "ep", 7);
    const probes = [];
    for (const file of all.slice(0, 3)) probes.push(await fleet.admit(file, `${file.name}:1`));
    const [, , , d, e] = all;
    expect((await fleet.admission.admit(request(d as FileKeys, "d:1"))).is).toBe("blocked");
    await fleet.admission.settle(settling(all[0] as FileKeys, probes[0], { verdict: "none" }));
    expect((await fleet.admission.admit(request(d as FileKeys, "d:1"))).is).toBe("admitted");
    expect((await fleet.admission.admit(request(e as FileKeys, "e:1"))).is).toBe("blocked");
    const { fence, epoch } = probes[1] as Admitted;
    await fleet.admission.release({
      ...(all[1] as FileKeys),
      fence,
      staged: "",
      verdict: "none",
      epoch,
      rules: RULES,
      retryAfterMs: 0,
      fencedOff: true,
    });
    expect((await fleet.admission.admit(request(e as FileKeys, "e:1"))).is).toBe("admitted");
  });
});
