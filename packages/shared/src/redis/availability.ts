import type { Redis } from "ioredis";
import { REFUSED_DELAY_MS, recentRefusal } from "./client.js";

/** A server that refused commands is thought to be back when it has refused none for this time, in milliseconds. */
const CALM_MS = 2.5 * REFUSED_DELAY_MS;

export interface AvailabilityEvents {
  /**
   * The connection broke, or the server refuses commands. It is told once, until Redis is back.
   *
   * @param message for people, without full stop.
   */
  away(message: string): void;
  /** @param message for people, without full stop. */
  back(message: string): void;
}

/**
 * Watches whether Redis can be used. Commands wait meanwhile, and are sent again.
 *
 * @returns a function that ends the watch.
 */
export function watchAvailability(redis: Redis, events: AvailabilityEvents): () => void {
  let isAway = false;
  let timer: NodeJS.Timeout | undefined;
  const onClose = () => {
    clearTimeout(timer);
    if (isAway) return;
    isAway = true;
    const refusal = recentRefusal(redis, CALM_MS);
    const what = refusal === undefined ? "is away" : `refuses commands (${refusal})`;
    events.away(`Redis ${what}: waiting for it`);
  };
  const onReady = () => {
    clearTimeout(timer);
    if (!isAway) return;
    // One that refuses commands answers again at once, and refuses the next.
    if (recentRefusal(redis, CALM_MS) !== undefined) {
      timer = setTimeout(onReady, REFUSED_DELAY_MS / 2);
      timer.unref();
      return;
    }
    isAway = false;
    events.back("Redis is back");
  };
  redis.on("close", onClose);
  redis.on("ready", onReady);
  return () => {
    clearTimeout(timer);
    redis.off("close", onClose);
    redis.off("ready", onReady);
  };
}
