import { recordRun } from "@drover/shared/protocol/record-run";
import { Webhooks } from "@drover/shared/protocol/webhooks";
import type { Redis } from "ioredis";
import { describe, expect } from "vitest";
import { it as base } from "../../harness/redis.js";
import { FAR_PROCESS, Member, specOf } from "../helpers/fleet.js";

const it = base.extend<{ fleet: Member; webhooks: Webhooks }>({
  fleet: async ({ redis, keys }, use) => use(new Member(redis, keys)),
  webhooks: async ({ redis, keys }, use) => use(new Webhooks(redis, keys)),
});

const TARGET = { url: "https://hooks.example.com/", events: ["done" as const] };
const SECRETS = { headers: {}, sources: [], webhook: TARGET };
const noted = { attempts: 1, lastStatus: 204, lastError: undefined };
/** Longer than any look may need to come to a run. */
const MOST_LOOKS = 25;

function newRun(fleet: Member, isExpandedByServer = false): Promise<string> {
  return recordRun(fleet.ledger, specOf({ fleet: true }), SECRETS, undefined, { isExpandedByServer });
}

async function commandsOf(redis: Redis): Promise<number> {
  return Number(/total_commands_processed:(\d+)/.exec(await redis.info("stats"))?.[1]);
}

describe("the webhooks of runs", () => {
  it("are looked at so many at a time, and the ends of runs are found at once", async ({
    fleet,
    webhooks,
    redis,
  }) => {
    const ids: string[] = [];
    for (let at = 0; at < 10_000; at += 500)
      ids.push(...(await Promise.all(Array.from({ length: 500 }, () => newRun(fleet, true)))));
    expect(await webhooks.ending()).toEqual([]);
    const before = await commandsOf(redis);
    expect(await webhooks.ending()).toEqual([]);
    expect((await commandsOf(redis)) - before).toBeLessThan(1_200);
    const [first, last] = [ids[0], ids.at(-1)] as [string, string];
    for (const id of [first, last]) {
      await fleet.ledger.seal(id);
      expect(await fleet.ledger.finish(id)).toBe("done");
    }
    expect((await webhooks.ending()).sort()).toEqual([first, last].sort());
    for (const id of [first, last]) await webhooks.settle(id, 0);
    // One that nobody expands any more, without an end, is found when its turn comes.
    const left = ids[7_777] as string;
    await fleet.ledger.leave(left);
    await redis.zrem(fleet.keys.expanding(), left);
    let found: string[] = [];
    for (let look = 0; look < MOST_LOOKS && found.length === 0; look++) found = await webhooks.ending();
    expect(found).toEqual([left]);
  });

  it("wait for the next end of a run that is taken up again, and forget what came of the last", async ({
    fleet,
    webhooks,
    redis,
    keys,
  }) => {
    const id = await newRun(fleet);
    await fleet.ledger.seal(id);
    await fleet.ledger.finish(id);
    await webhooks.note(id, { ...noted, round: 0, state: "delivered" });
    await webhooks.settle(id, 0);
    expect(await webhooks.get(id)).toMatchObject({ state: "delivered", target: undefined });
    expect(await redis.ttl(keys.webhookTarget(id))).toBeGreaterThan(6 * 86_400);
    await fleet.ledger.take(await fleet.ledger.get(id), true);
    expect(await webhooks.get(id)).toMatchObject({ state: "waiting", round: 1, attempts: 0, target: TARGET });
    expect(await redis.exists(keys.webhookTarget(id))).toBe(0);
    expect(await webhooks.ending()).not.toContain(id);
    // What is still said of the end before changes nothing.
    await webhooks.note(id, { ...noted, round: 0, state: "given-up" });
    expect(await webhooks.get(id)).toMatchObject({ state: "waiting", round: 1 });
    await fleet.ledger.finish(id);
    expect(await webhooks.ending()).toEqual([id]);
  });

  it("lose no end of a run that is taken up again while the one before is noted", async ({
    fleet,
    webhooks,
  }) => {
    const id = await newRun(fleet);
    await fleet.ledger.seal(id);
    await fleet.ledger.finish(id);
    const { generation } = await fleet.ledger.get(id);
    await fleet.ledger.take(await fleet.ledger.get(id));
    await webhooks.settle(id, generation);
    expect(await webhooks.get(id)).toMatchObject({ state: "waiting", round: 1, target: TARGET });
    await fleet.ledger.finish(id);
    expect(await webhooks.ending()).toEqual([id]);
  });

  it("are told of once where a run is taken over before its end, and never again after a 410", async ({
    fleet,
    webhooks,
    redis,
    keys,
  }) => {
    const far = new Member(redis, keys, FAR_PROCESS);
    const id = await newRun(far);
    await far.ledger.leave(id);
    await fleet.ledger.take(await fleet.ledger.get(id));
    expect(await webhooks.get(id)).toMatchObject({ state: "waiting", round: 0 });
    await fleet.ledger.seal(id);
    await fleet.ledger.finish(id);
    await webhooks.note(id, { ...noted, round: 0, state: "failed" });
    await webhooks.settle(id, 1);
    await fleet.ledger.take(await fleet.ledger.get(id));
    expect(await webhooks.get(id)).toMatchObject({ state: "failed", round: 0, target: undefined });
    expect(await redis.exists(keys.webhookTarget(id))).toBe(0);
    expect(await redis.zscore(keys.webhooks(), id)).toBeNull();
  });
});
