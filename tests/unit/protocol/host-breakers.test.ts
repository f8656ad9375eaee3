import { Gates } from "@drover/shared/protocol/host-breakers";
import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";

const HOST = "host:80";
const NOW = 1_700_000_000_000;

beforeEach(() => void vi.useFakeTimers({ now: NOW }));
afterEach(() => void vi.useRealTimers());

describe("a host", () => {
  test("is open until something else is said", () => {
    const gates = new Gates(10_000, 1_000);
    gates.told(HOST, 0, true);
    gates.told(HOST, 0, false);
    expect(gates.blockedUntil(HOST)).toBe(0);
    expect(gates.recovering(HOST)).toBe(false);
    expect(gates.givenUp(HOST)).toBe(false);
    expect(gates.blockedHosts).toEqual([]);
  });

  test("is blocked until its breaker may be asked again, and then recovers", () => {
    const gates = new Gates(10_000, 1_000);
    gates.told(HOST, NOW + 5_000, false);
    expect(gates.blockedUntil(HOST)).toBe(NOW + 5_000);
    expect(gates.blockedHosts).toEqual([HOST]);
    expect(gates.blockedUntil("other:80")).toBe(0);
    vi.advanceTimersByTime(5_000);
    expect(gates.blockedUntil(HOST)).toBe(0);
    expect(gates.recovering(HOST)).toBe(true);
    gates.told(HOST, 0, true);
    expect(gates.recovering(HOST)).toBe(false);
  });

  test("is not free because a file of before gets through while it is blocked", () => {
    const gates = new Gates(10_000, 1_000);
    gates.told(HOST, NOW + 5_000, false);
    gates.told(HOST, 0, true);
    expect(gates.blockedUntil(HOST)).toBe(NOW + 5_000);
  });

  test("does not recover by a try that says nothing", () => {
    const gates = new Gates(10_000, 1_000);
    gates.told(HOST, NOW + 5_000, false);
    vi.advanceTimersByTime(6_000);
    gates.told(HOST, 0, false);
    expect(gates.recovering(HOST)).toBe(true);
  });

  test("of a local file is never blocked", () => {
    const gates = new Gates(0, 1_000);
    gates.told("", NOW + 5_000, false);
    expect(gates.blockedUntil("")).toBe(0);
    expect(gates.givenUp("")).toBe(false);
  });
});

describe("waiting for a host", () => {
  test("is fine while its wait ends within what the run waits", () => {
    const gates = new Gates(10_000, 1_000);
    expect(gates.mayWait(HOST, 10_000)).toBe(true);
    vi.advanceTimersByTime(9_000);
    expect(gates.mayWait(HOST, 1_000)).toBe(true);
  });

  test("ends when the breaker stays open for longer, counted from when it was first found so", () => {
    const gates = new Gates(10_000, 1_000);
    expect(gates.mayWait(HOST, 5_000)).toBe(true);
    vi.advanceTimersByTime(5_000);
    expect(gates.mayWait(HOST, 60_000)).toBe(false);
    expect(gates.givenUp(HOST)).toBe(true);
  });

  test("is not begun by a run that does not wait", () => {
    const gates = new Gates(0, 1_000);
    expect(gates.mayWait(HOST, 100)).toBe(false);
    expect(gates.givenUp(HOST)).toBe(true);
  });

  test("begins anew after the host has recovered", () => {
    const gates = new Gates(10_000, 1_000);
    gates.told(HOST, NOW + 9_000, false);
    vi.advanceTimersByTime(9_000);
    gates.told(HOST, 0, true);
    vi.advanceTimersByTime(9_000);
    expect(gates.mayWait(HOST, 9_000)).toBe(true);
  });

  test("goes on for a half-open breaker's probes, beyond the run's own wait", () => {
    const gates = new Gates(10_000, 5_000);
    gates.told(HOST, NOW + 10_000, false);
    vi.advanceTimersByTime(12_500);
    expect(gates.mayWait(HOST, 500)).toBe(true);
    vi.advanceTimersByTime(60_000);
    expect(gates.mayWait(HOST, 500)).toBe(false);
  });
});

test("whoever listens hears of every change, and of nothing else", () => {
  const gates = new Gates(10_000, 1_000);
  const heard = vi.fn();
  gates.onChange(heard);
  gates.told(HOST, 0, true);
  gates.told("", NOW + 1_000, false);
  expect(heard).toHaveBeenCalledTimes(0);
  gates.told(HOST, NOW + 1_000, false);
  expect(heard).toHaveBeenCalledTimes(1);
  vi.advanceTimersByTime(2_000);
  gates.told(HOST, 0, true);
  expect(heard).toHaveBeenCalledTimes(2);
  gates.mayWait(HOST, 1_000);
  expect(heard).toHaveBeenCalledTimes(3);
});
