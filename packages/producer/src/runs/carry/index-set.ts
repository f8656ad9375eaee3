/** A set of integers from 0, one bit each: a million take 125 KB. */
export class IndexSet {
  #bytes = new Uint8Array(1024);
  size = 0;

  /** @returns false if it was in the set. */
  add(index: number): boolean {
    const at = index >>> 3;
    const bit = 1 << (index & 7);
    if (at >= this.#bytes.length) {
      const more = new Uint8Array(Math.max(at + 1, this.#bytes.length * 2));
      more.set(this.#bytes);
      this.#bytes = more;
    }
    const byte = this.#bytes[at] as number;
    if (byte & bit) return false;
    this.#bytes[at] = byte | bit;
    this.size++;
    return true;
  }

  /**
   * How many of the bits of a bitmap of Redis are not in the set.
   *
   * @param bitmap the first bit is the highest of the first byte.
   */
  countMissing(bitmap: Uint8Array): number {
    let missing = 0;
    for (const [at, byte] of bitmap.entries()) {
      if (byte === 0) continue;
      const own = this.#bytes[at] ?? 0;
      for (let bit = 0; bit < 8; bit++) if (byte & (0x80 >>> bit) && !(own & (1 << bit))) missing++;
    }
    return missing;
  }
}
