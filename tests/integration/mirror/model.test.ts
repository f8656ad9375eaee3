import { describe, expect } from "vitest";
import { it, type MirrorInProcess } from "../../harness/mirror-in-process.js";

/** A small generator of random numbers (mulberry32), so that a seed plays the same history. */
function randomOf(seed: number): (most: number) => number {
  let state = seed;
  return (most) => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) % most;
  };
}

const KEYS = ["a", "b", "dir/a", "dir/b", "dir/deep/c", "=sum", "with space", 'ü,"q"', "d/e/f/g"];

/** Edits the bucket at random. @returns the events that tell of it, in their order. */
function edit(mirror: MirrorInProcess, random: (most: number) => number, timeMs: number): string[] {
  const { s3 } = mirror;
  const key = KEYS[random(KEYS.length)] as string;
  const other = KEYS[random(KEYS.length)] as string;
  const there = s3.stored(key);
  switch (random(4)) {
    case 0:
      s3.remove(key);
      return [mirror.event("delete", { key }, timeMs)];
    case 1:
      if (!there || other === key) return [];
      s3.put(other, there.content);
      s3.remove(key);
      return [mirror.event(random(2) === 0 ? "rename" : "move", { from: key, to: other }, timeMs)];
    case 2:
      return [mirror.event("change_permission", { key, mode: "0640", owner: `o${random(3)}` }, timeMs)];
    default:
      s3.put(key, `content ${random(1_000_000)}`);
      return [mirror.event("create", { key }, timeMs)];
  }
}

function shuffle<T>(all: T[], random: (most: number) => number): T[] {
  const shuffled = [...all];
  for (let at = shuffled.length - 1; at > 0; at--) {
    const other = random(at + 1);
    [shuffled[at], shuffled[other]] = [shuffled[other] as T, shuffled[at] as T];
  }
  return shuffled;
}

/** Seeds that are played: those of DROVER_TEST_SEEDS (`3` or `3-10`), else some. */
function seeds(): number[] {
  const [from = 1, to = from] = (process.env.DROVER_TEST_SEEDS ?? "1-4").split("-").map(Number);
  return Array.from({ length: to - from + 1 }, (_, at) => from + at);
}

describe("random histories", { timeout: 120_000 }, () => {
  for (const seed of seeds()) {
    it(`has the tree equal the bucket where no event is dropped, whatever their order (seed ${seed})`, async ({
      mirror,
    }) => {
      const random = randomOf(seed);
      if (random(2) === 0) await mirror.sync("initial");
      for (let round = 0; round < 4; round++) {
        const events: string[] = [];
        for (let step = 0; step < 12; step++) events.push(...edit(mirror, random, Date.now() - 1_000 + step));
        const twice = events.filter(() => random(4) === 0);
        await mirror.tell(...shuffle([...events, ...twice], random));
        const report = await mirror.sync("incremental");
        expect(
          report,
          `seed ${seed} ${JSON.stringify(report.failures)} ${report.error} ${JSON.stringify(report.reconciled)}`,
        ).toMatchObject({ status: "success", pending: 0 });
        expect(mirror.tree(), `seed ${seed}, round ${round}`).toEqual(mirror.source());
        expect(report.records, `seed ${seed}, round ${round}`).toBe(mirror.s3.keys.length);
      }
    });

    it(`has the tree equal the bucket after a full listing where events are dropped (seed ${seed})`, async ({
      mirror,
    }) => {
      const random = randomOf(seed + 1_000_000);
      mirror.s3.put("always", "there"); // an empty listing removes nothing
      await mirror.sync("initial");
      for (let round = 0; round < 3; round++) {
        const events: string[] = [];
        for (let step = 0; step < 12; step++) events.push(...edit(mirror, random, Date.now() - 1_000 + step));
        await mirror.tell(...shuffle(events, random).filter(() => random(2) === 0));
        if (random(2) === 0) await mirror.sync("incremental");
        const report = await mirror.sync("reconcile");
        expect(
          report,
          `seed ${seed} ${JSON.stringify(report.failures)} ${report.error} ${JSON.stringify(report.reconciled)}`,
        ).toMatchObject({ status: "success", pending: 0 });
        expect(mirror.tree(), `seed ${seed}, round ${round}`).toEqual(mirror.source());
        expect(report.records, `seed ${seed}, round ${round}`).toBe(mirror.s3.keys.length);
      }
    });
  }
});
