import { globSync, mkdirSync, rmdirSync } from "node:fs";
import { dirname, join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { Redis } from "ioredis";
import { describe, expect } from "vitest";
import * as does from "../../harness/behaviours.js";
import { Sandbox } from "../../harness/drover.js";
import { it } from "../../harness/fixtures.js";
import type { TestRedis } from "../../harness/redis.js";

interface Refusal {
  /** How Redis' answers begin. */
  says: string;
  begin(redis: Redis, server: TestRedis): Promise<unknown>;
  end(redis: Redis, server: TestRedis): Promise<unknown>;
}

/** Where the server's snapshot would be, a directory is in its way. */
const inTheWay = (server: TestRedis) =>
  join(dirname((server.address as { socketPath: string }).socketPath), "dump.rdb");

const REFUSALS: Refusal[] = [
  {
    says: "OOM",
    begin: (redis) => redis.config("SET", "maxmemory", "1"),
    end: (redis) => redis.config("SET", "maxmemory", "0"),
  },
  {
    says: "BUSY",
    begin: async (redis) => {
      await redis.config("SET", "lua-time-limit", "20");
      const script = redis.duplicate();
      script
        .eval("while true do end", 0)
        .catch(() => {})
        .finally(() => script.disconnect());
    },
    end: (redis) => redis.script("KILL"),
  },
  {
    says: "MISCONF",
    begin: async (redis, server) => {
      mkdirSync(inTheWay(server));
      await redis.config("SET", "save", "3600 1");
      await redis.bgsave();
    },
    end: async (redis, server) => {
      rmdirSync(inTheWay(server));
      await redis.config("SET", "save", "");
    },
  },
  {
    says: "READONLY",
    begin: (redis) => redis.call("REPLICAOF", "127.0.0.1", "1"),
    end: (redis) => redis.call("REPLICAOF", "NO", "ONE"),
  },
];

describe("a Redis that refuses commands is waited for", () => {
  it.for(REFUSALS)(
    "$says",
    { timeout: 90_000 },
    async ({ says, begin, end }, { box, origin, work, fleet }) => {
      const { redis: server } = fleet;
      if (says === "MISCONF" && !("socketPath" in server.address)) return; // its directory is out of reach
      const worker = await fleet.worker();
      origin.route("/*", does.after(100, does.file("x")));
      const urls = Array.from({ length: 200 }, (_, at) => origin.url(`/${at}`));
      const list = work.write({ "list.txt": urls.join("\n") });
      const run = box.start(["sync", "--from-file", list, ...work.into, ...fleet.own, "--max-workers", "4"]);
      await origin.waitFor(20);
      const { address } = server;
      const redis = "url" in address ? new Redis(address.url) : new Redis(address.socketPath);
      await begin(redis, server);
      await run.waitFor("stderr", new RegExp(`Redis refuses commands \\(${says} `));
      await worker.waitFor("stderr", new RegExp(`Redis refuses commands \\(${says} `));
      await sleep(5_000); // as long as it lasts, nobody says more
      await end(redis, server);
      await run.waitFor("stderr", /Redis is back/, 30_000);
      redis.disconnect();
      const { code, stderr } = await run.result;
      expect(code).toBe(0);
      expect(stderr.split("\n").filter((line) => line.startsWith("warning: Redis"))).toHaveLength(2);
      expect(
        worker.stderr.split("\n").filter((line) => /"level":"(warn|error)"/.test(line)).length,
      ).toBeLessThan(10);
    },
  );
});

describe("what waits for a Redis that refuses commands is stopped within seconds by", () => {
  /** Time in ms that is not much for a person who waits. */
  const SOON_MS = 15_000;

  it.for<NodeJS.Signals>(["SIGINT", "SIGTERM"])(
    "%s, be it a run of a fleet or its worker",
    { timeout: 90_000 },
    async (signal, { box, origin, work, fleet }) => {
      const worker = await fleet.worker("--drain-deadline", "1");
      origin.route("/*", does.after(100, does.file("x")));
      const urls = Array.from({ length: 200 }, (_, at) => origin.url(`/${at}`));
      const list = work.write({ "list.txt": urls.join("\n") });
      const run = box.start(["sync", "--from-file", list, ...work.into, ...fleet.own, "--max-workers", "4"]);
      await origin.waitFor(20);
      const { address } = fleet.redis;
      const redis = "url" in address ? new Redis(address.url) : new Redis(address.socketPath);
      await redis.config("SET", "maxmemory", "1");
      for (const each of [run, worker]) {
        await each.waitFor("stderr", /Redis refuses commands/);
        const askedMs = performance.now();
        each.kill(signal);
        expect((await each.result).code).toBe(130);
        expect(performance.now() - askedMs).toBeLessThan(SOON_MS);
      }
      expect(run.stderr).toMatch(/drover wait \S+ --redis \S+ follows it/);
      await redis.config("SET", "maxmemory", "0");
      redis.disconnect();
      await fleet.worker();
      const id = /drover wait (\S+)/.exec(run.stderr)?.[1] as string;
      expect((await box.run(["wait", id, ...fleet.own])).code).toBe(0);
    },
  );

  it.for<NodeJS.Signals>(["SIGINT", "SIGTERM"])(
    "%s, be it a run of one process",
    { timeout: 90_000 },
    async (signal, { origin, work }) => {
      const box = new Sandbox(); // with a Redis of its own
      origin.route("/*", does.after(100, does.file("x")));
      const urls = Array.from({ length: 200 }, (_, at) => origin.url(`/${at}`));
      const list = work.write({ "list.txt": urls.join("\n") });
      const run = box.start(["sync", "--from-file", list, ...work.into, "--max-workers", "4"]);
      await origin.waitFor(20);
      const [socketPath = ""] = globSync(join(box.runtime, "**/r.sock"));
      const redis = new Redis(socketPath);
      await redis.config("SET", "maxmemory", "1");
      await run.waitFor("stderr", /Redis refuses commands/);
      const askedMs = performance.now();
      run.kill(signal);
      expect((await run.result).code).toBe(130);
      expect(performance.now() - askedMs).toBeLessThan(SOON_MS);
      await redis.config("SET", "maxmemory", "0");
      redis.disconnect();
      const id = /drover resume (\S+)(?: --state-dir \S+)? goes on/.exec(run.stderr)?.[1] as string;
      expect((await box.run(["resume", id])).code).toBe(0);
      await box.dispose();
    },
  );
});
