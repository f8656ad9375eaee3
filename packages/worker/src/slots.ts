/** Lets so many files be on their way at once; the others wait in the order they came. */
export class Slots {
  readonly #waiting: (() => void)[] = [];

  #free: number;

  constructor(private count: number) {
    this.#free = count;
  }

  /** Changes how many there are; files that are on their way finish first. */
  limit(count: number): void {
    this.#free += count - this.count;
    this.count = count;
    while (this.#free > 0 && this.#waiting.length > 0) {
      this.#free--;
      this.#waiting.shift()?.();
    }
  }

  /** A free slot is had without waiting for the event loop. */
  take(): Promise<void> | undefined {
    if (this.#free > 0) {
      this.#free--;
      return undefined;
    }
    return new Promise((resolve) => this.#waiting.push(resolve));
  }

  give(): void {
    const next = this.#free >= 0 ? this.#waiting.shift() : undefined;
    if (next) next();
    else this.#free++;
  }
}
