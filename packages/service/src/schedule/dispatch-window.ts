import { messageOf } from "@drover/shared/errors";
import { closeDispatch, openDispatch } from "@drover/shared/protocol/dispatch-pause";
import type { Keys } from "@drover/shared/protocol/keys";
import { redactText } from "@drover/shared/redact";
import { isRedisAway } from "@drover/shared/redis/errors";
import type { Redis } from "ioredis";
import type { Logger } from "pino";
import { type DailyWindow, type WindowState, windowState } from "./window.js";

/** Interval in milliseconds at which the clock is looked at. */
const LOOK_MS = 5_000;

export interface DispatchWindowOptions {
  redis: Redis;
  keys: Keys;
  /** undefined for dispatch at any time. */
  window: DailyWindow | undefined;
  /** The clock, in Unix ms. Default: that of the system. */
  now?: () => number;
  log: Pick<Logger, "info" | "warn">;
}

/**
 * Lets a fleet dispatch files within a daily window alone. All servers write the same, however many there are. Outside of it the pause
 * ends by itself when the window opens, also if no server is there by then. A pause by a person is another one.
 */
export class DispatchWindow {
  #isStopped = false;
  #timer: NodeJS.Timeout | undefined;
  /** As it was when the clock was last looked at. */
  #state: WindowState | undefined;

  constructor(private readonly options: DispatchWindowOptions) {}

  /** Begins to look at the clock. Without a window it takes a pause away that an earlier one has left, and no more. */
  start(): void {
    const look = async () => {
      try {
        await this.look();
      } catch (error) {
        if (!isRedisAway(error))
          this.options.log.warn(
            { error: redactText(messageOf(error)) },
            "the window of dispatch is not seen to",
          );
      }
      if (!this.#isStopped && this.options.window) this.#timer = setTimeout(look, LOOK_MS);
    };
    void look();
  }

  /** Has dispatch be as the clock wants it. */
  async look(): Promise<void> {
    const { redis, keys, window, now = Date.now, log } = this.options;
    const nowMs = now();
    const before = this.#state;
    const state = this.#stateAt(window, nowMs);
    if (state.isOpen) await openDispatch(redis, keys);
    else await closeDispatch(redis, keys, state, nowMs);
    this.#state = state;
    if (state.isOpen === (before?.isOpen ?? true)) return;
    if (state.isOpen) log.info("the window of dispatch is open");
    else log.info({ until: new Date(state.untilMs).toISOString() }, "the window of dispatch is closed");
  }

  /** A closed window stays so until it opens: it is looked for once. */
  #stateAt(window: DailyWindow | undefined, nowMs: number): WindowState {
    if (window === undefined) return { isOpen: true };
    const known = this.#state;
    if (known && !known.isOpen && nowMs >= known.sinceMs && nowMs < known.untilMs) return known;
    return windowState(window, nowMs);
  }

  stop(): void {
    this.#isStopped = true;
    clearTimeout(this.#timer);
  }
}
