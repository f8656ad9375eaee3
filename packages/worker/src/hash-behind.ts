import { TransferError } from "@drover/shared/errors";
import type { Algorithm } from "./digest.js";
import { expectAnswer, forget, isListening, listen, post } from "./hash-thread.js";
import type { HashAnswer } from "./hash-worker.js";

/** Bytes that are handed to the thread at least at a time. */
const STEP_BYTES = 4 << 20;

/** Hashes a growing file in another thread, close behind its writer. */
export class HashBehind {
  readonly #id = listen((answer) => this.#hear(answer));
  #sentBytes = 0;
  #hashedBytes = 0;
  #answer: HashAnswer | undefined;
  #wake: (() => void) | undefined;

  constructor(
    private readonly fd: number,
    private readonly algorithms: Algorithm[],
  ) {}

  #hear(answer: HashAnswer): void {
    if (answer.atByte !== undefined) this.#hashedBytes = answer.atByte;
    else this.#answer = answer;
    this.#wake?.();
  }

  /** All bytes before `endByte` are written. */
  advance(endByte: number): void {
    if (endByte - this.#sentBytes >= STEP_BYTES) this.#send(endByte);
  }

  #send(endByte: number): void {
    this.#sentBytes = endByte;
    post({ id: this.#id, is: "upTo", fd: this.fd, algorithms: this.algorithms, endByte });
  }

  /** @returns digests in hexadecimal, in the order of the algorithms. */
  async finish(sizeBytes: number): Promise<string[]> {
    this.#send(sizeBytes);
    post({ id: this.#id, is: "finish" });
    expectAnswer();
    try {
      while (!this.#answer) await this.#change();
    } finally {
      forget(this.#id);
    }
    if (this.#answer.error !== undefined) throw new TransferError("io", `cannot hash: ${this.#answer.error}`);
    return this.#answer.digests ?? [];
  }

  /** Waits until all that was handed over is hashed. */
  async caughtUp(): Promise<void> {
    while (this.#hashedBytes < this.#sentBytes && !this.#answer) await this.#change();
  }

  /** Gives up; resolves when the thread does not read the file any more, so that it can be closed. */
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
