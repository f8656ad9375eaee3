import { watchAvailability } from "@drover/shared/redis/availability";
import type { Redis } from "ioredis";
import { Problem } from "./problem.js";

/** A request is held for this time while Redis is away, in milliseconds: a restart takes less. */
const PATIENCE_MS = 2_000;

/** Whether Redis can be used. Commands to it wait without an end, requests must not. */
export class Availability {
  #awaySinceMs: number | undefined;
  readonly #waiting = new Set<() => void>();
  readonly #unwatch: () => void;

  /** @param tell called with a message for people when it is away, and when it is back. */
  constructor(redis: Redis, tell: (message: string) => void) {
    this.#unwatch = watchAvailability(redis, {
      away: (message) => {
        this.#awaySinceMs = Date.now();
        tell(message);
        setTimeout(() => this.#giveUp(), PATIENCE_MS).unref();
      },
      back: (message) => {
        this.#awaySinceMs = undefined;
        tell(message);
      },
    });
  }

  get isThere(): boolean {
    return this.#awaySinceMs === undefined;
  }

  /**
   * Waits for work that needs Redis, but no longer than for a moment where Redis is away.
   *
   * @param isPatient whether to wait for as long as it takes. Default false.
   * @throws Problem 503.
   */
  async whileThere<T>(work: Promise<T>, isPatient = false): Promise<T> {
    if (isPatient) return await work;
    const away = Promise.withResolvers<never>();
    const giveUp = () =>
      away.reject(
        new Problem(503, "Redis is away: try again in a moment", { headers: { "Retry-After": "5" } }),
      );
    let timer: NodeJS.Timeout | undefined;
    if (this.#awaySinceMs !== undefined)
      timer = setTimeout(giveUp, Math.max(this.#awaySinceMs + PATIENCE_MS - Date.now(), 0));
    this.#waiting.add(giveUp);
    work.catch(() => {}); // it may fail after that
    try {
      return await Promise.race([work, away.promise]);
    } finally {
      clearTimeout(timer);
      this.#waiting.delete(giveUp);
    }
  }

  #giveUp(): void {
    if (this.#awaySinceMs !== undefined) for (const giveUp of [...this.#waiting]) giveUp();
  }

  close(): void {
    this.#unwatch();
  }
}
