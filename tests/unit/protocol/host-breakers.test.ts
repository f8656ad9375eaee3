import { HostBreakers } from "@drover/shared/protocol/host-breakers";
import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";

const HOST = "host:80";
const NOW = 1_700_000_000_000;

beforeEach(() => void vi.useFakeTimers({ now: NOW }));
afterEach(() => void vi.useRealTimers());

describe("a host", () => {
  test("is not blocked at first", () => {
    const breakers = new HostBreakers(10_000, 1_000);
    breakers.report(HOST, 0, true);
    breakers.report(HOST, 0, false);
    expect(breakers.blockedUntil(HOST)).toBe(0);
    expect(breakers.isRecovering(HOST)).toBe(false);
    expect(breakers.isGivenUp(HOST)).toBe(false);
    expect(breakers.blockedHosts).toEqual([]);
  });

  test("is blocked until its breaker may be asked again, and then recovers", () => {
    const breakers = new HostBreakers(10_000, 1_000);
    breakers.report(HOST, NOW + 5_000, false);
    expect(breakers.blockedUntil(HOST)).toBe(NOW + 5_000);
    expect(breakers.blockedHosts).toEqual([HOST]);
    expect(breakers.blockedUntil("other:80")).toBe(0);
    vi.advanceTimersByTime(5_000);
    expect(breakers.blockedUntil(HOST)).toBe(0);
    expect(breakers.isRecovering(HOST)).toBe(true);
    breakers.report(HOST, 0, true);
    expect(breakers.isRecovering(HOST)).toBe(false);
  });

  test("is blocked no more once its breaker was closed by hand, and is waited for as long as ever after", () => {
    const breakers = new HostBreakers(10_000, 1_000);
    const changes: string[] = [];
    breakers.onChange((host) => changes.push(host));
    breakers.closed(HOST);
    expect(changes).toEqual([]);
    breakers.report(HOST, NOW + 8_000, false);
    vi.advanceTimersByTime(5_000);
    breakers.closed(HOST);
    expect([breakers.blockedUntil(HOST), breakers.isRecovering(HOST)]).toEqual([0, false]);
    expect(changes).toEqual([HOST, HOST]);
    breakers.report(HOST, NOW + 15_000, false);
    expect(breakers.isGivenUp(HOST)).toBe(false);
  });

  test("stays blocked when a file that began before gets through", () => {
    const breakers = new HostBreakers(10_000, 1_000);
    breakers.report(HOST, NOW + 5_000, false);
    breakers.report(HOST, 0, true);
    expect(breakers.blockedUntil(HOST)).toBe(NOW + 5_000);
  });

  test("does not recover by a try without a verdict", () => {
    const breakers = new HostBreakers(10_000, 1_000);
    breakers.report(HOST, NOW + 5_000, false);
    vi.advanceTimersByTime(6_000);
    breakers.report(HOST, 0, false);
    expect(breakers.isRecovering(HOST)).toBe(true);
  });

  test("of a local file is never blocked", () => {
    const breakers = new HostBreakers(0, 1_000);
    breakers.report("", NOW + 5_000, false);
    expect(breakers.blockedUntil("")).toBe(0);
    expect(breakers.isGivenUp("")).toBe(false);
  });
});

describe("waiting for a host", () => {
  test("is allowed while the wait is shorter than the patience of the run", () => {
    const breakers = new HostBreakers(10_000, 1_000);
    expect(breakers.mayWait(HOST, 10_000)).toBe(true);
    vi.advanceTimersByTime(9_000);
    expect(breakers.mayWait(HOST, 1_000)).toBe(true);
  });

  test("ends when the breaker has been open for longer than the run waits", () => {
    const breakers = new HostBreakers(10_000, 1_000);
    expect(breakers.mayWait(HOST, 5_000)).toBe(true);
    vi.advanceTimersByTime(5_000);
    expect(breakers.mayWait(HOST, 60_000)).toBe(false);
    expect(breakers.isGivenUp(HOST)).toBe(true);
  });

  test("is not allowed for a run that does not wait", () => {
    const breakers = new HostBreakers(0, 1_000);
    expect(breakers.mayWait(HOST, 100)).toBe(false);
    expect(breakers.isGivenUp(HOST)).toBe(true);
  });

  test("starts again after the host has recovered", () => {
    const breakers = new HostBreakers(10_000, 1_000);
    breakers.report(HOST, NOW + 9_000, false);
    vi.advanceTimersByTime(9_000);
    breakers.report(HOST, 0, true);
    vi.advanceTimersByTime(9_000);
    expect(breakers.mayWait(HOST, 9_000)).toBe(true);
  });

  test("continues for the probes of a half-open breaker", () => {
    const breakers = new HostBreakers(10_000, 5_000);
    breakers.report(HOST, NOW + 10_000, false);
    vi.advanceTimersByTime(12_500);
    expect(breakers.mayWait(HOST, 500)).toBe(true);
    vi.advanceTimersByTime(60_000);
    expect(breakers.mayWait(HOST, 500)).toBe(false);
  });
});

test("a listener is called for every change and for nothing else", () => {
  const breakers = new HostBreakers(10_000, 1_000);
  const heard = vi.fn();
  breakers.onChange(heard);
  breakers.report(HOST, 0, true);
  breakers.report("", NOW + 1_000, false);
  expect(heard).toHaveBeenCalledTimes(0);
  breakers.report(HOST, NOW + 1_000, false);
  expect(heard).toHaveBeenCalledTimes(1);
  vi.advanceTimersByTime(2_000);
  breakers.report(HOST, 0, true);
  expect(heard).toHaveBeenCalledTimes(2);
  breakers.mayWait(HOST, 1_000);
  expect(heard).toHaveBeenCalledTimes(3);
});
