import { FleetDispatcher } from "@drover/producer/dispatch/fleet-dispatcher";
import { pauseDispatch } from "@drover/shared/protocol/dispatch-pause";
import { recordRun } from "@drover/shared/protocol/record-run";
import { FILES_PER_SCALING_UNIT, scalingFiles, tellScaling } from "@drover/shared/protocol/scaling";
import { describe, expect } from "vitest";
import { it as base } from "../../harness/redis.js";
import { Member, queued, specOf } from "../helpers/fleet.js";

const BATCH = 500;

interface Fixtures {
  fleet: Member;
  /** Has a new leader do its first round. */
  lead: () => Promise<void>;
  /** Registers files of hosts with a run: so many from each. */
  submit: (files: Record<string, number>) => Promise<string>;
}

const it = base.extend<Fixtures>({
  fleet: async ({ redis, keys }, use) => use(new Member(redis, keys)),
  lead: async ({ redis, keys, fleet }, use) => {
    const leaders: FleetDispatcher[] = [];
    await use(async () => {
      const { ledger, owner } = fleet;
      const leader = new FleetDispatcher({ redis, keys, ledger, owner, log: () => {} });
      leaders.push(leader);
      await leader.tick();
    });
    for (const leader of leaders) await leader.close();
  },
  submit: async ({ fleet }, use) => {
    await use(async (hosts) => {
      const spec = specOf({ root: "/srv/out", fleet: true, ownFlights: true, breakerWaitMs: 86_400_000 });
      const run = await recordRun(fleet.ledger, spec, { headers: {}, sources: [] });
      const files = Object.entries(hosts).flatMap(([host, count]) =>
        Array.from({ length: count }, (_, at) => queued(run, `http://${host}/${at}`, `${host}/${at}`)),
      );
      for (let from = 0; from < files.length; from += BATCH)
        await fleet.backlog.enqueue(run, from / BATCH + 1, "", files.slice(from, from + BATCH), {
          shared: true,
        });
      return run;
    });
  },
});

describe("what those who scale the fleet are told", () => {
  it("is the files in the queue and in the backlog, at each new leader", async ({
    redis,
    keys,
    lead,
    submit,
  }) => {
    await submit({ one: 2_700 });
    await lead();
    expect(await scalingFiles(redis, keys)).toBe(2_700);
    expect(await redis.llen(keys.scaling())).toBe(27);
    await submit({ two: 1 });
    await lead();
    expect(await scalingFiles(redis, keys)).toBe(2_701);
    expect(await redis.llen(keys.scaling())).toBe(28);
  });

  it("leaves files of blocked hosts out", async ({ redis, keys, lead, submit }) => {
    await redis.hset(keys.breaker("bad:80"), { st: "o", at: Date.now(), until: Date.now() + 300_000, ep: 1 });
    await submit({ bad: 9_900, good: 600 });
    await lead();
    const files = await scalingFiles(redis, keys);
    expect(files).toBeGreaterThan(550); // what is in the backlog is shared out by bytes
    expect(files).toBeLessThan(650);
  });

  it("is nothing where all hosts are blocked", async ({ redis, keys, lead, submit }) => {
    await redis.hset(keys.breaker("bad:80"), { st: "o", at: Date.now(), until: Date.now() + 300_000, ep: 1 });
    await submit({ bad: 900 });
    await lead();
    expect(await redis.exists(keys.scaling())).toBe(0);
    expect(await scalingFiles(redis, keys)).toBe(0);
  });

  it("leaves the backlog out while dispatch is paused", async ({ redis, keys, lead, submit }) => {
    await pauseDispatch(redis, keys, "somebody");
    await submit({ one: 900 });
    await lead();
    expect(await scalingFiles(redis, keys)).toBe(0);
  });

  it("is nothing once the run has ended", async ({ redis, keys, fleet, lead, submit }) => {
    const run = await submit({ one: 900 });
    await lead();
    expect(await scalingFiles(redis, keys)).toBe(900);
    await fleet.ledger.cancel(run);
    await lead();
    expect(await scalingFiles(redis, keys)).toBe(0);
  });
});

describe("the list for KEDA", () => {
  it("grows and shrinks with the files, up to a bound, and keeps their number", async ({ redis, keys }) => {
    for (const [files, units] of [
      [1, 1],
      [FILES_PER_SCALING_UNIT, 1],
      [FILES_PER_SCALING_UNIT + 1, 2],
      [1_000_000_000, 10_000],
      [250_000, 2_500],
      [0, 0],
    ] as const) {
      await tellScaling(redis, keys, files);
      expect(await redis.llen(keys.scaling())).toBe(units);
      expect(await scalingFiles(redis, keys)).toBe(files);
    }
  });
});
