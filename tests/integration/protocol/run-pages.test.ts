import { describe, expect } from "vitest";
import { it } from "../../harness/redis.js";
import { Member } from "../helpers/fleet.js";

describe("the list of runs", () => {
  it("goes on behind any of them, also where many began in the same millisecond", async ({ redis, keys }) => {
    const member = new Member(redis, keys);
    const ids: string[] = [];
    for (let at = 0; at < 12; at++) ids.push(await member.newRun({ label: String(at) }));
    for (const [at, id] of ids.entries()) {
      const startedMs = 1_000 + Math.floor(at / 5);
      await redis.hset(keys.run(id), "started", startedMs);
      await redis.zadd(keys.runs(), startedMs, id);
    }
    const { ledger } = member;
    const all = (await ledger.list()).map(({ id }) => id);
    expect(all).toHaveLength(12);
    const listed = async (place?: { id: string; startedMs: number }) => {
      const found: string[] = [];
      for await (const page of ledger.listFrom(place)) found.push(...page.map(({ id }) => id));
      return found;
    };
    expect(await listed()).toEqual(all);
    for (const [at, id] of all.entries()) {
      const { startedMs } = await ledger.get(id);
      expect(await listed({ id, startedMs })).toEqual(all.slice(at + 1));
    }
    expect(await listed({ id: "gone", startedMs: 999 })).toEqual([]);
  });
});
