import { TransferError } from "@drover/shared/errors";
import type { Algorithm } from "./digest.js";
import type { HashAnswer } from "./hash-thread.js";
import { expectAnswer, forget, isListening, onHashAnswer, post } from "./hash-threads.js";

interface Waiting {
  resolve(answer: HashAnswer): void;
  reject(error: Error): void;
}

/** Hashes a file of several parts in another thread: the whole file, and the MD5 of each part. */
export class HashParts {
  readonly #id = onHashAnswer((answer) => this.#hear(answer));
  readonly #waiting: Waiting[] = [];

  /** @param algorithms of the whole file's digests. */
  constructor(private readonly algorithms: Algorithm[]) {}

  #hear(answer: HashAnswer): void {
    if (answer.error === undefined) {
      this.#waiting.shift()?.resolve(answer);
      return;
    }
    const error = new TransferError("io", `cannot hash: ${answer.error}`);
    for (const each of this.#waiting.splice(0)) each.reject(error);
  }

  /**
   * @param bytes the next part, in shared memory; must not change until the promise is settled.
   * @returns hexadecimal MD5 of the part.
   */
  async add(bytes: Uint8Array): Promise<string> {
    const answer = this.#ask();
    post({ id: this.#id, is: "bytes", bytes, algorithms: this.algorithms });
    return (await answer).md5 as string;
  }

  /** @returns hexadecimal digests of the whole file, in the order of the algorithms. */
  async finish(): Promise<string[]> {
    const answer = this.#ask();
    post({ id: this.#id, is: "finish" });
    expectAnswer(this.#id);
    try {
      return (await answer).digests ?? [];
    } finally {
      forget(this.#id);
    }
  }

  /** Cancels hashing; harmless after the end. */
  drop(): void {
    if (!isListening(this.#id)) return;
    forget(this.#id);
    post({ id: this.#id, is: "drop" });
    for (const each of this.#waiting.splice(0)) each.reject(new TransferError("io", "given up"));
  }

  #ask(): Promise<HashAnswer> {
    const answer = new Promise<HashAnswer>((resolve, reject) => this.#waiting.push({ resolve, reject }));
    answer.catch(() => {}); // the caller awaits it
    return answer;
  }
}
