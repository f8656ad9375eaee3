import { TransferError } from "@drover/shared/errors";
import type { Body } from "@drover/shared/storage/source";

/** A body that brings fewer bytes in a whole window of the timeout is given up. */
const LEAST_BYTES = 1024;
/** A window is looked at in so many steps: a stall is noticed within a window and a quarter. */
const STEPS = 4;

interface Watched {
  body: Body;
  /** Bytes at the last steps, oldest first. */
  samples: number[];
}

/** Stops bodies that come too slowly to be waited for. */
export class StallWatchdog {
  readonly #watched = new Set<Watched>();
  #timer: NodeJS.Timeout | undefined;

  /** @param timeoutMs a body that brings under 1 KiB in any window of this length fails with class `timeout`. */
  constructor(private readonly timeoutMs: number) {}

  /** @returns ends the watch. */
  watch(body: Body): () => void {
    const watched: Watched = { body, samples: [body.receivedBytes] };
    this.#watched.add(watched);
    this.#timer ??= setInterval(() => this.#step(), this.timeoutMs / STEPS).unref();
    return () => this.#watched.delete(watched);
  }

  #step(): void {
    for (const { body, samples } of this.#watched) {
      if (!body.starved) samples.length = 0; // we are the slow one
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
