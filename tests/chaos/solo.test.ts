import { expect, it } from "vitest";
import { report } from "./checker.js";
import { keep, play } from "./play.js";

const seeds = (process.env.SEEDS ?? "1").split(",").map(Number);
it.for(seeds)("seed %s", { timeout: 200_000 }, async (seed) => {
  const played = await play({
    seed,
    files: 300,
    large: 0,
    concurrency: 8,
    latencyMs: 250,
    boundMs: 60_000,
    mostMiB: 400,
    workers: 0,
    spanMs: 10_000,
    faultEveryMs: 700,
    publishEveryMs: 500,
    runs: 2,
    mostPauseMs: 3_000,
  });
  keep(played, `reports/chaos/${seed}`);
  expect(report(played.violations, played.history)).toBe("");
});
