import { randomBytes } from "node:crypto";
import { mkdtempSync, rmSync } from "node:fs";
import { UnavailableError } from "@drover/shared/errors";
import { Keys } from "@drover/shared/protocol/keys";
import { recordRun } from "@drover/shared/protocol/record-run";
import { pruneRuns } from "@drover/shared/protocol/run-retention";
import { connect } from "@drover/shared/redis/connect";
import { isRedisAway } from "@drover/shared/redis/errors";
import { resent } from "@drover/shared/redis/script";
import { Queue, Worker } from "bullmq";
import type { Redis } from "ioredis";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test, vi } from "vitest";
import { type Certificate, selfSigned } from "../../harness/certificate.js";
import { Sandbox } from "../../harness/drover.js";
import { until } from "../../harness/gate.js";
import { MASTER, Server, TestCluster, Watched } from "../../harness/redis-kinds.js";
import { Member, settling, specOf } from "../helpers/fleet.js";

// A master that hangs is noticed after 15 seconds; a busy machine adds to all the others' timers.
vi.setConfig({ testTimeout: 120_000 });

const SECRET = "CANARY/@:%?#";
const PASSWORD = encodeURIComponent(SECRET);
/** A user that may do no more than docs/settings.md asks for. */
const USER = ["--user", "drover", "on", `>${SECRET}`, "~{drover*", "+@all", "-@dangerous", "+info"];

const box = new Sandbox();
const directory = mkdtempSync("/tmp/dvk-");
let certificate: Certificate;
beforeAll(async () => {
  certificate = await selfSigned(directory);
});
afterAll(async () => {
  await box.dispose();
  rmSync(directory, { recursive: true });
});

/** What ioredis, BullMQ and Node print by themselves: it must stay empty. */
let printed: unknown[][];
process.on("warning", (warning) => printed.push([warning]));
beforeEach(() => {
  printed = [];
  for (const level of ["log", "warn", "error"] as const)
    vi.spyOn(console, level).mockImplementation((...args) => printed.push(args));
});
const open: Redis[] = [];
afterEach(() => {
  for (const redis of open.splice(0)) redis.disconnect();
  vi.restoreAllMocks();
  vi.unstubAllEnvs();
  expect(printed).toEqual([]);
});

async function connected(url: string): Promise<Redis> {
  const redis = await connect({ url });
  open.push(redis);
  return redis;
}

/** Keys that nothing else uses, on a node that differs from time to time. */
function newKeys(): Keys {
  return new Keys(`{drover-${randomBytes(6).toString("hex")}}`);
}

/** The line with which a Redis is refused. */
async function refusal(url: string, timeoutMs?: number): Promise<string> {
  const error = await connect({ url }, timeoutMs).then(
    (redis) => redis.disconnect(),
    (thrown) => thrown,
  );
  expect(error).toBeInstanceOf(UnavailableError);
  const { message } = error as Error;
  expect(message).not.toContain("CANARY");
  expect(message).not.toContain("\n");
  return message;
}

/** A queue with a worker that records what it gets. */
function served(redis: Redis, keys: Keys) {
  const options = { connection: redis, prefix: keys.queuePrefix() };
  const queue = new Queue("run-0", options);
  const got: unknown[] = [];
  const worker = new Worker("run-0", async (job) => got.push(job.data), options);
  const errors: Error[] = [];
  queue.on("error", () => {});
  worker.on("error", (error) => isRedisAway(error) || errors.push(error));
  return {
    /** Of the worker, other than that Redis is away. */
    errors,
    add: (...all: number[]) =>
      resent(redis, () => queue.addBulk(all.map((data) => ({ name: "copy", data })))),
    got: (data: number) => until(`job ${data}`, () => got.includes(data), 60_000),
    async close() {
      await worker.close();
      await queue.obliterate({ force: true });
      await queue.close();
    },
  };
}

/** Uses all that Drover needs of a Redis: a run from start to end, and a queue. */
async function runsAFile(redis: Redis): Promise<void> {
  const keys = newKeys();
  const member = new Member(redis, keys);
  const run = await member.newRun();
  const file = await member.file(run);
  const admitted = await member.admit(file);
  expect(await member.admission.renew([{ lease: file.lease, fence: admitted.fence, staged: "" }])).toEqual([
    true,
  ]);
  expect(await member.admission.settle(settling(file, admitted))).toMatchObject({ is: "ok" });
  await member.ledger.seal(run);
  expect(await member.ledger.finish(run)).toBe("done");
  expect(await member.ledger.counts(run)).toMatchObject({ files: 1, settled: 1, copied: 1 });
  const queue = served(redis, keys);
  await queue.add(1, 2);
  await queue.got(1);
  await queue.got(2);
  await queue.close();
}

