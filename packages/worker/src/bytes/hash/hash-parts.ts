import { TransferError } from "@drover/shared/errors";
import type { Algorithm } from "./digest.js";
import type { HashAnswer } from "./hash-thread.js";
import { expectAnswer, forget, isListening, listen, post } from "./hash-threads.js";

interface Waiting {
  resolve(answer: HashAnswer): void;
  reject(error: Error): void;
}

/** Hashes a file that comes in parts in another thread: the whole of it, and the MD5 of each part. */
export class HashParts {
  readonly #id = listen((answer) => this.#hear(answer));
  readonly #waiting: Waiting[] = [];

  /** @param algorithms of the digests of the whole. */
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
   * @param bytes the next ones, in memory that is shared; not to be changed before the answer.
   * @returns their MD5, hexadecimal.
   */
  async add(bytes: Uint8Array): Promise<string> {
    const answer = this.#ask();
    post({ id: this.#id, is: "bytes", bytes, algorithms: this.algorithms });
    return (await answer).md5 as string;
  }

  /** @returns digests of the whole in hexadecimal, in the order of the algorithms. */
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

  /** Gives up; harmless after the end. */
  drop(): void {
    if (!isListening(this.#id)) return;
    forget(this.#id);
    post({ id: this.#id, is: "drop" });
    for (const each of this.#waiting.splice(0)) each.reject(new TransferError("io", "given up"));
  }

  #ask(): Promise<HashAnswer> {
    const answer = new Promise<HashAnswer>((resolve, reject) => this.#waiting.push({ resolve, reject }));
    answer.catch(() => {}); // whoever asked hears of it
    return answer;
  }
}
