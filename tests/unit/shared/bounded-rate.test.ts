import { atBoundedRate } from "@drover/shared/bounded-rate";
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";

beforeEach(() => void vi.useFakeTimers({ toFake: ["performance"] }));
afterEach(() => void vi.useRealTimers());

describe("messages at a bounded rate", () => {
  it("are said once in ten seconds where they differ in numbers and ids alone, and then counted", () => {
    const said: string[] = [];
    const say = atBoundedRate((message) => said.push(message));
    for (let at = 0; at < 1_000; at++) say(`job r${at}-${at} is not in the active state`);
    say("another thing");
    vi.advanceTimersByTime(10_001);
    say("job r5-7 is not in the active state");
    expect(said).toEqual([
      "job r0-0 is not in the active state",
      "another thing",
      "job r5-7 is not in the active state (and 999 more like it)",
    ]);
  });

  it("are bounded where all are of different kinds", () => {
    const said: string[] = [];
    const say = atBoundedRate((message) => said.push(message));
    for (let at = 0; at < 1_000; at++) say("x".repeat(at));
    expect(said.length).toBeLessThan(30);
  });
});
