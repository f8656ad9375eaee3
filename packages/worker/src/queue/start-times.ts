/** Whoever has ended a job that did not come back for so long was another worker. */
const FORGOTTEN_MS = 3_600_000;
const SWEEP_EVERY_MS = 600_000;

/** Remembers when something began (Unix ms), by job: until it is over, or until an hour after the job was due again. */
export class StartTimes {
  readonly #times = new Map<string, { startMs: number; dueMs: number }>();
  #nextSweepMs = 0;

  /** When it began; now where nothing is remembered. */
  get(id: string): number {
    const nowMs = Date.now();
    if (nowMs >= this.#nextSweepMs) this.#sweep(nowMs);
    return this.#times.get(id)?.startMs ?? nowMs;
  }

  /** @param delayMs the job comes again after so long, here or elsewhere. */
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
