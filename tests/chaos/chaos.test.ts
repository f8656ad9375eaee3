import { expect, it } from "vitest";
import { report } from "./checker.js";
import { keep, play, SHORT } from "./play.js";

/** Between them they have every kind of fault. Others: SEEDS=7,8 npm test -- tests/chaos/chaos.test.ts */
const seeds = (process.env.SEEDS ?? "3,21").split(",").map(Number);

it.concurrent.for(seeds)("a fleet under fire, seed %s", { timeout: 400_000 }, async (seed) => {
  const played = await play({ ...SHORT, seed });
  if (played.violations.length > 0 || process.env.KEEP) keep(played);
  expect(report(played.violations, played.history)).toBe("");
});
