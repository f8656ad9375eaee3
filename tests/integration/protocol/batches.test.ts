import { Batches } from "@drover/producer/enqueue/batches";
import { afterEach, describe, expect, vi } from "vitest";
import { it as base } from "../../harness/redis.js";
import { dump, Member, queued, specOf } from "../helpers/fleet.js";

const it = base.extend<{ fleet: Member; run: string; batches: Batches }>({
  fleet: async ({ redis, keys }, use) => use(new Member(redis, keys)),
  run: async ({ fleet }, use) => use(await fleet.newRun()),
  batches: async ({ fleet, run }, use) => {
    const { backlog, ledger } = fleet;
    const recreate = () => ledger.create(specOf(), { headers: {}, sources: [] }, run);
    await use(new Batches({ backlog, ledger, run: await ledger.get(run), claims: true, recreate }));
  },
});

const send = (batches: Batches, run: string, name: string) =>
  batches.send(name, [queued(run, `http://h/${name}`, name)], new Map());

describe("batches that Redis has forgotten", () => {
  afterEach(() => void vi.useRealTimers());

  it("are all sent again, even if it was away for longer than batches are usually kept", async ({
    fleet,
    run,
    batches,
    redis,
    keys,
  }) => {
    vi.useFakeTimers({ toFake: ["Date"] });
    for (const name of ["a", "b", "c", "d"]) await send(batches, run, name);
    await batches.seal();
    const whole = await dump(redis, keys);
    await redis.unlink(...Object.keys(whole));
    vi.setSystemTime(Date.now() + 60_000);
    await batches.confirm();
    expect(await fleet.ledger.get(run)).toMatchObject({ batch: 4, cursor: "d", sealed: true });
    expect(await fleet.ledger.counts(run)).toMatchObject({ files: 4 });
    expect(await fleet.backlog.chunkIds(run)).toHaveLength(4);
  });

  it("are the only ones sent again", async ({ fleet, run, batches, redis, keys }) => {
    vi.useFakeTimers({ toFake: ["Date"] });
    await send(batches, run, "a");
    await send(batches, run, "b");
    const then = await Promise.all(
      Object.keys(await dump(redis, keys)).map(async (key) => [key, await redis.dumpBuffer(key)] as const),
    );
    await send(batches, run, "c");
    await send(batches, run, "d");
    await redis.unlink(...Object.keys(await dump(redis, keys)));
    for (const [key, value] of then) await redis.restore(key, 0, value as Buffer);
    vi.setSystemTime(Date.now() + 60_000);
    await batches.confirm();
    expect(await fleet.ledger.get(run)).toMatchObject({ batch: 4, cursor: "d" });
    expect(await fleet.ledger.counts(run)).toMatchObject({ files: 4 });
  });
});
