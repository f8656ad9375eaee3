import type { Outcome } from "@drover/shared/outcome";
import { FOLLOW_MS, OutcomeStream } from "@drover/shared/protocol/outcome-stream";
import { describe, expect } from "vitest";
import { it as base } from "../../harness/redis.js";
import { Member } from "../helpers/fleet.js";

const it = base.extend<{ run: string }>({
  run: async ({ redis, keys }, use) => use(await new Member(redis, keys).newRun({ fleet: true })),
});

const indexes = (read: [number, Outcome][]) => read.map(([index]) => index);

describe("the outcomes of a run", () => {
  it("are read by each follower at its own pace and kept for the slowest", async ({ redis, keys, run }) => {
    const add = (index: number) => redis.xadd(keys.outcomes(run), "*", "i", index, "o", "{}");
    const [quick, slow] = ["quick", "slow"].map((name) => new OutcomeStream(redis, keys, run, name)) as [
      OutcomeStream,
      OutcomeStream,
    ];
    expect([await quick.read(), await slow.read()]).toEqual([[], []]);
    const seen: number[] = [];
    for (const index of [0, 1, 2]) {
      await add(index);
      seen.push(...indexes(await quick.read()));
    }
    expect(await quick.read()).toEqual([]);
    expect(seen).toEqual([0, 1, 2]);
    expect(indexes(await slow.read())).toEqual([0, 1, 2]);
    // What both have read is trimmed at the next read.
    await Promise.all([quick.read(), slow.read()]);
    await quick.read();
    expect(await redis.xlen(keys.outcomes(run))).toBe(0);
  });

  it("are not kept for a follower that left or was silent for too long", async ({ redis, keys, run }) => {
    const streams = ["left", "gone", "here"].map((name) => new OutcomeStream(redis, keys, run, name));
    const [left, gone, here] = streams as [OutcomeStream, OutcomeStream, OutcomeStream];
    for (const stream of streams) await stream.read();
    await left.leave();
    await redis.hset(keys.followers(run), "gone", "1 0-0"); // expired long ago
    await redis.xadd(keys.outcomes(run), "*", "i", 0, "o", "{}");
    expect(indexes(await here.read())).toEqual([0]);
    await here.read();
    expect(await redis.xlen(keys.outcomes(run))).toBe(0);
    expect(await gone.read()).toEqual([]);
  });

  it("are not kept for long for a silent follower where the clock of Redis was set back", async ({
    redis,
    keys,
    run,
  }) => {
    const here = new OutcomeStream(redis, keys, run, "here");
    const ahead = Date.now() + 86_400_000;
    await redis.hset(keys.followers(run), { gone: `${ahead} 5-0`, here: `${ahead} 0-0` });
    await here.read();
    const latest = Date.now() + FOLLOW_MS;
    const [gone, mine] = await redis.hmget(keys.followers(run), "gone", "here");
    expect(gone).toMatch(/^\d+ 5-0$/); // it may live
    expect(Number(gone?.split(" ")[0])).toBeLessThanOrEqual(latest);
    expect(Number(mine?.split(" ")[0])).toBeLessThanOrEqual(latest);
  });
});
