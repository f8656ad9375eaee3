/** One file's share of its host's bandwidth. */
export interface Share {
  bytesPerSecond: number;
  /** Time (performance.now()) at which the bytes taken so far are due. */
  dueMs: number;
}

/** Keeps all files of a process within a limit, and each file within its share of its host's limit. */
export class RateLimiter {
  #dueMs = 0;

  /** @param bytesPerSecond limit of this process; undefined for none. */
  constructor(public bytesPerSecond: number | undefined) {}

  /**
   * Waits until `bytes` more bytes fit the limit and the file's share.
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
}
