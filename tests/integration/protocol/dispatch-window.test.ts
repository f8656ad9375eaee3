import { DispatchWindow } from "@drover/service/schedule/dispatch-window";
import type { DailyWindow } from "@drover/service/schedule/window";
import { dispatchPause, pauseDispatch, resumeDispatch } from "@drover/shared/protocol/dispatch-pause";
import type { Keys } from "@drover/shared/protocol/keys";
import type { Redis } from "ioredis";
import { pino } from "pino";
import { describe, expect } from "vitest";
import { it } from "../../harness/redis.js";

const NIGHT: DailyWindow = { fromMinute: 22 * 60, toMinute: 6 * 60, timeZone: "UTC" };

/** A server with a clock that the test sets. */
function serverOf(redis: Redis, keys: Keys, window: DailyWindow | undefined = NIGHT) {
  let nowMs = 0;
  const dispatch = new DispatchWindow({
    redis,
    keys,
    window,
    now: () => nowMs,
    log: pino({ level: "silent" }),
  });
  return {
    async lookAt(time: string) {
      nowMs = Date.parse(time);
      await dispatch.look();
    },
  };
}

const byClock = (since: string, until: string) => ({
  by: "clock",
  sinceMs: Date.parse(since),
  untilMs: Date.parse(until),
});

describe("the window of dispatch", () => {
  it("pauses when it closes, and goes on when it opens", async ({ redis, keys }) => {
    const [one, other] = [serverOf(redis, keys), serverOf(redis, keys)];
    await one.lookAt("2026-01-05T05:59:59Z");
    expect(await dispatchPause(redis, keys)).toBeUndefined();
    await one.lookAt("2026-01-05T06:00:01Z");
    const paused = byClock("2026-01-05T06:00Z", "2026-01-05T22:00Z");
    expect(await dispatchPause(redis, keys)).toEqual(paused);
    // Another server, which is started later, says the same.
    await other.lookAt("2026-01-05T13:00Z");
    expect(await dispatchPause(redis, keys)).toEqual(paused);
    // If no server is there any more, the pause ends all the same when the window opens.
    const leftMs = await redis.pttl(keys.dispatchWindow());
    expect(leftMs).toBeGreaterThan(9 * 3_600_000 - 60_000);
    expect(leftMs).toBeLessThanOrEqual(9 * 3_600_000);
    await other.lookAt("2026-01-05T22:00Z");
    expect(await dispatchPause(redis, keys)).toBeUndefined();
    await one.lookAt("2026-01-06T06:00Z");
    expect(await dispatchPause(redis, keys)).toEqual(byClock("2026-01-06T06:00Z", "2026-01-06T22:00Z"));
  });

  it("neither ends the pause of a person nor is ended by one", async ({ redis, keys }) => {
    const server = serverOf(redis, keys);
    await server.lookAt("2026-01-05T06:00Z");
    const paused = await pauseDispatch(redis, keys, "anna");
    expect(paused).toMatchObject({ by: "anna" });
    await server.lookAt("2026-01-05T22:00Z");
    await server.lookAt("2026-01-06T06:00Z");
    await server.lookAt("2026-01-06T22:00Z");
    expect(await dispatchPause(redis, keys)).toEqual(paused);
    await server.lookAt("2026-01-07T06:00Z");
    await resumeDispatch(redis, keys);
    expect(await dispatchPause(redis, keys)).toEqual(byClock("2026-01-07T06:00Z", "2026-01-07T22:00Z"));
  });

  it("is gone with the setting, and moves with it", async ({ redis, keys }) => {
    await serverOf(redis, keys).lookAt("2026-01-05T12:00Z");
    await serverOf(redis, keys, { ...NIGHT, fromMinute: 20 * 60 }).lookAt("2026-01-05T12:00Z");
    expect(await dispatchPause(redis, keys)).toEqual(byClock("2026-01-05T06:00Z", "2026-01-05T20:00Z"));
    const without = new DispatchWindow({ redis, keys, window: undefined, log: pino({ level: "silent" }) });
    await without.look();
    expect(await dispatchPause(redis, keys)).toBeUndefined();
  });
});
