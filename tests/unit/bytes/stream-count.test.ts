import { StreamCount } from "@drover/worker/destinations/local/stream-count";
import { describe, expect, it } from "vitest";

const LOOK_MS = 25;

/** A host, in bytes per look for a number of streams. */
type Host = (streams: number, look: number) => number;

/** What was aimed at over time, where all streams begin at once. */
function play(host: Host, { looks = 400, most = 16, busy = 0 } = {}): number[] {
  const count = new StreamCount(most, { nowMs: 0, receivedBytes: 0 });
  const targets: number[] = [];
  let receivedBytes = 0;
  for (let look = 1; look <= looks; look++) {
    receivedBytes += host(count.target, look);
    count.look({ nowMs: look * LOOK_MS, receivedBytes, open: count.target, busy });
    targets.push(count.target);
  }
  return targets;
}

/** The part of the looks that aimed at so many. */
function partAt(targets: number[], target: number): number {
  return targets.filter((each) => each === target).length / targets.length;
}

describe("the number of streams", () => {
  it("doubles up to the most where each connection is limited, within half a second", () => {
    const targets = play((streams) => streams * 500_000);
    expect(targets[0]).toBe(1);
    expect(targets.slice(500 / LOOK_MS).every((target) => target === 16)).toBe(true);
  });

  it("stays at one where the line is what limits, but for a few trials", () => {
    const targets = play(() => 2_000_000);
    expect(partAt(targets, 1)).toBeGreaterThan(0.8);
    expect(Math.max(...targets)).toBe(2);
  });

  it("goes as far as it gives more", () => {
    const targets = play((streams) => Math.min(streams, 4) * 500_000);
    expect(partAt(targets.slice(40), 4)).toBeGreaterThan(0.8);
    expect(Math.max(...targets)).toBe(8);
  });

  it("stays at one where the process is busy", () => {
    expect(new Set(play((streams) => streams * 500_000, { busy: 0.9 }))).toEqual(new Set([1]));
  });

  it("grows where each connection gets its bytes in bursts, once a second", () => {
    const targets = play((streams, look) => (look % 40 === 1 ? streams * 20_000_000 : 0), { looks: 2_000 });
    expect(targets.slice(40, 160)).toContain(16);
    expect(partAt(targets, 16)).toBeGreaterThan(0.7);
  });

  it("takes pauses now and then, as on a busy machine, for no bursts", () => {
    const targets = play((_, look) => (look % 5 === 0 ? 0 : 2_500_000), { looks: 2_000 });
    expect(partAt(targets, 1)).toBeGreaterThan(0.8);
    expect(Math.max(...targets)).toBe(2);
  });

  it("falls again where bursts are those of the line", () => {
    const targets = play((_, look) => (look % 40 === 1 ? 20_000_000 : 0), { looks: 2_000 });
    expect(targets.at(-1)).toBe(1);
  });

  it("takes what was here before for no rate", () => {
    const here = 1_000_000_000;
    const count = new StreamCount(16, { nowMs: 0, receivedBytes: here });
    let receivedBytes = here;
    for (let look = 1; look <= 20; look++) {
      receivedBytes += count.target * 500_000;
      count.look({ nowMs: look * LOOK_MS, receivedBytes, open: count.target, busy: 0 });
    }
    expect(count.target).toBe(16);
  });

  it("takes no later limit for leave to go beyond an earlier one", () => {
    const count = new StreamCount(16, { nowMs: 0, receivedBytes: 0 });
    count.limit(2, 1);
    count.limit(6, 2);
    for (let look = 1, receivedBytes = 0; look <= 200; look++) {
      receivedBytes += count.target * 500_000;
      count.look({ nowMs: look * LOOK_MS, receivedBytes, open: count.target, busy: 0 });
    }
    expect(count.target).toBe(2);
  });

  it("never goes beyond what the host was found to take", () => {
    const count = new StreamCount(16, { nowMs: 0, receivedBytes: 0 });
    for (let look = 1, receivedBytes = 0; look <= 400; look++) {
      receivedBytes += count.target * 500_000;
      count.look({ nowMs: look * LOOK_MS, receivedBytes, open: count.target, busy: 0 });
      if (count.target > 3) count.limit(3, look * LOOK_MS);
      expect(count.target).toBeLessThanOrEqual(3);
    }
    expect(count.target).toBe(3);
  });
});
