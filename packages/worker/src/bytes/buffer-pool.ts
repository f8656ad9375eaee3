/** Memory in bytes that a process may use for parts of uploads. */
export const UPLOAD_BYTES = 256 << 20;
/** Sizes in bytes of reused buffers. Larger buffers are allocated at their exact size and not kept. */
const SIZES = [1 << 20, 4 << 20, 16 << 20];

/** A borrowed buffer. */
export interface LentBuffer {
  /** At least as large as requested; shared memory. */
  memory: Buffer;
  /** Returns the buffer. Calling it twice is harmless. */
  release(): void;
}

/**
 * Memory for parts of uploads, lent in the order of requests. Buffers are reused, because shared memory is
 * garbage collected late.
 */
export class BufferPool {
  #usedBytes = 0;
  readonly #waiting: { bytes: number; go: () => void }[] = [];
  readonly #free = new Map<number, Buffer[]>();
  #freeBytes = 0;

  constructor(private limitBytes: number) {}

  /** Changes the limit; borrowed buffers are not revoked. */
  limit(limitBytes: number): void {
    this.limitBytes = limitBytes;
    this.#serve();
  }

  /** Waits for a buffer. A request above the limit is served when no other buffer is lent. */
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
    // Frees kept buffers of other sizes to make room.
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
