import type { Outcome } from "@drover/shared/outcome";
import type { Keys } from "@drover/shared/protocol/keys";
import { FOLLOW_MS, keptOutcomes, OutcomeStream } from "@drover/shared/protocol/outcome-stream";
import type { Redis } from "ioredis";
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
    const [quick, slow] = ["quick", "slow"].map(
      (name) => new OutcomeStream(redis, keys, { id: run, generation: 0 }, name),
    ) as [OutcomeStream, OutcomeStream];
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
    const streams = ["left", "gone", "here"].map(
      (name) => new OutcomeStream(redis, keys, { id: run, generation: 0 }, name),
    );
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
    const here = new OutcomeStream(redis, keys, { id: run, generation: 0 }, "here");
    const ahead = Date.now() + 86_400_000;
    await redis.hset(keys.followers(run), { gone: `${ahead} 5-0`, here: `${ahead} 0-0` });
    await here.read();
    const latest = Date.now() + FOLLOW_MS;
    const [gone, mine] = await redis.hmget(keys.followers(run), "gone", "here");
    expect(gone).toMatch(/^\d+ 5-0$/); // it may live
    expect(Number(gone?.split(" ")[0])).toBeLessThanOrEqual(latest);
    expect(Number(mine?.split(" ")[0])).toBeLessThanOrEqual(latest);
  });

  it("are kept for those who ask later, the newest, whether or not somebody has read them", async ({
    redis,
    keys,
    run,
  }) => {
    await redis.hset(keys.run(run), "keep", 2);
    const here = new OutcomeStream(redis, keys, { id: run, generation: 0 }, "here");
    for (const index of [0, 1, 2, 3, 4]) await redis.xadd(keys.outcomes(run), "*", "i", index, "o", "{}");
    expect(indexes(await here.read())).toEqual([0, 1, 2, 3, 4]);
    expect(await here.read()).toEqual([]);
    expect((await keptOf(redis, keys, run)).map(({ index }) => index)).toEqual([4, 3]);
  });

  it("are those of the last try where a file was tried again", async ({ redis, keys, run }) => {
    const add = (index: number, outcome: string, generation: number) =>
      redis.xadd(keys.outcomes(run), "*", "i", index, "o", JSON.stringify({ outcome }), "g", generation);
    await add(0, "copied", 0);
    await add(1, "failed", 0);
    await add(1, "copied", 1);
    const kept = await keptOf(redis, keys, run);
    expect(kept.map(({ index, outcome }) => [index, outcome])).toEqual([
      [1, "copied"],
      [0, "copied"],
    ]);
    // Who follows the run since it was retried is told of that alone.
    const retried = new OutcomeStream(redis, keys, { id: run, generation: 1 }, "here");
    expect(await retried.read()).toEqual([[1, { outcome: "copied" }]]);
  });

  it("are kept for the time that the run asks for after its end, and while it is taken up again", async ({
    redis,
    keys,
  }) => {
    const member = new Member(redis, keys);
    const run = await member.newRun({ keepOutcomes: { most: 10, ms: 7_200_000 } });
    await redis.xadd(keys.outcomes(run), "*", "i", 0, "o", "{}");
    await member.ledger.seal(run);
    expect(await member.ledger.finish(run)).toBe("done");
    const leftMs = await redis.pttl(keys.outcomes(run));
    expect(leftMs).toBeGreaterThan(7_000_000);
    expect(leftMs).toBeLessThanOrEqual(7_200_000);
    await member.ledger.take(await member.ledger.get(run));
    expect(await redis.pttl(keys.outcomes(run))).toBe(-1);
  });
});

async function keptOf(redis: Redis, keys: Keys, run: string): Promise<Outcome[]> {
  const all: Outcome[] = [];
  for await (const page of keptOutcomes(redis, keys, run)) all.push(...page);
  return all;
}
