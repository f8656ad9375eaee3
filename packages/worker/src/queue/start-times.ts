/** Time in ms after which an overdue job counts as finished by another worker. */
const FORGOTTEN_MS = 3_600_000;
const SWEEP_EVERY_MS = 600_000;

/**
 * Remembers by job when something began (Unix ms), until it is deleted or an hour after the job was due
 * again.
 */
export class StartTimes {
  readonly #times = new Map<string, { startMs: number; dueMs: number }>();
  #nextSweepMs = 0;

  /** When it began; now if nothing is remembered. */
  get(id: string): number {
    const nowMs = Date.now();
    if (nowMs >= this.#nextSweepMs) this.#sweep(nowMs);
    return this.#times.get(id)?.startMs ?? nowMs;
  }

  /** @param delayMs time until the job is delivered again, here or to another worker. */
  set(id: string, startMs: number, delayMs: number): void {
    this.#times.set(id, { startMs, dueMs: Date.now() + delayMs });
  }

  delete(id: string): void {
    this.#times.delete(id);
  }

  get size(): number {
    return this.#times.size;
  }

  #sweep(nowMs: number): void {
    this.#nextSweepMs = nowMs + SWEEP_EVERY_MS;
    for (const [id, { dueMs }] of this.#times) if (dueMs < nowMs - FORGOTTEN_MS) this.#times.delete(id);
  }
}
