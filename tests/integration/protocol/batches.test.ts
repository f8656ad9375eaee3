import { Batches } from "@drover/producer/enqueue/batches";
import { ForgottenError, RunLostError } from "@drover/shared/protocol/backlog";
import type { Keys } from "@drover/shared/protocol/keys";
import { recordRun } from "@drover/shared/protocol/record-run";
import type { Redis } from "ioredis";
import { afterEach, describe, expect, vi } from "vitest";
import { it as base } from "../../harness/redis.js";
import { dump, FAR_PROCESS, Member, queued, specOf } from "../helpers/fleet.js";

const it = base.extend<{ fleet: Member; run: string; batches: Batches }>({
  fleet: async ({ redis, keys }, use) => use(new Member(redis, keys)),
  run: async ({ fleet }, use) => use(await fleet.newRun()),
  batches: async ({ fleet, run }, use) => {
    const { backlog, ledger, secrets } = fleet;
    const recreate = () => recordRun(ledger, specOf(), { headers: {}, sources: [] }, run);
    await use(new Batches({ backlog, ledger, secrets, run: await ledger.get(run), claims: true, recreate }));
  },
});

const send = (batches: Batches, run: string, name: string) =>
  batches.send(name, [queued(run, `http://h/${name}`, name)], new Map());

/** What Redis has now. @returns a function that makes it forget everything since. */
async function remember(redis: Redis, keys: Keys): Promise<() => Promise<void>> {
  const then = await Promise.all(
    Object.keys(await dump(redis, keys)).map(async (key) => [key, await redis.dumpBuffer(key)] as const),
  );
  return async () => {
    await redis.unlink(...Object.keys(await dump(redis, keys)));
    for (const [key, value] of then) await redis.restore(key, 0, value as Buffer);
  };
}

describe("batches that Redis has forgotten", () => {
  afterEach(() => void vi.useRealTimers());

  it("are all sent again, even when it was away for longer than batches are usually kept", async ({
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

  it("are sent again from the first one that it lacks", async ({ fleet, run, batches, redis, keys }) => {
    vi.useFakeTimers({ toFake: ["Date"] });
    await send(batches, run, "a");
    await send(batches, run, "b");
    const forget = await remember(redis, keys);
    await send(batches, run, "c");
    await send(batches, run, "d");
    await forget();
    vi.setSystemTime(Date.now() + 60_000);
    await batches.confirm();
    expect(await fleet.ledger.get(run)).toMatchObject({ batch: 4, cursor: "d" });
    expect(await fleet.ledger.counts(run)).toMatchObject({ files: 4 });
  });
  it("are there before the run is sealed", async ({ fleet, run, batches, redis, keys }) => {
    await send(batches, run, "a");
    const forget = await remember(redis, keys);
    await send(batches, run, "b");
    await forget();
    await batches.seal();
    expect(await fleet.ledger.get(run)).toMatchObject({ batch: 2, sealed: true });
  });

  it("are there before the run is sealed, when it was forgotten as a whole", async ({
    fleet,
    run,
    batches,
    redis,
    keys,
  }) => {
    await send(batches, run, "a");
    await redis.unlink(...Object.keys(await dump(redis, keys)));
    await batches.seal();
    expect(await fleet.ledger.get(run)).toMatchObject({ batch: 1, sealed: true, state: "running" });
  });

  it("are sent again for a run that was left when it had been forgotten that they were there", async ({
    fleet,
    run,
    batches,
    redis,
    keys,
  }) => {
    await send(batches, run, "a");
    const forget = await remember(redis, keys);
    await send(batches, run, "b");
    await batches.seal();
    await forget();
    await fleet.ledger.leave(run);
    await batches.confirm();
    expect(await fleet.ledger.get(run)).toMatchObject({ batch: 2, sealed: true, owner: "" });
    expect(await fleet.ledger.counts(run)).toMatchObject({ files: 2 });
  });

  it("are not sent again for a run that another process has taken and left", async ({
    fleet,
    run,
    batches,
    redis,
    keys,
  }) => {
    await send(batches, run, "a");
    const forget = await remember(redis, keys);
    await send(batches, run, "b");
    await forget();
    await fleet.ledger.leave(run);
    const other = new Member(redis, keys, FAR_PROCESS);
    await other.ledger.take(await other.ledger.get(run));
    await other.ledger.leave(run);
    await expect(batches.confirm()).rejects.toThrow(RunLostError);
  });
  it("that another process sent leave a run unsealed", async ({ fleet, run, batches, redis, keys }) => {
    const forget = await remember(redis, keys);
    await send(batches, run, "a");
    await fleet.ledger.leave(run);
    const { backlog, ledger, secrets } = fleet;
    const recreate = () => recordRun(ledger, specOf(), { headers: {}, sources: [] }, run);
    await ledger.take(await ledger.get(run));
    const next = new Batches({
      backlog,
      ledger,
      secrets,
      run: await ledger.get(run),
      claims: true,
      recreate,
    });
    await forget();
    await expect(next.seal()).rejects.toThrow(ForgottenError);
    await redis.unlink(...Object.keys(await dump(redis, keys)));
    await expect(next.seal()).rejects.toThrow(ForgottenError);
    expect(await ledger.registered(run)).toBeUndefined();
  });
});
