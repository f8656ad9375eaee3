/** Memory that a process may use for parts of uploads. */
export const UPLOAD_BYTES = 256 << 20;

/** Memory of a process for parts of uploads: a share of it is given in the order in which it was asked for. */
export class Budget {
  #usedBytes = 0;
  readonly #waiting: { bytes: number; go: () => void }[] = [];

  constructor(private limitBytes: number) {}

  /** Changes how much there is; what was given is not taken back. */
  limit(limitBytes: number): void {
    this.limitBytes = limitBytes;
    this.#serve();
  }

  /** Waits for so much; more than there is at all is had when nobody else has any. To be given back. */
  async take(bytes: number): Promise<void> {
    if (this.#waiting.length === 0 && this.#fits(bytes)) {
      this.#usedBytes += bytes;
      return;
    }
    await new Promise<void>((go) => this.#waiting.push({ bytes, go }));
  }

  give(bytes: number): void {
    this.#usedBytes -= bytes;
    this.#serve();
  }

  #fits(bytes: number): boolean {
    return this.#usedBytes === 0 || this.#usedBytes + bytes <= this.limitBytes;
  }

  #serve(): void {
    for (let next = this.#waiting[0]; next && this.#fits(next.bytes); next = this.#waiting[0]) {
      this.#waiting.shift();
      this.#usedBytes += next.bytes;
      next.go();
    }
  }
}
