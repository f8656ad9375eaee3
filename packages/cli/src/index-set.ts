/** Whole numbers from 0 on, one bit each: a million take 125 KB. */
export class IndexSet {
  #bits = new Uint8Array(1024);

  /** @returns false where it was there already. */
  add(index: number): boolean {
    const at = index >>> 3;
    const bit = 1 << (index & 7);
    if (at >= this.#bits.length) {
      const grown = new Uint8Array(Math.max(at + 1, this.#bits.length * 2));
      grown.set(this.#bits);
      this.#bits = grown;
    }
    const byte = this.#bits[at] as number;
    this.#bits[at] = byte | bit;
    return (byte & bit) === 0;
  }
}
