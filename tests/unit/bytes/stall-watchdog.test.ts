import { TransferError } from "@drover/shared/errors";
import type { Body } from "@drover/shared/storage/source";
import { StallWatchdog } from "@drover/worker/bytes/stall-watchdog";
import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";

beforeEach(() => void vi.useFakeTimers());
afterEach(() => void vi.useRealTimers());

class Stream implements Body {
  receivedBytes = 0;
  starved = true;
  error: Error | undefined;
  read = async () => null;
  takeIfComplete = () => undefined;

  abort(error: Error): void {
    this.error ??= error;
  }
}

const TIMEOUT = 4_000;

describe("a watched body", () => {
  test("is aborted after a whole window without a byte, and not before", () => {
    const watchdog = new StallWatchdog(TIMEOUT);
    const body = new Stream();
    watchdog.watch(body);
    vi.advanceTimersByTime(TIMEOUT - 1);
    expect(body.error).toBeUndefined();
    vi.advanceTimersByTime(TIMEOUT / 2);
    expect(body.error).toBeInstanceOf(TransferError);
    expect(body.error).toMatchObject({ class: "timeout", permanent: false, verdict: "fail" });
    watchdog.close();
  });

  test.for([
    [1_023, true],
    [1_024, false],
  ] as const)("that receives %i bytes in every window is aborted: %s", ([bytes, stopped]) => {
    const watchdog = new StallWatchdog(TIMEOUT);
    const body = new Stream();
    watchdog.watch(body);
    for (let window = 0; window < 10; window++) {
      body.receivedBytes += bytes;
      vi.advanceTimersByTime(TIMEOUT);
    }
    expect(body.error !== undefined).toBe(stopped);
    watchdog.close();
  });

  test("is aborted when it stalls in the middle", () => {
    const watchdog = new StallWatchdog(TIMEOUT);
    const body = new Stream();
    watchdog.watch(body);
    for (let tick = 0; tick < 40; tick++) {
      body.receivedBytes += 1 << 20;
      vi.advanceTimersByTime(TIMEOUT / 4);
    }
    expect(body.error).toBeUndefined();
    vi.advanceTimersByTime(TIMEOUT * 1.5);
    expect(body.error).toBeDefined();
    watchdog.close();
  });

  test("is not aborted while its reader is slow", () => {
    const watchdog = new StallWatchdog(TIMEOUT);
    const body = new Stream();
    body.starved = false;
    watchdog.watch(body);
    vi.advanceTimersByTime(TIMEOUT * 10);
    expect(body.error).toBeUndefined();
    body.starved = true;
    vi.advanceTimersByTime(TIMEOUT - 1);
    expect(body.error).toBeUndefined();
    vi.advanceTimersByTime(TIMEOUT);
    expect(body.error).toBeDefined();
    watchdog.close();
  });

  test("is left alone once it is no longer watched", () => {
    const watchdog = new StallWatchdog(TIMEOUT);
    const [one, two] = [new Stream(), new Stream()];
    const unwatch = watchdog.watch(one);
    watchdog.watch(two);
    vi.advanceTimersByTime(TIMEOUT / 2);
    unwatch();
    vi.advanceTimersByTime(TIMEOUT * 2);
    expect(one.error).toBeUndefined();
    expect(two.error).toBeDefined();
    watchdog.close();
  });
});
