import { describe, expect, it } from "vitest";
import { schedule } from "./nemesis.js";

const options = {
  names: Array.from({ length: 200 }, (_, at) => `f${at}`),
  ...{ workers: 3, spanMs: 60_000, faultEveryMs: 800, publishEveryMs: 500, runs: 4, mostPauseMs: 4_000 },
};

describe("a schedule", () => {
  it("is the same for the same seed", () => {
    expect(schedule({ ...options, seed: 3 })).toEqual(schedule({ ...options, seed: 3 }));
    expect(schedule({ ...options, seed: 4 })).not.toEqual(schedule({ ...options, seed: 3 }));
  });

  it("goes by time and does, over some seeds, everything to everybody", () => {
    const all = Array.from({ length: 10 }, (_, seed) => schedule({ ...options, seed }));
    for (const actions of all) {
      const times = actions.map(({ atMs }) => atMs);
      expect(times).toEqual([...times].sort((one, other) => one - other));
      expect(actions[0]).toMatchObject({ atMs: 0, does: "submit", run: "run 0" });
    }
    const done = new Set(all.flat().map(({ does }) => does));
    expect([...done].sort()).toEqual([
      ...["crash-redis", "cut-link", "hold-link", "kill", "pause", "publish", "refuse-link"],
      ...["remove-jobs", "retry-jobs", "slow-link", "submit"],
    ]);
    const killed = all.flat().flatMap((action) => (action.does === "kill" ? [action.target] : []));
    expect(new Set(killed)).toEqual(new Set([0, 1, 2, "producer"]));
    const losses = all.flat().filter((action) => action.does === "crash-redis" && action.loss);
    expect(losses.length).toBeGreaterThan(0);
  });

  it("does one thing at a time to each process and each link", () => {
    const until = new Map<string, number>();
    for (const action of schedule({ ...options, seed: 1, faultEveryMs: 50 })) {
      if (!("forMs" in action)) continue;
      const target = "target" in action ? action.target : "redis";
      const on = action.does.endsWith("link") ? `link ${target}` : `${target}`;
      expect(action.atMs, `${on} is busy`).toBeGreaterThanOrEqual(until.get(on) ?? 0);
      until.set(on, action.atMs + action.forMs);
    }
  });
});
