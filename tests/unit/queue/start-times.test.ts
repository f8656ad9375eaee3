import { StartTimes } from "@drover/worker/queue/start-times";
import { afterEach, beforeEach, expect, test, vi } from "vitest";

const HOUR_MS = 3_600_000;
const START_MS = 1_700_000_000_000;

beforeEach(() => void vi.useFakeTimers({ now: START_MS }));
afterEach(() => void vi.useRealTimers());

test("what is not remembered begins now", () => {
  const times = new StartTimes();
  expect(times.get("job")).toBe(START_MS);
  vi.advanceTimersByTime(5_000);
  expect(times.get("job")).toBe(START_MS + 5_000);
  expect(times.size).toBe(0);
});

test("what is remembered is so until it is over", () => {
  const times = new StartTimes();
  times.set("job", START_MS - 5_000, 0);
  vi.advanceTimersByTime(HOUR_MS / 2);
  expect(times.get("job")).toBe(START_MS - 5_000);
  times.delete("job");
  expect(times.get("job")).toBe(Date.now());
  expect(times.size).toBe(0);
});

test("a job that did not come back is forgotten an hour after it was due", () => {
  const times = new StartTimes();
  times.set("gone", START_MS, 0);
  times.set("delayed", START_MS, 5 * HOUR_MS);
  times.set("busy", START_MS, 0);
  for (let nth = 0; nth < 5; nth++) {
    vi.advanceTimersByTime(HOUR_MS / 2);
    times.set("busy", times.get("busy"), 0);
  }
  expect(times.size).toBe(2);
  expect(times.get("gone")).toBe(Date.now());
  expect(times.get("busy")).toBe(START_MS);
  vi.advanceTimersByTime(3 * HOUR_MS);
  expect(times.get("delayed")).toBe(START_MS);
});