/** Runs the command. */
async function lists(url: string, env: Record<string, string> = {}): Promise<void> {
  const result = await box.run(["runs", "--redis", url], { env });
  expect(result).toMatchObject({ code: 0, stdout: "no runs yet\n", stderr: "" });
}

interface Group {
  master: Server;
  follower(): Redis;
}

/** Loses the master while everything is in use: the next one answers what was asked meanwhile. */
async function failsOver(redis: Redis, group: Group, how: "kill" | "pause" = "kill"): Promise<void> {
  const keys = new Keys();
  const member = new Member(redis, keys);
  const queue = served(redis, keys);
  await queue.add(1);
  await queue.got(1);
  const duplicate = redis.duplicate();
  open.push(duplicate);
  await duplicate.set("{drover}:before", "1");
  const before = await member.newRun();
  const file = await member.file(before);
  const follower = group.follower();
  await until(
    "the replica to have it all",
    async () => (await follower.exists(keys.flight(file.flight))) === 1,
  );
  const ended = new AbortController();
  const writing = (async () => {
    for (let at = 1; !ended.signal.aborted; at++) await redis.set("{drover}:count", at);
  })();
  await group.master[how]();
  const [admitted, run, , value] = await Promise.all([
    member.admit(file),
    member.newRun(),
    queue.add(2, 3),
    duplicate.get("{drover}:before"),
    redis.set("{drover}:after", "1"),
    member.ledger.counts(before),
    queue.got(3),
  ]);
  ended.abort();
  await writing;
  expect(value).toBe("1");
  expect(await follower.call("ROLE")).toContain("master");
  expect(await follower.get("{drover}:after")).toBe("1");
  expect(await member.admission.settle(settling(file, admitted))).toMatchObject({ is: "ok" });
  expect((await member.ledger.list()).map((each) => each.id).sort()).toEqual([before, run].sort());
  await queue.got(2);
  await queue.close();
  await runsAFile(redis);
}

