import type { RunSummary } from "@drover/producer/runs/summary";
import { RunRates } from "@drover/service/runs/rates";
import { describe, expect, it } from "vitest";

const STARTED_MS = 1_000_000;

function run(settled: number, more: { state?: string; sealed?: boolean } = {}): RunSummary {
  const run = { id: "a", state: "running", sealed: true, startedMs: STARTED_MS, ...more };
  return { run, counts: { files: 1_000, settled } } as unknown as RunSummary;
}

describe("the rate of a run", () => {
  it("is its average at first, and that of the last minute then", () => {
    const rates = new RunRates();
    expect(rates.of(run(100), STARTED_MS + 10_000)).toEqual({ files_per_second: 10, eta_seconds: 90 });
    expect(rates.of(run(200), STARTED_MS + 15_000)).toEqual({ files_per_second: 20, eta_seconds: 40 });
    for (let seconds = 20; seconds <= 100; seconds += 5)
      rates.of(run(200 + seconds), STARTED_MS + seconds * 1_000);
    expect(rates.of(run(301), STARTED_MS + 101_000)).toMatchObject({ files_per_second: 1 });
  });

  it("tells no end while nothing moves, nor before all files are found", () => {
    const rates = new RunRates();
    rates.of(run(100), STARTED_MS + 10_000);
    expect(rates.of(run(100), STARTED_MS + 20_000)).toEqual({ files_per_second: 0, eta_seconds: null });
    expect(rates.of(run(150, { sealed: false }), STARTED_MS + 30_000)).toMatchObject({ eta_seconds: null });
  });

  it("is nothing where it does not run, and begins anew where files are tried again", () => {
    const rates = new RunRates();
    rates.of(run(900), STARTED_MS + 10_000);
    expect(rates.of(run(1_000, { state: "done" }), STARTED_MS + 12_000)).toEqual({
      files_per_second: null,
      eta_seconds: null,
    });
    rates.of(run(900), STARTED_MS + 20_000);
    expect(rates.of(run(500), STARTED_MS + 25_000).files_per_second).toBeGreaterThan(0);
    expect(rates.of(run(520), STARTED_MS + 30_000)).toEqual({ files_per_second: 4, eta_seconds: 120 });
  });
});
