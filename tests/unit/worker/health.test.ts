import { Health } from "@drover/worker/runtime/health";
import { it as base, describe, expect, vi } from "vitest";

const STUCK_MS = 15 * 60_000;

interface Fixtures {
  /** What the health checks see. */
  seen: { progress: number[]; redisIsAway: boolean };
  health: Health;
}

const it = base.extend<Fixtures>({
  // biome-ignore lint/correctness/noEmptyPattern: vitest reads what a fixture needs from the pattern
  seen: async ({}, use) => use({ progress: [], redisIsAway: false }),
  health: async ({ seen }, use) => {
    vi.useFakeTimers({ toFake: ["setInterval", "clearInterval", "performance"] });
    const health = await Health.listen(0, {
      progress: () => seen.progress,
      waitsForRedis: () => seen.redisIsAway,
      stuckMs: STUCK_MS,
      ready: () => true,
      metrics: { contentType: "", text: async () => "", close() {} },
    });
    await use(health);
    health.close();
    vi.useRealTimers();
  },
});

describe("a worker's liveness", () => {
  it("ends where files on their way get no byte for long", ({ seen, health }) => {
    seen.progress = [5];
    vi.advanceTimersByTime(STUCK_MS - 10_000);
    expect(health.alive).toBe(true);
    seen.progress = [6];
    vi.advanceTimersByTime(STUCK_MS - 10_000);
    expect(health.alive).toBe(true);
    vi.advanceTimersByTime(20_000);
    expect(health.alive).toBe(false);
  });

  it("does not where they wait for Redis, nor at once when that is back", ({ seen, health }) => {
    Object.assign(seen, { progress: [5], redisIsAway: true });
    vi.advanceTimersByTime(4 * STUCK_MS);
    expect(health.alive).toBe(true);
    seen.redisIsAway = false;
    vi.advanceTimersByTime(STUCK_MS - 10_000);
    expect(health.alive).toBe(true);
    vi.advanceTimersByTime(20_000);
    expect(health.alive).toBe(false);
  });

  it("lasts while there is nothing to do", ({ health }) => {
    vi.advanceTimersByTime(4 * STUCK_MS);
    expect(health.alive).toBe(true);
  });
});
