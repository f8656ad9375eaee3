import { TransferError } from "@drover/shared/errors";
import type { Body } from "@drover/shared/storage/source";

/** A body that brings fewer bytes in a whole window of the timeout is given up. */
const LEAST_BYTES = 1024;
const PARTS = 4;

/** What one file may take of its host's bandwidth. */
export interface Share {
  bytesPerSecond: number;
  dueMs: number;
}

interface Watched {
  body: Body;
  /** Bytes at the last ticks, oldest first. */
  samples: number[];
}

/** The speed of bodies: too slow ones are stopped, and all of them together keep within a limit. */
export class Pace {
  readonly #watched = new Set<Watched>();
  #timer: NodeJS.Timeout | undefined;
  #dueMs = 0;

  /**
   * @param timeoutMs a body that brings under 1 KiB in any window of this length fails with class `timeout`.
   * @param bytesPerSecond limit for this process, or undefined.
   */
  constructor(
    private readonly timeoutMs: number,
    public bytesPerSecond: number | undefined,
  ) {}

  watch(body: Body): () => void {
    const watched: Watched = { body, samples: [body.receivedBytes] };
    this.#watched.add(watched);
    this.#timer ??= setInterval(() => this.#tick(), this.timeoutMs / PARTS).unref();
    return () => this.#watched.delete(watched);
  }

  #tick(): void {
    for (const { body, samples } of this.#watched) {
      if (!body.starved) samples.length = 0; // we are the slow one
      samples.push(body.receivedBytes);
      if (samples.length <= PARTS) continue;
      const oldest = samples.shift() as number;
      if (body.receivedBytes - oldest >= LEAST_BYTES) continue;
      const seconds = this.timeoutMs / 1000;
      body.abort(
        new TransferError("timeout", `network timeout: under 1 KiB in ${seconds} s`, { verdict: "fail" }),
      );
    }
  }

  /**
   * Waits until so many bytes more keep within the limit, and within the share of a limit that a file has for itself.
   *
   * @throws the reason of the file's signal.
   */
  async take(bytes: number, { share, signal }: { share?: Share; signal: AbortSignal }): Promise<void> {
    if (this.bytesPerSecond === undefined && share === undefined) return;
    const nowMs = performance.now();
    let dueMs = nowMs;
    if (this.bytesPerSecond !== undefined)
      dueMs = this.#dueMs = Math.max(this.#dueMs, nowMs) + (bytes / this.bytesPerSecond) * 1000;
    if (share !== undefined) {
      share.dueMs = Math.max(share.dueMs, nowMs) + (bytes / share.bytesPerSecond) * 1000;
      dueMs = Math.max(dueMs, share.dueMs);
    }
    const wait = dueMs - nowMs;
    if (wait <= 1) return;
    signal.throwIfAborted();
    await new Promise<void>((resolve) => {
      const over = () => {
        clearTimeout(timer);
        signal.removeEventListener("abort", over);
        resolve();
      };
      const timer = setTimeout(over, wait);
      signal.addEventListener("abort", over);
    });
    signal.throwIfAborted();
  }

  close(): void {
    clearInterval(this.#timer);
  }
}
