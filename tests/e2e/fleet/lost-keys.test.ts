import { RUN } from "@drover/shared/protocol/fields";
import { Keys } from "@drover/shared/protocol/keys";
import { Ledger } from "@drover/shared/protocol/ledger";
import { connect } from "@drover/shared/redis/connect";
import type { Redis } from "ioredis";
import { describe, expect } from "vitest";
import * as does from "../../harness/behaviours.js";
import type { Result, Sandbox } from "../../harness/drover.js";
import type { FaultOrigin } from "../../harness/fault-origin.js";
import { it, type Work } from "../../harness/fixtures.js";
import type { TestFleet } from "../../harness/fleet.js";
import { until } from "../../harness/gate.js";
import { statusOf } from "../../harness/runs.js";

const FILES = 120;
const keys = new Keys();

interface Context {
  box: Sandbox;
  origin: FaultOrigin;
  work: Work;
  fleet: TestFleet;
}

/** What may be lost with a key: nothing, what became of some files, or the run itself. */
type Loss = "nothing" | "files" | "run";

/** Keys that are deleted in the middle of a run. */
const RUN_KEYS: Record<string, [loss: Loss, of: (id: string, redis: Redis) => string[] | Promise<string[]>]> =
  {
    runs: ["nothing", () => [keys.runs()]],
    active: ["nothing", () => [keys.active()]],
    leader: ["nothing", () => [keys.leader()]],
    workers: ["nothing", () => [keys.workers()]],
    run: ["run", (id) => [keys.run(id)]],
    done: ["files", (id) => [keys.done(id)]],
    failures: ["nothing", (id) => [keys.failed(id)]],
    "counts of failures": ["nothing", (id) => [keys.failureGroups(id)]],
    "failed ones": ["nothing", (id) => [keys.outcome(id, "failed")]],
    "in flight": ["nothing", (id) => [keys.inFlight(id)]],
    secrets: ["nothing", (id) => [keys.secrets(id)]],
    outcomes: ["nothing", (id) => [keys.outcomes(id)]],
    followers: ["nothing", (id) => [keys.followers(id)]],
    flights: ["nothing", (id, redis) => flightsOf(id, redis)],
    leases: ["nothing", (_, redis) => redis.keys(keys.lease("*"))],
  };

/** BullMQ's keys of the fleet's queue. */
const QUEUE_KEYS = ["prioritized", "active", "delayed", "meta", "id", "events", "marker", "pc"];

async function flightsOf(runId: string, redis: Redis): Promise<string[]> {
  const names = await redis.keys(keys.flight("*"));
  const waiting = names.length > 0 ? await redis.mget(names) : [];
  return names.filter((_, at) => waiting[at]?.startsWith(`${runId}:`));
}

/** Submits a run of {@link FILES} files, one of which is missing. @returns its id. */
async function submit({ box, origin, work, fleet }: Context, name: string): Promise<string> {
  const at = encodeURIComponent(name);
  origin.route(`/${at}/1`, does.status(404));
  origin.route(`/${at}/*`, does.after(100, does.file("x")));
  const urls = Array.from({ length: FILES }, (_, nth) => origin.url(`/${at}/${nth}`));
  const list = work.write({ [`${name}.txt`]: urls.join("\n") });
  const into = [
    "--artifact-root",
    work.to(name),
    "--script-name",
    "",
    "--circuit-ttl",
    "1",
    "--breaker-wait",
    "60",
  ];
  const { code, stdout } = await box.run(["sync", "--from-file", list, ...into, ...fleet.own, "--detach"]);
  expect(code).toBe(0);
  return stdout.trim();
}

/** Deletes keys when some of a run's files have ended. @returns what `drover wait` says of the run's end. */
async function endWithout(
  of: () => string[] | Promise<string[]>,
  id: string,
  redis: Redis,
  { box, fleet }: Context,
): Promise<Result> {
  await until("some files", async () => (await redis.bitcount(keys.done(id))) >= FILES / 6, 60_000);
  let lost: string[] = [];
  await until(`keys of ${id} to delete`, async () => {
    lost = await of();
    return lost.length > 0 && (await redis.del(lost)) > 0;
  });
  const ledger = new Ledger(redis, keys, "");
  await until(
    `the end of a run without ${lost.slice(0, 3)}`,
    // What settles a file of a lost run can leave a hash without its spec behind for a moment.
    async () => !(await redis.hexists(keys.run(id), RUN.spec)) || (await ledger.get(id)).state === "done",
    90_000,
  );
  return await box.run(["wait", id, ...fleet.own]);
}