describe("a single Redis", () => {
  let server: Server;
  let tls: Server;
  let url: string;
  let tlsUrl: string;
  beforeAll(async () => {
    [server, tls] = await Promise.all([Server.start(USER), Server.start(USER, { tls: certificate })]);
    url = `redis://drover:${PASSWORD}@${server.address}/3`;
    tlsUrl = `rediss://drover:${PASSWORD}@${tls.address}`;
  });
  afterAll(async () => {
    await Promise.all([server.stop(), tls.stop()]);
  });

  test("works for a user with minimal rights, in the database that the URL names", async () => {
    const redis = await connected(url);
    await runsAFile(redis);
    expect(await redis.client("INFO")).toMatch(/ user=drover .*/);
    expect(await redis.client("INFO")).toMatch(/ db=3 /);
    await lists(url);
  });

  test("works over TLS with a private certificate authority", async () => {
    vi.stubEnv("DROVER_REDIS_CA", certificate.certPath);
    await runsAFile(await connected(tlsUrl));
    await lists(tlsUrl, { DROVER_REDIS_CA: certificate.certPath });
    await lists(tlsUrl, { NODE_EXTRA_CA_CERTS: certificate.certPath });
  });

  test("is refused when its certificate cannot be verified", async () => {
    expect(await refusal(tlsUrl)).toMatch(/self-signed certificate/);
    vi.stubEnv("DROVER_REDIS_CA", `${directory}/none.pem`);
    expect(await refusal(tlsUrl)).toMatch(/^cannot read DROVER_REDIS_CA .*none\.pem \(ENOENT\)$/);
    vi.stubEnv("DROVER_REDIS_CA", certificate.keyPath);
    expect(await refusal(tlsUrl)).toMatch(/^DROVER_REDIS_CA .* holds no certificate in PEM form$/);
  });

  test("is refused with the reason", async () => {
    expect(await refusal(`redis://drover:CANARY@${server.address}`)).toMatch(/\(WRONGPASS /);
    expect(await refusal("redis://:CANARY@127.0.0.1:1")).toMatch(/ECONNREFUSED 127\.0\.0\.1:1/);
    expect(await refusal("redis://no-such-host.invalid")).toMatch(/ENOTFOUND|EAI_AGAIN/);
    expect(await refusal(`rediss://${server.address}`, 300)).toMatch(/\(no answer in 0\.3 s\)/);
    expect(await refusal(`redis://${tls.address}`)).toMatch(/^cannot reach Redis at redis:/);
    expect(await refusal("http://CANARY@host")).toMatch(/^the address of Redis must be redis:/);
  });

  test("is refused to a user without the right to ask whether keys could be evicted", async () => {
    await server.direct().call("ACL", "SETUSER", "blind", "on", "nopass", "allkeys", "+@all", "-info");
    expect(await refusal(`redis://blind:x@${server.address}`)).toMatch(
      /^the user blind of the Redis at .* may not use INFO, .*: ACL SETUSER blind \+info$/,
    );
  });

  test("is waited for while it is a replica, and nothing is lost", async () => {
    const other = await Server.start();
    try {
      const redis = await connected(`redis://${other.address}`);
      const member = new Member(redis, newKeys());
      const queue = served(redis, member.keys);
      await queue.add(1);
      await queue.got(1);
      const control = other.direct();
      await control.replicaof("127.0.0.1", 1);
      const refused = new Promise((resolve) => redis.once("close", resolve));
      const asked = Promise.all([
        member.newRun(),
        queue.add(2),
        ...Array.from({ length: 20 }, (_, at) => redis.hset("{drover}:a", `${at}`, at)),
      ]);
      await refused;
      await control.replicaof("NO", "ONE");
      const [run] = await asked;
      await queue.got(2);
      expect((await member.ledger.list()).map((each) => each.id)).toEqual([run]);
      expect(await redis.hlen("{drover}:a")).toBe(20);
      expect(queue.errors).toEqual([]);
      await queue.close();
    } finally {
      await other.stop();
    }
  });

  test("is waited for by a duplicate connection too", async () => {
    const other = await Server.start(["--appendonly", "yes"]);
    try {
      const duplicate = (await connected(`redis://${other.address}`)).duplicate();
      open.push(duplicate);
      await duplicate.set("a", "1");
      await other.kill();
      const waiting = duplicate.get("a");
      await other.restart();
      expect(await waiting).toBe("1");
    } finally {
      await other.stop();
    }
  });
});

describe("a Redis behind Sentinels", () => {
  const passwords = { data: SECRET, sentinel: `${SECRET}-watch` };
  /** Its first Sentinel is not there. */
  const urlOf = (
    group: Watched,
    over: { scheme?: string; master?: string; data?: string; asked?: string } = {},
  ) => {
    const { scheme = "redis+sentinel", master = MASTER, data = SECRET, asked = passwords.sentinel } = over;
    const hosts = `127.0.0.1:1,${group.sentinel.address}`;
    const parameter = `sentinel-password=${encodeURIComponent(asked)}`;
    return `${scheme}://:${encodeURIComponent(data)}@${hosts}/${master}?${parameter}`;
  };
  let group: Watched;
  beforeEach(async () => {
    group = await Watched.start(passwords);
  });
  afterEach(() => group.stop());

  test("continues with the next master when its master is killed", async () => {
    await lists(urlOf(group));
    const redis = await connected(urlOf(group));
    await runsAFile(redis);
    await failsOver(redis, group);
    await runsAFile(await connected(urlOf(group)));
  });

  test("continues with the next master when its master hangs", async () => {
    await failsOver(await connected(urlOf(group)), group, "pause");
  });

  test("is refused with the reason", async () => {
    expect(await refusal(urlOf(group, { master: "other" }))).toMatch(/\(Sentinel: ERR No such master/);
    expect(await refusal(urlOf(group, { asked: "CANARY" }))).toMatch(/\(Sentinel: WRONGPASS /);
    expect(await refusal(urlOf(group, { data: "CANARY" }))).toMatch(/\(WRONGPASS /);
    expect(await refusal(`redis+sentinel://127.0.0.1:1/${MASTER}`)).toMatch(/ECONNREFUSED 127\.0\.0\.1:1/);
    expect(await refusal(`redis://${group.master.address}`)).toMatch(/\(NOAUTH Authentication required\)/);
    expect(await refusal(`redis://:${PASSWORD}@${group.replica.address}`)).toMatch(
      /is a replica: name its master$/,
    );
    expect(
      await refusal(`redis://:${encodeURIComponent(passwords.sentinel)}@${group.sentinel.address}`),
    ).toMatch(/is a Sentinel: write redis\+sentinel:/);
    await group.master.kill();
    expect(await refusal(urlOf(group))).toMatch(/ECONNREFUSED/);
  });

  test("works over TLS, including the Sentinels", async () => {
    vi.stubEnv("DROVER_REDIS_CA", certificate.certPath);
    const secure = await Watched.start(passwords, certificate);
    try {
      const redis = await connected(urlOf(secure, { scheme: "rediss+sentinel", master: `${MASTER}/2` }));
      await runsAFile(redis);
      expect(await redis.client("INFO")).toMatch(/ db=2 /);
      vi.stubEnv("DROVER_REDIS_CA", "");
      expect(await refusal(urlOf(secure, { scheme: "rediss+sentinel" }))).toMatch(/ECONNREFUSED|self-signed/);
    } finally {
      await secure.stop();
    }
  });
});

describe("a Cluster", () => {
  let cluster: TestCluster;
  let url: string;
  beforeAll(async () => {
    cluster = await TestCluster.start(3, USER);
    // Its first node is not there.
    url = `redis+cluster://drover:${PASSWORD}@127.0.0.1:1,${cluster.addresses}`;
  });
  afterAll(() => cluster.stop());

  test("works whichever node has the keys, and leaves no connection open", async () => {
    const counts = () =>
      Promise.all(
        controls.map(
          async (each) => String(await each.call("CLIENT", "LIST", "TYPE", "normal")).split("\n").length,
        ),
      );
    const controls = cluster.masters.map((server) => server.direct());
    await Promise.all(controls.map((each) => each.ping()));
    const before = await counts();
    await lists(url);
    const redis = await connect({ url });
    for (let times = 0; times < 6; times++) await runsAFile(redis);
    redis.disconnect();
    await until("its connections to end", async () => String(await counts()) === String(before));
    await expect(redis.get("{drover}:a")).rejects.toThrow(/closed/);
  });

  test("forgets the queues that old runs left on any node", async () => {
    const redis = await connected(url);
    for (let times = 0; times < 3; times++) {
      const keys = newKeys();
      const { ledger } = new Member(redis, keys);
      const left: string[] = [];
      // One is found by its name, more among all queues.
      for (const most of [2, 1]) {
        for (let made = 0; made < 3; made++) {
          const id = await recordRun(ledger, specOf(), { headers: {}, sources: [] });
          await ledger.cancel(id);
          await ledger.finish(id);
          await redis.hset(keys.run(id), { ended: 1 });
          const queue = `${keys.queuePrefix()}:${keys.queue(id)}-0:wait`;
          await redis.rpush(queue, "1");
          left.push(queue);
        }
        expect(await pruneRuns({ redis, keys, ledger }, { most, thorough: true })).toBe(most);
      }
      expect(
        (await Promise.all(left.map((name) => redis.exists(name)))).filter((is) => is === 1),
      ).toHaveLength(3);
      const { length } = await ledger.list();
      expect(length).toBe(3);
    }
  });

  test("is refused when one of its masters could evict keys", async () => {
    const [, second] = cluster.masters as [Server, Server];
    await second.direct().config("SET", "maxmemory-policy", "volatile-ttl");
    expect(await refusal(url)).toMatch(
      new RegExp(
        `^the Redis at ${second.address} could evict keys \\(maxmemory-policy volatile-ttl\\): CONFIG SET`,
      ),
    );
    await second.direct().config("SET", "maxmemory-policy", "noeviction");
    (await connected(url)).disconnect();
  });

  test("is refused with the reason", async () => {
    const [first] = cluster.masters as [Server];
    expect(await refusal(`redis+cluster://drover:CANARY@${cluster.addresses}`)).toMatch(/\(WRONGPASS /);
    expect(await refusal("redis+cluster://:CANARY@127.0.0.1:1")).toMatch(/ECONNREFUSED 127\.0\.0\.1:1/);
    expect(await refusal(`redis://drover:${PASSWORD}@${first.address}`)).toMatch(
      /is part of a Cluster: write redis\+cluster:/,
    );
    const single = await Server.start();
    expect(await refusal(`redis+cluster://${single.address}`)).toMatch(/cluster support disabled/);
    await single.stop();
    const half = await Server.start(["--cluster-enabled", "yes", "--cluster-announce-ip", "127.0.0.1"]);
    await half.direct().call("CLUSTER", "ADDSLOTSRANGE", "0", "9999");
    expect(await refusal(`redis+cluster://${half.address}`)).toMatch(/\(its cluster_state is fail\)/);
    await half.stop();
  });

  test("continues with the replica when a master is killed", async () => {
    const followed = await TestCluster.start(3, USER, new Keys().runs());
    try {
      const redis = await connected(`redis+cluster://drover:${PASSWORD}@${followed.addresses}`);
      await failsOver(redis, followed);
    } finally {
      await followed.stop();
    }
  });

  test("works over TLS, and is waited for when all nodes are gone", async () => {
    vi.stubEnv("DROVER_REDIS_CA", certificate.certPath);
    const secure = await TestCluster.start(1, ["--appendonly", "yes"], undefined, certificate);
    try {
      const redis = await connected(`rediss+cluster://${secure.addresses}`);
      await runsAFile(redis);
      const keys = newKeys();
      const member = new Member(redis, keys);
      const queue = served(redis, keys);
      await queue.add(1);
      await queue.got(1);
      const asked = () =>
        Promise.all([member.newRun(), redis.set(`${keys.namespace}:a`, "1"), member.ledger.list()]);
      // Some are in flight when it goes, some come after.
      const early = asked();
      await secure.master.kill();
      const late = [asked(), queue.add(2)];
      await secure.master.restart();
      await Promise.all([early, ...late, queue.got(2)]);
      expect(await member.ledger.list()).toHaveLength(2);
      await queue.close();
    } finally {
      await secure.stop();
    }
  });
});
