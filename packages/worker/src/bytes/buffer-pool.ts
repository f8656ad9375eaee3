/** Memory that a process may use for parts of uploads. */
export const UPLOAD_BYTES = 256 << 20;
/** Sizes that memory is given in, and kept for who comes next; what is larger is given as it is asked for. */
const SIZES = [1 << 20, 4 << 20, 16 << 20];

/** Memory that is lent. */
export interface LentBuffer {
  /** At least as much as was asked for, shared with other threads. */
  memory: Buffer;
  /** Gives it back; harmless twice. */
  release(): void;
}

/**
 * Memory for parts of uploads, lent in the order in which it is asked for. It is used again and again: what is left to
 * the garbage collector is collected late where threads share it.
 */
export class BufferPool {
  #usedBytes = 0;
  readonly #waiting: { bytes: number; go: () => void }[] = [];
  readonly #free = new Map<number, Buffer[]>();
  #freeBytes = 0;

  constructor(private limitBytes: number) {}

  /** Changes how much there is; what was lent is not taken back. */
  limit(limitBytes: number): void {
    this.limitBytes = limitBytes;
    this.#serve();
  }

  /** Waits for so much; more than there is at all is had when nobody else has any. */
  async take(wantedBytes: number): Promise<LentBuffer> {
    const bytes = SIZES.find((size) => size >= wantedBytes) ?? wantedBytes;
    if (this.#waiting.length === 0 && this.#fits(bytes)) this.#usedBytes += bytes;
    else await new Promise<void>((go) => this.#waiting.push({ bytes, go }));
    let memory: Buffer | undefined;
    let lent = true;
    const release = () => {
      if (!lent) return;
      lent = false;
      this.#usedBytes -= bytes;
      if (memory && SIZES.includes(bytes)) this.#keep(bytes, memory);
      this.#serve();
    };
    try {
      memory = this.#memory(bytes);
      return { memory, release };
    } catch (error) {
      release();
      throw error;
    }
  }

  #memory(bytes: number): Buffer {
    const kept = this.#free.get(bytes)?.pop();
    if (kept) {
      this.#freeBytes -= bytes;
      return kept;
    }
    // What is kept in other sizes makes room.
    for (const [size, buffers] of this.#free)
      while (this.#usedBytes + this.#freeBytes > this.limitBytes && buffers.pop()) this.#freeBytes -= size;
    return Buffer.from(new SharedArrayBuffer(bytes));
  }

  #keep(bytes: number, memory: Buffer): void {
    if (this.#usedBytes + this.#freeBytes + bytes > this.limitBytes) return;
    const kept = this.#free.get(bytes);
    if (kept) kept.push(memory);
    else this.#free.set(bytes, [memory]);
    this.#freeBytes += bytes;
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
