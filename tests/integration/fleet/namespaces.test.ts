import { mkdirSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import {
  listRuns,
  openEngine,
  planRun,
  type RunHandle,
  type RunResult,
  SILENT,
  startLeader,
  submit,
} from "@drover/producer";
import type { Engine } from "@drover/shared/engine";
import type { Outcome } from "@drover/shared/outcome";
import { forgetRunsOlderThan } from "@drover/shared/protocol/run-retention";
import { aliveWorkers } from "@drover/shared/protocol/worker-registry";
import { type RunningWorker, startLocalPool, startWorker } from "@drover/worker";
import { Queue } from "bullmq";
import { expect } from "vitest";
import * as does from "../../harness/behaviours.js";
import { redisContents } from "../../harness/canaries.js";
import { FaultOrigin, refusedUrl } from "../../harness/fault-origin.js";
import { Gate, until } from "../../harness/gate.js";
import { it as base, type TestRedis } from "../../harness/redis.js";

/** A fleet of one worker in a namespace of a Redis. */
class NamespacedFleet {
  private constructor(
    readonly engine: Engine,
    readonly worker: RunningWorker,
    private readonly out: string,
  ) {}

  static async start({ address }: TestRedis, namespace: string, out: string): Promise<NamespacedFleet> {
    const redis = "url" in address ? address.url : `unix://${address.socketPath}`;
    const engine = await openEngine({ redis, stateDir: out, namespace });
    const onError = () => {};
    const worker = await startWorker({
      engine,
      concurrency: 4,
      roots: [out],
      onError,
      startLeader: (id) => startLeader(engine, id, { onError }),
    });
    return new NamespacedFleet(engine, worker, out);
  }

  async submit(...sources: string[]): Promise<RunHandle> {
    const planned = await planRun({
      directory: this.out,
      stateDir: this.out,
      carriedBy: "fleet",
      selection: { sources },
      destination: { root: this.out },
      terms: { retries: 1 },
      breaker: { threshold: 1, ttlMs: 60_000, waitMs: 0 },
    });
    return await submit(this.engine, planned, {
      startPool: startLocalPool,
      stateDir: this.out,
      warn: () => {},
    });
  }

  /** What the namespace holds, but for what changes by itself. */
  async contents(): Promise<string[]> {
    const { redis, keys } = this.engine;
    const passing = [keys.workers(), keys.leader(), keys.worker(this.worker.id)];
    return (await redisContents(redis))
      .filter(({ key }) => key.startsWith(`${keys.namespace}:`) && !passing.includes(key))
      .filter(({ key }) => !key.startsWith(keys.queuePrefix()))
      .map(({ text }) => text)
      .sort();
  }

  async stop(): Promise<void> {
    await this.worker.drain(1_000);
    this.engine.close();
  }
}

async function follow(handle: RunHandle): Promise<RunResult & { told: string[] }> {
  const told: string[] = [];
  const settled = ({ name, outcome }: Outcome) => void told.push(`${outcome} ${name}`);
  return { ...(await handle.follow({ ...SILENT, settled }, new AbortController().signal)), told };
}

const it = base.extend<{ origin: FaultOrigin; fleets: [NamespacedFleet, NamespacedFleet] }>({
  // biome-ignore lint/correctness/noEmptyPattern: vitest reads what a fixture needs from the pattern
  origin: async ({}, use) => {
    const origin = await FaultOrigin.start();
    await use(origin);
    await origin.stop();
  },
  fleets: async ({ server }, use) => {
    const out = join(mkdtempSync(join(tmpdir(), "drover-namespaces-")), "out");
    mkdirSync(out);
    const fleets = [
      await NamespacedFleet.start(server, "{drover-one}", out),
      await NamespacedFleet.start(server, "{drover-two}", out),
    ] as [NamespacedFleet, NamespacedFleet];
    await use(fleets);
    for (const fleet of fleets) await fleet.stop();
    rmSync(join(out, ".."), { recursive: true });
  },
});

it("two namespaces on one Redis are two fleets that know nothing of each other", async ({
  origin,
  fleets,
}) => {
  const [one, two] = fleets;
  const gate = new Gate();
  const url = origin.route("/f", does.gated(gate, does.file("content")));
  const down = await refusedUrl("/x");

  // The same file to the same place, at the same time: neither joins the other's nor waits for its lease.
  const running = [follow(await one.submit(url)), follow(await two.submit(url))];
  await origin.waitFor(2, "/f");
  for (const { engine, worker } of fleets) {
    const alive = await until("the worker's report", async () => {
      const workers = await aliveWorkers(engine.redis, engine.keys);
      return workers.some(({ carrying }) => carrying.length > 0) && workers;
    });
    expect(alive).toMatchObject([{ id: worker.id, leads: true, carrying: [{ source: url }] }]);
  }
  gate.open();
  for (const result of await Promise.all(running)) {
    expect(result).toMatchObject({ end: "done", counts: { files: 1 } });
    expect(result.told).toEqual([expect.stringMatching(/^(copied|unchanged) f$/)]);
  }

  // A breaker that one has open is not the other's.
  expect((await follow(await one.submit(down))).counts).toMatchObject({ failed: 1 });
  expect((await follow(await one.submit(down))).counts).toMatchObject({ blocked: 1 });
  expect((await follow(await two.submit(down))).counts).toMatchObject({ failed: 1 });

  // Nor is what one forgets.
  const [ours, theirs] = [await listRuns(one.engine), await listRuns(two.engine)];
  expect([ours.length, theirs.length]).toEqual([3, 2]);
  const before = await two.contents();
  expect((await forgetRunsOlderThan(one.engine, -1)).runs).toBe(3);
  const { keys, redis } = one.engine;
  const queue = new Queue(keys.fleetQueue(), { connection: redis, prefix: keys.queuePrefix() });
  await queue.obliterate({ force: true });
  expect(await two.contents()).toEqual(before);
  expect(await listRuns(one.engine)).toEqual([]);
  expect((await listRuns(two.engine)).map(({ run }) => run.id)).toEqual(theirs.map(({ run }) => run.id));
  const more = origin.route("/more", does.file("more"));
  expect(await follow(await two.submit(more))).toMatchObject({ end: "done", told: ["copied more"] });
  expect(readFileSync(join(theirs[0]?.run.spec.root ?? "", "more"), "utf8")).toBe("more");
});