describe("a run of a fleet ends, and says what became of all its files, when somebody deletes", () => {
  it("a key of its own", { timeout: 240_000 }, async ({ box, origin, work, fleet }) => {
    const context = { box, origin, work, fleet };
    const redis = await connect(fleet.redis.address);
    const ids = new Map<string, string>();
    for (const name of Object.keys(RUN_KEYS)) ids.set(name, await submit(context, name));
    const follower = box.start(["wait", ids.get("followers") as string, ...fleet.own], {
      timeoutMs: 120_000,
    });
    await fleet.worker("--concurrency", "32");
    const ends = Object.entries(RUN_KEYS).map(async ([name, [loss, of]]) => {
      const id = ids.get(name) as string;
      const { code, stderr } = await endWithout(() => of(id, redis), id, redis, context);
      if (loss === "run") return code === 2 && stderr.includes(id) ? [] : [{ name, code, stderr }];
      const status = await statusOf(box, id, fleet.own);
      const { state, copied, unchanged, failed } = status; // what is carried again may be unchanged
      const isWhole = state === "done" && copied + unchanged + failed === FILES && code === 1;
      return isWhole && (failed === 1 || loss === "files") ? [] : [{ name, status, code, stderr }];
    });
    const wrong = await Promise.all(ends);
    redis.disconnect();
    expect(wrong.flat()).toEqual([]);
    expect((await follower.result).code).toBe(1);
  });

  it("the backlog before anything is carried", { timeout: 90_000 }, async ({ box, origin, work, fleet }) => {
    const redis = await connect(fleet.redis.address);
    const id = await submit({ box, origin, work, fleet }, "backlog");
    expect(await redis.del(keys.backlog(id))).toBe(1);
    redis.disconnect();
    const waiting = box.start(["wait", id, ...fleet.own]);
    await fleet.worker();
    expect((await waiting.result).code).toBe(3);
    expect(await statusOf(box, id, fleet.own)).toMatchObject({ state: "done", failed: FILES });
  });

  it.for<[string, (id: string, redis: Redis) => string[] | Promise<string[]>]>([
    ["the run that was to carry its files", (id) => [keys.run(id)]],
    ["the flights that it shares with another run", (id, redis) => flightsOf(id, redis)],
  ])("%s", { timeout: 90_000 }, async ([, of], { box, origin, work, fleet }) => {
    const redis = await connect(fleet.redis.address);
    const context = { box, origin, work, fleet };
    const [carrier, joined] = [await submit(context, "shared"), await submit(context, "shared")];
    expect(await redis.hlen(keys.joined(joined))).toBeGreaterThan(0);
    expect(await redis.del(await of(carrier, redis))).toBeGreaterThan(0);
    redis.disconnect();
    await fleet.worker();
    expect((await box.run(["wait", joined, ...fleet.own])).code).toBe(1);
    expect(await statusOf(box, joined, fleet.own)).toMatchObject({ copied: FILES - 1, failed: 1 });
  });

  it.for(QUEUE_KEYS)("%s of the queue", { timeout: 120_000 }, async (name, { box, origin, work, fleet }) => {
    const context = { box, origin, work, fleet };
    const redis = await connect(fleet.redis.address);
    // Tried twice, so that they wait until they are due.
    for (let nth = 0; nth < FILES; nth += 10)
      origin.route(`/${name}/${nth}`, does.status(500), does.after(100, does.file("x")));
    const id = await submit(context, name);
    await fleet.worker("--concurrency", "8");
    const key = `${keys.queuePrefix()}:${keys.fleetQueue()}:${name}`;
    const { code } = await endWithout(() => [key], id, redis, context);
    redis.disconnect();
    expect([code, await statusOf(box, id, fleet.own)]).toMatchObject([
      1,
      { state: "done", copied: FILES - 1, failed: 1 },
    ]);
  });
});
