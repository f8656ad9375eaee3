import { type AvailabilityEvents, watchAvailability } from "@drover/shared/redis/availability";
import type { Redis } from "ioredis";
import { isOutputWhole } from "./output.js";

/** Time in ms that an orderly stop waits for a Redis that cannot be used. */
const PATIENCE_MS = 3_000;

/** How a stop ended: as it was to, or without Redis, which could not be used. */
export type Stopped<T> = { is: "ended"; value: T } | { is: "without-redis" };

/**
 * Waits for work that ends soon after it was asked to stop; but no longer than that where Redis cannot be used, for
 * whatever it is told would wait until it is back. Nothing is lost then: it is as if the process had been killed.
 *
 * @param stop asks the work to end.
 * @param events told that Redis is away, and back, while the work goes on.
 * @param deadlineMs time that the work has after the stop. Default 0.
 */
export async function untilStopped<T>(
  redis: Redis,
  work: Promise<T>,
  stop: AbortSignal,
  { deadlineMs = 0, ...events }: AvailabilityEvents & { deadlineMs?: number },
): Promise<Stopped<T>> {
  const withoutRedis = Promise.withResolvers<Stopped<T>>();
  let isAway = false;
  let timer: NodeJS.Timeout | undefined;
  const look = () => {
    clearTimeout(timer);
    if (!isAway || !stop.aborted) return;
    timer = setTimeout(withoutRedis.resolve, deadlineMs + PATIENCE_MS, { is: "without-redis" });
  };
  const change = (away: boolean, say: (message: string) => void) => (message: string) => {
    isAway = away;
    look();
    say(message);
  };
  const unwatch = watchAvailability(redis, {
    away: change(true, events.away),
    back: change(false, events.back),
  });
  stop.addEventListener("abort", look);
  try {
    const ended = work.then((value) => ({ is: "ended" as const, value }));
    return await Promise.race([ended, withoutRedis.promise]);
  } finally {
    clearTimeout(timer);
    stop.removeEventListener("abort", look);
    unwatch();
  }
}

/** Ends this process, although commands to Redis still wait. */
export async function exitWithoutRedis(exitCode: number): Promise<never> {
  await isOutputWhole();
  process.exit(exitCode);
}
