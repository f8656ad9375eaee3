import { TransferError } from "@drover/shared/errors";
import type { Algorithm } from "./digest.js";
import type { HashAnswer } from "./hash-thread.js";
import { expectAnswer, forget, isListening, onHashAnswer, post } from "./hash-threads.js";

/** Fewest bytes that are handed to the thread at once. */
const STEP_BYTES = 4 << 20;

/** Hashes a growing file in other threads, one per digest, close behind its writer. */
export class HashBehind {
  readonly #digests: DigestBehind[];

  constructor(fd: number, algorithms: Algorithm[]) {
    this.#digests = algorithms.map((algorithm) => new DigestBehind(fd, algorithm));
  }

  /** All bytes before `endByte` are written. */
  advance(endByte: number): void {
    for (const each of this.#digests) each.advance(endByte);
  }

  /** @returns hexadecimal digests, in the order of the algorithms. */
  async finish(sizeBytes: number): Promise<string[]> {
    const digests = this.#digests.map((each) => each.finish(sizeBytes));
    await Promise.allSettled(digests); // after this, no thread reads the file any more, even if one failed
    return await Promise.all(digests);
  }

  /** Waits until everything handed over is hashed or has failed; {@link finish} throws the error. */
  async caughtUp(): Promise<void> {
    await Promise.all(this.#digests.map((each) => each.caughtUp()));
  }

  /** Cancels hashing; resolves when no thread reads the file any more, so that it can be closed. */
  async drop(): Promise<void> {
    await Promise.all(this.#digests.map((each) => each.drop()));
  }
}

class DigestBehind {
  readonly #id = onHashAnswer((answer) => this.#hear(answer));
  #sentBytes = 0;
  #hashedBytes = 0;
  #answer: HashAnswer | undefined;
  #wake: (() => void) | undefined;

  constructor(
    private readonly fd: number,
    private readonly algorithm: Algorithm,
  ) {}

  #hear(answer: HashAnswer): void {
    if (answer.atByte !== undefined) this.#hashedBytes = answer.atByte;
    else this.#answer = answer;
    this.#wake?.();
  }

  advance(endByte: number): void {
    if (endByte - this.#sentBytes >= STEP_BYTES) this.#send(endByte);
  }

  #send(endByte: number): void {
    this.#sentBytes = endByte;
    post({ id: this.#id, is: "upTo", fd: this.fd, algorithms: [this.algorithm], endByte });
  }

  async finish(sizeBytes: number): Promise<string> {
    this.#send(sizeBytes);
    post({ id: this.#id, is: "finish" });
    expectAnswer(this.#id);
    try {
      while (!this.#answer) await this.#change();
    } finally {
      forget(this.#id);
    }
    if (this.#answer.error !== undefined) throw new TransferError("io", `cannot hash: ${this.#answer.error}`);
    return this.#answer.digests?.[0] as string;
  }

  async caughtUp(): Promise<void> {
    while (this.#hashedBytes < this.#sentBytes && !this.#answer) await this.#change();
  }

  async drop(): Promise<void> {
    if (!isListening(this.#id)) return;
    await this.caughtUp();
    forget(this.#id);
    post({ id: this.#id, is: "drop" });
  }

  #change(): Promise<void> {
    return new Promise((resolve) => {
      this.#wake = resolve;
    });
  }
}
