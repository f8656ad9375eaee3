import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { FleetDispatcher } from "@drover/producer/dispatch/fleet-dispatcher";
import type { Outcome } from "@drover/shared/outcome";
import { recordRun } from "@drover/shared/protocol/record-run";
import { destinationOf } from "@drover/shared/storage/registry";
import { FleetWorker } from "@drover/worker/runtime/fleet-worker";
import { describe, expect, vi } from "vitest";
import { it as base } from "../../harness/redis.js";
import { Member, queued, specOf } from "../helpers/fleet.js";

interface Fixtures {
  dir: string;
  fleet: Member;
  dispatcher: FleetDispatcher;
  /** Has a worker that writes below `allowed` alone carry the file of a run with this root. */
  carry: (root: string) => Promise<Outcome>;
}

const it = base.extend<Fixtures>({
  // biome-ignore lint/correctness/noEmptyPattern: vitest reads what a fixture needs from the pattern
  dir: async ({}, use) => {
    const dir = mkdtempSync("/tmp/dv-");
    await use(dir);
    rmSync(dir, { recursive: true });
  },
  fleet: async ({ redis, keys }, use) => use(new Member(redis, keys)),
  dispatcher: async ({ redis, keys, fleet }, use) => {
    const { ledger, owner } = fleet;
    const dispatcher = new FleetDispatcher({ redis, keys, ledger, owner, log: () => {} });
    await use(dispatcher);
    await dispatcher.close();
  },
  carry: async ({ redis, keys, dir, fleet, dispatcher }, use) => {
    let worker: FleetWorker | undefined;
    await use(async (root) => {
      mkdirSync(join(dir, "allowed"));
      await submit(fleet, dir, root);
      await dispatcher.tick();
      const { promise, resolve: settled, reject } = Promise.withResolvers<Outcome>();
      const events = { started() {}, waiting() {}, retrying() {}, dropped() {}, settled };
      const roots = [join(dir, "allowed")];
      worker = new FleetWorker({ redis, keys, concurrency: 1, roots, events, onError: reject });
      return await promise;
    });
    await worker?.stop(0);
  },
});

/** A run of one file with its own request headers, not yet seen by any worker. */
async function submit(fleet: Member, dir: string, root = join(dir, "out")): Promise<string> {
  writeFileSync(join(dir, "source"), "content");
  const spec = specOf({ root, fleet: true, ownFlights: true });
  const run = await recordRun(fleet.ledger, spec, { headers: { a: "b" }, sources: [] });
  await fleet.backlog.enqueue(run, 1, "", [queued(run, join(dir, "source"), "f")], { shared: true });
  return run;
}

describe("an error of Redis", () => {
  it("does not make a run count as forgotten: it is dispatched later", async ({
    dir,
    fleet,
    redis,
    dispatcher,
  }) => {
    const run = await submit(fleet, dir);
    vi.spyOn(redis, "hgetall").mockRejectedValueOnce(new Error("Connection is closed."));
    await expect(dispatcher.tick()).rejects.toThrow("Connection is closed.");
    expect(await fleet.ledger.active()).toEqual([run]);
    await dispatcher.tick();
    expect((await fleet.backlog.inFlight(run)).size).toBe(1);
  });

  it("does not make credentials count as expired: the file is carried a moment later", async ({
    dir,
    fleet,
    redis,
    keys,
    dispatcher,
  }) => {
    await submit(fleet, dir);
    await dispatcher.tick();
    vi.spyOn(redis, "hmget").mockRejectedValueOnce(new Error("Connection is closed."));
    const settled = Promise.withResolvers<Outcome>();
    const fileWorker = new FleetWorker({
      redis,
      keys,
      concurrency: 1,
      roots: [dir],
      events: { started() {}, waiting() {}, retrying() {}, dropped() {}, settled: settled.resolve },
      onError() {},
    });
    expect(await settled.promise).toMatchObject({ outcome: "copied", name: "f" });
    expect(readFileSync(join(dir, "out/f"), "utf8")).toBe("content");
    await fileWorker.stop(0);
  });
});

describe("a root outside of those that the worker writes below", () => {
  const refused = {
    outcome: "failed",
    attempts: 1,
    error: { class: "path", message: expect.stringMatching(/outside/) },
  };

  it("is refused before it is made", async ({ dir, carry }) => {
    const root = join(dir, "out/deep");
    expect(await carry(root)).toMatchObject({ ...refused, destination: join(root, "f") });
    expect(existsSync(join(dir, "out"))).toBe(false);
  });

  it("is refused where a link leads there, which appears after the worker has looked", async ({
    dir,
    carry,
  }) => {
    const link = join(dir, "allowed/link");
    mkdirSync(join(dir, "elsewhere"));
    vi.spyOn(destinationOf(dir), "refuse").mockImplementationOnce(() => {
      symlinkSync(join(dir, "elsewhere"), link);
      return undefined;
    });
    expect(await carry(join(link, "out"))).toMatchObject(refused);
    vi.restoreAllMocks();
    expect(existsSync(join(dir, "elsewhere/out/f"))).toBe(false);
  });
});

describe("a host whose breaker is open", () => {
  it.for([
    { when: "now", aheadMs: 0, files: 0 },
    { when: "before the clock of Redis was set back by an hour", aheadMs: 3_600_000, files: 1 },
  ])("since $when gets $files files", async ({ aheadMs, files }, { dir, fleet, redis, keys, dispatcher }) => {
    const spec = specOf({ root: join(dir, "out"), fleet: true, ownFlights: true, breakerWaitMs: 86_400_000 });
    const run = await recordRun(fleet.ledger, spec, { headers: {}, sources: [] });
    await fleet.backlog.enqueue(run, 1, "", [queued(run, "http://host/f", "f")], { shared: true });
    const openedMs = Date.now() + aheadMs;
    await redis.hset(keys.breaker("host:80"), { st: "o", at: openedMs, until: openedMs + 300_000, ep: 1 });
    await dispatcher.tick();
    expect((await fleet.backlog.inFlight(run)).size).toBe(files);
  });
});
