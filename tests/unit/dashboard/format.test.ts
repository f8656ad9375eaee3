import { bytes, counted, duration, number, percent } from "@drover/dashboard/pages/format";
import { describe, expect, it } from "vitest";

describe("numbers for people", () => {
  it("say what they count", () => {
    expect([counted(1, "file"), counted(12_400, "file"), counted(0, "run")]).toEqual([
      "1 file",
      "12,400 files",
      "0 runs",
    ]);
    expect([number(0.26), number(12.6), number(1e6)]).toEqual(["0.3", "13", "1,000,000"]);
    expect([bytes(0), bytes(999), bytes(1_500), bytes(2.5e8)]).toEqual(["0 B", "999 B", "1.5 kB", "250 MB"]);
    expect([duration(-5), duration(45_000), duration(600_000), duration(2e8)]).toEqual([
      "0 s",
      "45 s",
      "10 min",
      "2 days",
    ]);
  });

  it("are 100 % at the end alone", () => {
    expect([percent(0, 0), percent(999, 1_000), percent(1_000, 1_000)]).toEqual(["0 %", "99 %", "100 %"]);
  });
});
