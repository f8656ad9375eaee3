import { setTimeout as sleep } from "node:timers/promises";
import type { Pace } from "./strategy.js";

const BACKOFF_FACTOR = 1.5;

/** Does something that may fail, and again after a while where it does. @throws what the last try threw. */
export async function withTries<T>(
  { tries, delayMs }: Pick<Pace, "tries" | "delayMs">,
  signal: AbortSignal,
  act: () => Promise<T>,
): Promise<T> {
  for (let attempt = 1; ; attempt++) {
    try {
      return await act();
    } catch (error) {
      if (attempt >= tries || signal.aborted) throw error;
      await sleep(delayMs * BACKOFF_FACTOR ** (attempt - 1), undefined, { signal });
    }
  }
}
