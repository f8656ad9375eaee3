import { mkdirSync, mkdtempSync, renameSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { toBuffer } from "../harness/content.js";
import { until } from "../harness/gate.js";
import { it } from "../harness/redis.js";
import { check } from "./checker.js";
import { History } from "./history.js";
import { bitmapsOf, everythingBelow, Sampler, secretsInRedis } from "./observers.js";
import { VersionedFile } from "./versioned-content.js";

describe("a sampler", () => {
  test("sees what a world does that is broken on purpose, and no more", async () => {
    const root = mkdtempSync("/tmp/dvo-");
    const history = new History();
    const files = ["good", "torn"].map((name) => new VersionedFile(1, name, 500_000));
    const kinds = new Map(files.map(({ name }) => [name, "steady" as const]));
    const sampler = new Sampler(root, files, 1, history);
    const seen = (name: string) => history.of("seen").filter((event) => event.name === name);
    const put = (name: string, bytes: Buffer) => {
      writeFileSync(join(root, "new"), bytes);
      renameSync(join(root, "new"), join(root, name));
    };
    sampler.start();
    try {
      for (const version of [1, 2]) {
        for (const file of files) {
          if (version > 1) history.add({ is: "published", name: file.name, version });
          put(file.name, toBuffer(file.content(version)));
          const is = { is: "whole", version };
          await until("the new version", () =>
            expect.objectContaining(is).asymmetricMatch(seen(file.name).at(-1)?.reading),
          );
        }
      }
      const whole = [...history.events];
      const [, torn] = files as [VersionedFile, VersionedFile];
      const mixture = toBuffer(torn.content(2));
      toBuffer(torn.content(1)).copy(mixture, 0, 0, 250_000);
      put("torn", mixture);
      await until("the mixture", () => seen("torn").at(-1)?.reading.is === "broken");
      await sampler.stop();
      history.add({ is: "quiet" });
      await sampler.scan();
      const found = check(history, { kinds, mostMiB: 1 }).map(
        ({ invariant, name }) => `${invariant} ${name}`,
      );
      expect(new Set(found)).toEqual(new Set(["whole torn", "converged torn"]));
      expect(whole.filter((event) => event.is === "seen" && event.reading.is === "broken")).toEqual([]);
    } finally {
      await sampler.stop();
      rmSync(root, { recursive: true });
    }
  });
});

describe("what is looked at in the end", () => {
  it("has every kind of key searched for secrets but those that are made to hold them", async ({ redis }) => {
    const canary = "canary-1";
    await redis.set("string", `a${canary}`);
    await redis.hset("hash", "field", canary);
    await redis.rpush("list", "x", canary);
    await redis.sadd("set", canary);
    await redis.zadd("zset", 1, canary);
    await redis.xadd("stream", "*", "field", `{"a":"${canary}"}`);
    await redis.set(`name-${canary}`, "x");
    await redis.hset("run:a:secrets", "field", canary);
    await redis.expire("run:a:secrets", 60);
    await redis.hset("run:b:secrets", "field", canary); // never expires
    await redis.set("harmless", "canary");
    const found = await secretsInRedis(redis, [canary]);
    const bad = ["hash", "list", `name-${canary}`, "run:b:secrets", "set", "stream", "string", "zset"];
    expect(found.sort()).toEqual(bad);
  });

  it("has the bits of a run's bitmaps", async ({ redis, keys }) => {
    for (const bit of [0, 7, 8, 100]) await redis.setbit(keys.done("r"), bit, 1);
    await redis.setbit(keys.outcome("r", "failed"), 100, 1);
    const bitmaps = await bitmapsOf(redis, keys, "r");
    expect(bitmaps).toMatchObject({ done: [0, 7, 8, 100], failed: [100], unchanged: [] });
  });

  test("has everything below a directory, links as themselves", () => {
    const root = mkdtempSync("/tmp/dvo-");
    mkdirSync(join(root, "out"));
    mkdirSync(join(root, "bait"));
    writeFileSync(join(root, "out", "expected"), "");
    writeFileSync(join(root, "bait", "caught"), "");
    symlinkSync(join(root, "out"), join(root, "link"));
    expect(everythingBelow(root, [join(root, "out")]).sort()).toEqual(
      ["bait", "bait/caught", "link"].map((name) => join(root, name)),
    );
    rmSync(root, { recursive: true });
  });
});
