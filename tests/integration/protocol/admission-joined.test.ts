import type { FileKeys } from "@drover/shared/protocol/admission";
import { describe, expect } from "vitest";
import { it as base } from "../../harness/redis.js";
import { keysOf, Member, queued, request, settling } from "../helpers/fleet.js";

const it = base.extend<{ fleet: Member; runs: [string, string] }>({
  fleet: async ({ redis, keys }, use) => use(new Member(redis, keys)),
  runs: async ({ fleet }, use) =>
    use([await fleet.newRun({ fleet: true }), await fleet.newRun({ fleet: true })]),
});

const SHARED = "shared-flight";
const SOURCE = "http://host/a";

/** Registers a file with a run, which other runs may ask for too. */
async function ask(fleet: Member, run: string): Promise<void> {
  await fleet.backlog.enqueue(run, 1, "", [queued(run, SOURCE, "a", { flight: SHARED })], { shared: true });
}

/** The file as a worker copies it for one of the runs. */
const of = (run: string): FileKeys => ({ ...keysOf(run, SOURCE, "a"), flight: SHARED });

/** Files in a run's backlog: index, job, and 1 if the flight belongs to the run alone. */
async function chunk(fleet: Member, run: string) {
  return await fleet.backlog.chunk(run, "1|host:80");
}

const settled = async (fleet: Member, runs: string[]) =>
  Promise.all(runs.map(async (run) => (await fleet.ledger.counts(run)).settled));

describe("a file that two runs request", () => {
  it("is queued once, and settled for both", async ({ fleet, runs }) => {
    for (const run of runs) await ask(fleet, run);
    expect(await chunk(fleet, runs[0])).toHaveLength(1);
    expect(await fleet.backlog.chunkIds(runs[1])).toEqual([]);
    const admitted = await fleet.admit(of(runs[0]));
    expect(admitted.waiting).toBe(`${runs[0]}:0,${runs[1]}:0`);
    await fleet.admission.settle(settling(of(runs[0]), admitted, { waiting: admitted.waiting, bytes: 7 }));
    expect(await settled(fleet, runs)).toEqual([1, 1]);
    for (const run of runs) expect((await fleet.ledger.get(run)).bytes).toBe(7);
  });

  it("is settled for both although whoever settles it knew of the first run alone", async ({
    fleet,
    runs,
  }) => {
    await ask(fleet, runs[0]);
    const waiting = `${runs[0]}:0`;
    await ask(fleet, runs[1]);
    const given = settling(of(runs[0]), undefined, { waiting, outcome: "blocked", failure: "{}" });
    // Whoever settles it for one run alone learns of the other, and nothing is done.
    expect(await fleet.admission.settleAlone(given)).toEqual({
      is: "waiting",
      waiting: `${runs[0]}:0,${runs[1]}:0`,
    });
    expect(await settled(fleet, runs)).toEqual([0, 0]);
    const admitted = await fleet.admit(of(runs[0]));
    await fleet.admission.settle(settling(of(runs[0]), admitted, { waiting }));
    expect(await settled(fleet, runs)).toEqual([1, 1]);
  });

  it("is copied for the second run when the first is cancelled", async ({ fleet, runs }) => {
    for (const run of runs) await ask(fleet, run);
    await fleet.ledger.cancel(runs[0]);
    expect(await fleet.admission.admit(request(of(runs[0])))).toMatchObject({ is: "admitted" });
  });

  it("is copied again for the second run when the first copy was already begun", async ({ fleet, runs }) => {
    await ask(fleet, runs[0]);
    const admitted = await fleet.admit(of(runs[0]));
    await ask(fleet, runs[1]);
    expect(await chunk(fleet, runs[1])).toEqual([[0, { s: SOURCE, d: "a" }, 1]]);
    await fleet.admission.settle(settling(of(runs[0]), admitted, { waiting: admitted.waiting }));
    expect(await settled(fleet, runs)).toEqual([1, 0]);
    expect((await fleet.admit(keysOf(runs[1], SOURCE, "a"))).waiting).toBe(`${runs[1]}:0`);
  });
});

describe("the outcome of a file", () => {
  it("is kept in the stream of a run that somebody follows, and of no other", async ({
    fleet,
    runs,
    redis,
    keys,
  }) => {
    for (const run of runs) await ask(fleet, run);
    await redis.hset(keys.run(runs[1]), "follow", "1"); // until long ago
    const admitted = await fleet.admit(of(runs[0]));
    const { waiting } = admitted;
    await fleet.admission.settle(settling(of(runs[0]), admitted, { waiting, told: "{}" }));
    expect(await settled(fleet, runs)).toEqual([1, 1]);
    expect(await Promise.all(runs.map((run) => redis.xlen(keys.outcomes(run))))).toEqual([1, 0]);
  });

  for (const [outcome, kept] of [
    ["copied", 1],
    ["unchanged", 0],
  ] as const)
    it(`is ${kept ? "kept" : "not kept"} for a run that wants that if it is ${outcome}`, async ({
      fleet,
      runs,
      redis,
      keys,
    }) => {
      for (const run of runs) {
        await ask(fleet, run);
        await redis.hset(keys.run(run), { follow: "1", keep: run === runs[0] ? "5" : "0" });
      }
      const admitted = await fleet.admit(of(runs[0]));
      const { waiting } = admitted;
      await fleet.admission.settle(settling(of(runs[0]), admitted, { waiting, outcome, told: "{}" }));
      expect(await Promise.all(runs.map((run) => redis.xlen(keys.outcomes(run))))).toEqual([kept, 0]);
    });
});
