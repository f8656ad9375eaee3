import { Worker } from "node:worker_threads";
import { TransferError } from "@drover/shared/errors";
import type { HashAnswer, HashRequest } from "./hash-worker.js";

/** Bytes that are handed to the thread at least at a time. */
const STEP_BYTES = 4 << 20;

let thread: Worker | undefined;
let lastId = 0;
const waiting = new Map<number, HashBehind>();

function post(request: HashRequest): void {
  if (!thread) {
    thread = new Worker(new URL("./hash-worker.js", import.meta.url));
    thread.on("message", (answer: HashAnswer) => waiting.get(answer.id)?.hear(answer));
    thread.on("error", (error) => {
      thread = undefined;
      for (const each of waiting.values()) each.hear({ id: 0, error: error.message });
    });
    thread.unref();
  }
  thread.postMessage(request);
}

/** Hashes a growing file in another thread, close behind its writer. */
export class HashBehind {
  readonly #id = ++lastId;
  #sentBytes = 0;
  #hashedBytes = 0;
  #answer: HashAnswer | undefined;
  #wake: (() => void) | undefined;

  constructor(
    private readonly fd: number,
    private readonly algorithms: string[],
  ) {
    waiting.set(this.#id, this);
  }

  hear(answer: HashAnswer): void {
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
    thread?.ref();
    try {
      while (!this.#answer) await this.#change();
    } finally {
      waiting.delete(this.#id);
      if (waiting.size === 0) thread?.unref();
    }
    if (this.#answer.error !== undefined) throw new TransferError("io", `cannot hash: ${this.#answer.error}`);
    return this.#answer.digests ?? [];
  }

  /** Gives up; resolves when the thread does not read the file any more, so that it can be closed. */
  async drop(): Promise<void> {
    if (!waiting.has(this.#id)) return;
    while (this.#hashedBytes < this.#sentBytes && !this.#answer) await this.#change();
    waiting.delete(this.#id);
    post({ id: this.#id, is: "drop" });
  }

  #change(): Promise<void> {
    return new Promise((resolve) => {
      this.#wake = resolve;
    });
  }
}
