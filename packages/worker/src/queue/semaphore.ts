/** Limits the files in progress; others wait in the order of their arrival. */
export class Semaphore {
  readonly #waiting = new Set<(had: boolean) => void>();

  #free: number;

  constructor(private count: number) {
    this.#free = count;
  }

  /** Changes the number of slots; files in progress finish first. */
  limit(count: number): void {
    this.#free += count - this.count;
    this.count = count;
    while (this.#free > 0 && this.#handOn()) this.#free--;
  }

  /**
   * Takes a slot. A free one is available without waiting for the event loop.
   *
   * @param patienceMs longest wait in milliseconds.
   * @returns whether a slot was taken.
   */
  take(patienceMs: number): Promise<boolean> | true {
    if (this.#free > 0) {
      this.#free--;
      return true;
    }
    return new Promise((resolve) => {
      const done = (had: boolean) => {
        clearTimeout(timer);
        this.#waiting.delete(done);
        resolve(had);
      };
      const timer = setTimeout(done, patienceMs, false);
      this.#waiting.add(done);
    });
  }

  give(): void {
    if (this.#free < 0 || !this.#handOn()) this.#free++;
  }

  /** Gives a slot to the longest waiter. @returns whether there was one. */
  #handOn(): boolean {
    for (const first of this.#waiting) {
      first(true);
      return true;
    }
    return false;
  }
}
