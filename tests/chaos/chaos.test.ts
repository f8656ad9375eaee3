import { expect, it } from "vitest";
import { report } from "./checker.js";
import { keep, play } from "./play.js";

const seeds = (process.env.SEEDS ?? "1").split(",").map(Number);
it.for(seeds)("seed %s", { timeout: 400_000 }, async (seed) => {
  const played = await play({
    seed,
    files: 300,
    large: 0,
    workers: 3,
    concurrency: 6,
    latencyMs: 250,
    boundMs: 100_000,
    mostMiB: 400,
    spanMs: 9_000,
    faultEveryMs: 600,
    publishEveryMs: 500,
    runs: 3,
    mostPauseMs: 3_000,
  });
  keep(played, `reports/chaos/${seed}`);
  expect(report(played.violations, played.history)).toBe("");
});
