import { setTimeout as sleep } from "node:timers/promises";
import { whileHolding } from "@drover/mirror/state/holding";
import { MirrorLostError, MirrorState } from "@drover/mirror/state/mirror-state";
import { incrementalSync } from "@drover/mirror/sync/sync";
import { describe, expect } from "vitest";
import { it, type MirrorInProcess } from "../../harness/mirror-in-process.js";

const entry = { isGone: false, sizeBytes: 1, mtimeMs: 0, version: "v", sha256: "", listing: 1 };

/** Makes the mirror one that another process syncs. */
async function takenByAnother({ context }: MirrorInProcess): Promise<void> {
  const { redis } = context.engine;
  await redis.set(context.state.keys.holder(), "other.0.1.1", "PX", 60_000);
  await redis.hincrby(context.state.keys.state(), "fence", 1);
}

describe("who syncs a mirror", () => {
  it("is one at a time: another one is told, or waits", async ({ mirror }) => {
    const { engine, config } = mirror.context;
    const { signal: stop } = new AbortController();
    await takenByAnother(mirror);
    expect(await whileHolding(engine, config.name, { stop, wait: false }, async () => 1)).toBeUndefined();
    const told: string[] = [];
    const waiting = whileHolding(
      engine,
      config.name,
      { stop, wait: (name) => told.push(name) },
      async () => 1,
    );
    await expect.poll(() => told).toEqual(["other.0.1.1"]);
    await engine.redis.del(mirror.context.state.keys.holder());
    expect(await waiting).toBe(1);
  });

  it("writes nothing to the state once it has lost the mirror", async ({ mirror }) => {
    const { state } = mirror.context;
    await mirror.holding(async ({ fence }) => {
      await state.change(fence, { entries: new Map([["a", entry]]) });
      await takenByAnother(mirror);
      await expect(state.change(fence, { entries: new Map([["b", entry]]), pending: ["b"] })).rejects.toThrow(
        MirrorLostError,
      );
    });
    expect(await state.lookUp(["a", "b"])).toEqual([entry, undefined]);
    expect(await state.pendingCount()).toBe(0);
  });
});

describe("the state", () => {
  it("counts records, however often a change is sent", async ({ mirror }) => {
    const { state } = mirror.context;
    await mirror.holding(async ({ fence }) => {
      const change = {
        entries: new Map([
          ["a", entry],
          ["b", { ...entry, isGone: true }],
        ]),
      };
      await state.change(fence, change);
      await state.change(fence, change);
      expect((await state.fields()).records).toBe("1");
      await state.change(fence, { entries: new Map([["a", undefined]]) });
      expect((await state.fields()).records).toBe("0");
    });
  });

  it("keeps a path pending that became so again after the run had begun", async ({ mirror }) => {
    const { state } = mirror.context;
    await mirror.holding(async ({ fence }) => {
      const upTo = await state.change(fence, { pending: ["a", "b"] });
      await state.change(fence, { pending: ["b"] });
      await state.change(fence, { settled: ["a", "b"], upTo });
    });
    const pages = [];
    for await (const page of state.pending(Number.MAX_SAFE_INTEGER)) pages.push(...page);
    expect(pages).toEqual(["b"]);
  });

  it("knows ids of events for eight periods", async ({ engine, mirror }) => {
    const state = new MirrorState(engine, mirror.context.config.name);
    await mirror.holding(async ({ fence }) => {
      for (let period = 0; period < 9; period++) {
        await state.turnIds(fence);
        await state.change(fence, { ids: [`e${period}`] });
        await state.change(fence, { fields: { idPeriodMs: 1 } }); // long ago
      }
      expect(await state.known(["e0", "e1", "e8", "never"])).toEqual([false, true, true, false]);
    });
  });
});

describe("Redis that goes away", { timeout: 120_000 }, () => {
  it("is waited for in the middle of a sync", async ({ mirror, server }) => {
    const { s3 } = mirror;
    for (let at = 0; at < 20; at++) s3.put(`f${at}`, String(at));
    await mirror.sync("initial");
    for (let at = 0; at < 20; at++) s3.put(`f${at}`, `new ${at}`);
    await mirror.tell(...Array.from({ length: 20 }, (_, at) => mirror.event("create", { key: `f${at}` })));
    let asked = 0;
    s3.before = async () => {
      if (++asked === 5) await server.kill();
      await sleep(20);
      return undefined;
    };
    const syncing = mirror.holding((holding) => incrementalSync(mirror.context, holding));
    await expect.poll(() => asked, { timeout: 30_000 }).toBeGreaterThanOrEqual(5);
    await server.start();
    s3.before = () => undefined;
    await syncing.catch(() => undefined); // it may have lost the mirror
    const report = await mirror.sync("incremental");
    expect(report).toMatchObject({ status: "success", pending: 0, records: 20 });
    expect(mirror.tree()).toEqual(mirror.source());
  });
});
