import { mkdtempSync, rmSync } from "node:fs";
import { connect } from "@drover/shared/redis/connect";
import type { Redis } from "ioredis";
import { test as base, describe, expect } from "vitest";
import { RedisUnderFire } from "./redis-under-fire.js";

interface Fixtures {
  server: RedisUnderFire;
  redis: Redis;
}

const it = base.extend<Fixtures>({
  // biome-ignore lint/correctness/noEmptyPattern: vitest reads what a fixture needs from the pattern
  server: async ({}, use) => {
    const directory = mkdtempSync("/tmp/dvf-");
    const server = await RedisUnderFire.launch(directory);
    await use(server);
    await server.stop();
    rmSync(directory, { recursive: true, force: true });
  },
  redis: async ({ server }, use) => {
    const redis = await connect({ url: server.url });
    await use(redis);
    redis.disconnect();
  },
});

describe("a Redis under fire", () => {
  it("has everything after a kill", async ({ server, redis }) => {
    for (let i = 1; i <= 50; i++) await redis.incr("n");
    await server.crash();
    await server.start();
    expect(await redis.get("n")).toBe("50"); // the same connection, on the same port
  });

  it("loses the last moments, whole transactions at a time", async ({ server, redis }) => {
    await redis.set("kept", "1");
    // Older than what will be lost.
    await new Promise((resolve) => setTimeout(resolve, 700));
    const step = () => redis.multi().incr("a").incr("b").exec();
    for (let i = 0; i < 100; i++) await step();
    await server.crash({ lostMs: 500, tornBytes: 1_234 });
    expect(server.lastCut).toMatch(/^appendonly\.aof\.\d+\.incr\.aof: \d+ -> \d+ bytes$/);
    await server.start();
    const [kept, a, b] = await redis.mget("kept", "a", "b");
    expect(kept).toBe("1");
    expect(Number(a)).toBeGreaterThan(2);
    expect(Number(a)).toBeLessThan(30);
    expect(b).toBe(a);
    // What it had when it started stays, however long ago the loss begins.
    await server.crash({ lostMs: 5_000, tornBytes: 0 });
    await server.start();
    expect(await redis.mget("a", "b")).toEqual([a, a]);
    // And once more: 7.0 executes half of a torn transaction at the start after next, unless it was mended.
    await step();
    await server.crash();
    await server.start();
    expect(await redis.mget("a", "b")).toEqual([String(Number(a) + 1), String(Number(a) + 1)]);
  });
});
