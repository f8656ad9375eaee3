/** Lets callers hold some memory at once, in the order in which they ask for it; the others wait. */
export class ByteBudget {
  #left: number;
  readonly #waiting: { bytes: number; begin(): void }[] = [];

  /** @param mostBytes of all holders together. One that asks for more gets all of it. */
  constructor(private readonly mostBytes: number) {
    this.#left = mostBytes;
  }

  /** @returns what gives them back, but for so many that are still needed. Default: all. */
  async hold(bytes: number): Promise<(neededBytes?: number) => void> {
    let taken = Math.min(bytes, this.mostBytes);
    if (this.#waiting.length > 0 || taken > this.#left)
      await new Promise<void>((begin) => this.#waiting.push({ bytes: taken, begin }));
    else this.#left -= taken;
    return (neededBytes = 0) => {
      const kept = Math.min(neededBytes, taken);
      this.#left += taken - kept;
      taken = kept;
      for (let next = this.#waiting[0]; next && next.bytes <= this.#left; next = this.#waiting[0]) {
        this.#waiting.shift();
        this.#left -= next.bytes;
        next.begin();
      }
    };
  }
}
