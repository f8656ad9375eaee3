import { type Claimed, ClaimLostError, Idempotency } from "@drover/shared/protocol/idempotency";
import { recordRun } from "@drover/shared/protocol/record-run";
import { forgetRunsOlderThan } from "@drover/shared/protocol/run-retention";
import { describe, expect } from "vitest";
import { it as base } from "../../harness/redis.js";
import { Member, specOf } from "../helpers/fleet.js";

const it = base.extend<{ fleet: Member; requests: Idempotency }>({
  fleet: async ({ redis, keys }, use) => use(new Member(redis, keys)),
  requests: async ({ redis, keys }, use) => use(new Idempotency(redis, keys)),
});

const NONE = { headers: {}, sources: [] };
const DAY_MS = 86_400_000;

function taken(claimed: Claimed) {
  if (claimed.is !== "claimed") throw new Error(`not claimed: ${claimed.is}`);
  return claimed.claim;
}

describe("an idempotency key", () => {
  it("is one claim's until it is released, and one request's", async ({ requests }) => {
    const claim = taken(await requests.claim("name", "body"));
    expect(await requests.claim("name", "body")).toEqual({ is: "busy", forMs: expect.any(Number) });
    expect(await requests.claim("name", "else")).toEqual({ is: "other" });
    await claim.release();
    await taken(await requests.claim("name", "else")).release();
  });

  it("is answered in the step that makes the run", async ({ fleet, requests, redis, keys }) => {
    const claim = taken(await requests.claim("name", "body"));
    const along = { isExpandedByServer: true, request: { claim, answer: () => "the answer" } };
    const id = await recordRun(fleet.ledger, specOf({ fleet: true }), NONE, undefined, along);
    await claim.release();
    expect(await requests.claim("name", "body")).toEqual({ is: "answered", answer: "the answer" });
    expect(await redis.zrange(keys.expanding(), "0", "-1")).toEqual([id]);
    expect(await redis.pttl(keys.idempotency("name"))).toBe(-1);
    // The same call is harmless: it is what is sent again when the connection breaks before the answer.
    await recordRun(fleet.ledger, specOf({ fleet: true }), NONE, id, along);
    expect(await fleet.ledger.count()).toBe(1);
  });

  it("makes no run for a claim that has expired", async ({ fleet, requests, redis, keys }) => {
    const claim = taken(await requests.claim("name", "body"));
    await redis.del(keys.idempotency("name"));
    const next = taken(await requests.claim("name", "body"));
    const creating = recordRun(fleet.ledger, specOf(), NONE, undefined, {
      request: { claim, answer: () => "" },
    });
    await expect(creating).rejects.toThrow(ClaimLostError);
    expect(await fleet.ledger.count()).toBe(0);
    await claim.release(); // which is not the other's
    expect(await requests.claim("name", "body")).toMatchObject({ is: "busy" });
    await next.release();
  });

  it("is forgotten with its run, but not within a day", async ({ fleet, requests, redis, keys }) => {
    for (const [name, agedMs] of [
      ["young", 0],
      ["old", 2 * DAY_MS],
    ] as const) {
      const claim = taken(await requests.claim(name, "body"));
      const id = await recordRun(fleet.ledger, specOf(), NONE, undefined, {
        request: { claim, answer: () => "the answer" },
      });
      await claim.release();
      await fleet.ledger.cancel(id);
      await fleet.ledger.finish(id);
      await fleet.ledger.leave(id);
      await redis.hincrby(keys.run(id), "started", -agedMs);
    }
    expect((await forgetRunsOlderThan(fleet, -1000)).runs).toBe(2);
    const ttlMs = await redis.pttl(keys.idempotency("young"));
    expect(ttlMs).toBeGreaterThan(DAY_MS - 60_000);
    expect(ttlMs).toBeLessThanOrEqual(DAY_MS);
    expect(await redis.exists(keys.idempotency("old"))).toBe(0);
  });
});
