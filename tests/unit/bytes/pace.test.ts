import { TransferError } from "@drover/shared/errors";
import type { Body } from "@drover/shared/storage/source";
import { Pace } from "@drover/worker/bytes/pace";
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

describe("a body that is watched", () => {
  test("is stopped after a whole window without a byte, and not before", () => {
    const pace = new Pace(TIMEOUT, undefined);
    const body = new Stream();
    pace.watch(body);
    vi.advanceTimersByTime(TIMEOUT - 1);
    expect(body.error).toBeUndefined();
    vi.advanceTimersByTime(TIMEOUT / 2);
    expect(body.error).toBeInstanceOf(TransferError);
    expect(body.error).toMatchObject({ class: "timeout", permanent: false, verdict: "fail" });
    pace.close();
  });

  test.for([
    [1_023, true],
    [1_024, false],
  ] as const)("that brings %i bytes in every window is stopped: %s", ([bytes, stopped]) => {
    const pace = new Pace(TIMEOUT, undefined);
    const body = new Stream();
    pace.watch(body);
    for (let window = 0; window < 10; window++) {
      body.receivedBytes += bytes;
      vi.advanceTimersByTime(TIMEOUT);
    }
    expect(body.error !== undefined).toBe(stopped);
    pace.close();
  });

  test("is stopped in its middle when it stalls there", () => {
    const pace = new Pace(TIMEOUT, undefined);
    const body = new Stream();
    pace.watch(body);
    for (let tick = 0; tick < 40; tick++) {
      body.receivedBytes += 1 << 20;
      vi.advanceTimersByTime(TIMEOUT / 4);
    }
    expect(body.error).toBeUndefined();
    vi.advanceTimersByTime(TIMEOUT * 1.5);
    expect(body.error).toBeDefined();
    pace.close();
  });

  test("is not to blame while its reader is the slow one", () => {
    const pace = new Pace(TIMEOUT, undefined);
    const body = new Stream();
    body.starved = false;
    pace.watch(body);
    vi.advanceTimersByTime(TIMEOUT * 10);
    expect(body.error).toBeUndefined();
    body.starved = true;
    vi.advanceTimersByTime(TIMEOUT - 1);
    expect(body.error).toBeUndefined();
    vi.advanceTimersByTime(TIMEOUT);
    expect(body.error).toBeDefined();
    pace.close();
  });

  test("is left alone when it is not watched any more", () => {
    const pace = new Pace(TIMEOUT, undefined);
    const [one, two] = [new Stream(), new Stream()];
    const unwatch = pace.watch(one);
    pace.watch(two);
    vi.advanceTimersByTime(TIMEOUT / 2);
    unwatch();
    vi.advanceTimersByTime(TIMEOUT * 2);
    expect(one.error).toBeUndefined();
    expect(two.error).toBeDefined();
    pace.close();
  });
});

describe("a limit of speed", () => {
  /** When each of the takes was let go, in milliseconds. */
  async function times(pace: Pace, sizes: number[], apart = 0): Promise<number[]> {
    const started = performance.now();
    const ends: number[] = [];
    for (const [at, size] of sizes.entries()) {
      if (apart > 0) await vi.advanceTimersByTimeAsync(apart);
      void pace.take(size, { signal: new AbortController().signal }).then(() => {
        ends[at] = Math.round(performance.now() - started);
      });
    }
    await vi.advanceTimersByTimeAsync(60_000);
    return ends;
  }

  test("holds up nobody who is stopped", async () => {
    const pace = new Pace(1_000, 1_000);
    const stop = new AbortController();
    const taking = pace.take(100_000, { signal: stop.signal });
    const stopped = expect(taking).rejects.toThrow("cancelled");
    await vi.advanceTimersByTimeAsync(10);
    stop.abort(new Error("cancelled"));
    await stopped;
    expect(vi.getTimerCount()).toBe(0);
  });

  test("holds back what is beyond it, in order", async () => {
    expect(await times(new Pace(1_000, 1_000), [1_000, 500, 2_000, 500])).toEqual([
      1_000, 1_500, 3_500, 4_000,
    ]);
  });

  test("does not save up for later what was not used", async () => {
    const ends = await times(new Pace(1_000, 1_000), [1_000, 1_000, 1_000], 10_000);
    expect(ends).toEqual([11_000, 21_000, 31_000]);
    expect(await times(new Pace(1_000, 1_000), [10, 1_000, 1_000])).toEqual([10, 1_010, 2_010]);
  });

  test("that is not set holds nothing back", async () => {
    expect(await times(new Pace(1_000, undefined), [1e12, 1e12, 1e12])).toEqual([0, 0, 0]);
  });
});
