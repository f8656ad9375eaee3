import { RateLimiter } from "@drover/worker/bytes/rate-limiter";
import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";

beforeEach(() => void vi.useFakeTimers());
afterEach(() => void vi.useRealTimers());

describe("a rate limit", () => {
  /** Time in ms at which each take was let through. */
  async function times(limiter: RateLimiter, sizes: number[], apart = 0): Promise<number[]> {
    const started = performance.now();
    const ends: number[] = [];
    for (const [at, size] of sizes.entries()) {
      if (apart > 0) await vi.advanceTimersByTimeAsync(apart);
      void limiter.take(size, { signal: new AbortController().signal }).then(() => {
        ends[at] = Math.round(performance.now() - started);
      });
    }
    await vi.advanceTimersByTimeAsync(60_000);
    return ends;
  }

  test("does not delay an aborted transfer", async () => {
    const limiter = new RateLimiter(1_000);
    const stop = new AbortController();
    const taking = limiter.take(100_000, { signal: stop.signal });
    const stopped = expect(taking).rejects.toThrow("cancelled");
    await vi.advanceTimersByTimeAsync(10);
    stop.abort(new Error("cancelled"));
    await stopped;
    expect(vi.getTimerCount()).toBe(0);
  });

  test("delays what exceeds it, in order", async () => {
    expect(await times(new RateLimiter(1_000), [1_000, 500, 2_000, 500])).toEqual([
      1_000, 1_500, 3_500, 4_000,
    ]);
  });

  test("does not accumulate unused capacity", async () => {
    const ends = await times(new RateLimiter(1_000), [1_000, 1_000, 1_000], 10_000);
    expect(ends).toEqual([11_000, 21_000, 31_000]);
    expect(await times(new RateLimiter(1_000), [10, 1_000, 1_000])).toEqual([10, 1_010, 2_010]);
  });

  test("delays nothing if it is not set", async () => {
    expect(await times(new RateLimiter(undefined), [1e12, 1e12, 1e12])).toEqual([0, 0, 0]);
  });
});
