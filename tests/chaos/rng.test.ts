import { describe, expect, it } from "vitest";
import { Rng } from "./rng.js";

const draw = (rng: Rng, count: number) => Array.from({ length: count }, () => rng.next());

describe("seeded random numbers", () => {
  it("are the same for the same seed, others for another seed or label", () => {
    const first = draw(new Rng(7, "a"), 20);
    expect(draw(new Rng(7, "a"), 20)).toEqual(first);
    expect(draw(new Rng(7, "b"), 20)).not.toEqual(first);
    expect(draw(new Rng(8, "a"), 20)).not.toEqual(first);
  });

  it("are those that the published algorithm gives", () => {
    // Computed with unbounded integers, so that a slip in the 32-bit arithmetic shows.
    const mask = 0xffff_ffffn;
    const rng = new Rng(1);
    const digest = new Uint32Array(new Uint8Array(Buffer.from(SEED_1, "hex")).buffer);
    let [a, b, c, counter] = [...digest].slice(0, 4).map(BigInt) as [bigint, bigint, bigint, bigint];
    for (let i = 0; i < 100; i++) {
      const sum = (a + b + counter) & mask;
      counter = (counter + 1n) & mask;
      a = b ^ (b >> 9n);
      b = (c + (c << 3n)) & mask;
      c = ((((c << 21n) & mask) | (c >> 11n)) + sum) & mask;
      expect(rng.next()).toBe(Number(sum));
    }
  });

  it("fill a range evenly, ends included", () => {
    const rng = new Rng("range");
    const counts = new Map<number, number>();
    for (let i = 0; i < 6_000; i++) {
      const value = rng.int(1, 6);
      counts.set(value, (counts.get(value) ?? 0) + 1);
    }
    expect([...counts.keys()].sort()).toEqual([1, 2, 3, 4, 5, 6]);
    for (const count of counts.values()) expect(Math.abs(count - 1_000)).toBeLessThan(150);
  });
});

/** SHA-256 of `[1]`. */
const SEED_1 = "080a9ed428559ef602668b4c00f114f1a11c3f6b02a435f0bdc154578e4d7f22";
