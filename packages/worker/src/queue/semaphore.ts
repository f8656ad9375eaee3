/** Lets so many files be on their way at once; the others wait in the order they came. */
export class Semaphore {
  readonly #waiting = new Set<(had: boolean) => void>();

  #free: number;

  constructor(private count: number) {
    this.#free = count;
  }

  /** Changes how many there are; files that are on their way finish first. */
  limit(count: number): void {
    this.#free += count - this.count;
    this.count = count;
    while (this.#free > 0 && this.#handOn()) this.#free--;
  }

  /**
   * A free slot is had without waiting for the event loop.
   *
   * @returns whether one was had within `patienceMs`.
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

  /** Gives a slot to who has waited longest. @returns whether anybody waits. */
  #handOn(): boolean {
    for (const first of this.#waiting) {
      first(true);
      return true;
    }
    return false;
  }
}
