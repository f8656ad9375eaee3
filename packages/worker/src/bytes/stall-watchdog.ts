import { TransferError } from "@drover/shared/errors";
import type { Body } from "@drover/shared/storage/source";

/** Fewest bytes that a body must receive within each window of the timeout. */
const LEAST_BYTES = 1024;
/** Checks per window: a stall is noticed within 1.25 windows. */
const STEPS = 4;

interface Watched {
  body: Body;
  /** Byte counts at the last checks, oldest first. */
  samples: number[];
}

/** Aborts bodies that arrive too slowly. */
export class StallWatchdog {
  readonly #watched = new Set<Watched>();
  #timer: NodeJS.Timeout | undefined;

  /** @param timeoutMs a body with less than 1 KiB in any window of this length fails with class `timeout`. */
  constructor(private readonly timeoutMs: number) {}

  /** @returns a function that ends the watch. */
  watch(body: Body): () => void {
    const watched: Watched = { body, samples: [body.receivedBytes] };
    this.#watched.add(watched);
    this.#timer ??= setInterval(() => this.#step(), this.timeoutMs / STEPS).unref();
    return () => this.#watched.delete(watched);
  }

  #step(): void {
    for (const { body, samples } of this.#watched) {
      if (!body.starved) samples.length = 0; // the reader is the slow one
      samples.push(body.receivedBytes);
      if (samples.length <= STEPS) continue;
      const oldest = samples.shift() as number;
      if (body.receivedBytes - oldest >= LEAST_BYTES) continue;
      const seconds = this.timeoutMs / 1000;
      body.abort(
        new TransferError("timeout", `network timeout: under 1 KiB in ${seconds} s`, { verdict: "fail" }),
      );
    }
  }

  close(): void {
    clearInterval(this.#timer);
  }
}
