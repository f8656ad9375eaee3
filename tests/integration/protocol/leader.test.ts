import { leadScript } from "@drover/shared/protocol/lua/lead.lua";
import { describe, expect } from "vitest";
import { it } from "../../harness/redis.js";

const TERM_MS = 5_000;

describe("the leader of a fleet", () => {
  it("leads for a term, and stays it where it asks again", async ({ redis, keys }) => {
    const lead = (worker: string) => leadScript.run(redis, [keys.leader()], [worker, TERM_MS]);
    expect([await lead("a"), await lead("b"), await lead("a")]).toEqual([1, 0, 1]);
    expect(await redis.pttl(keys.leader())).toBeLessThanOrEqual(TERM_MS);
  });

  it("leads no longer than a term from now on where the clock of Redis was set back", async ({
    redis,
    keys,
  }) => {
    const lead = (worker: string) => leadScript.run(redis, [keys.leader()], [worker, TERM_MS]);
    await lead("dead");
    await redis.pexpire(keys.leader(), 3_600_000); // as a key looks whose end was set before the clock went back
    expect(await lead("b")).toBe(0);
    expect(await redis.pttl(keys.leader())).toBeLessThanOrEqual(TERM_MS);
    expect(await redis.get(keys.leader())).toBe("dead");
  });
});
