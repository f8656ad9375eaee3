import { Worker } from "node:worker_threads";
import type { HashAnswer, HashRequest } from "./hash-worker.js";

let thread: Worker | undefined;
let lastId = 0;
const listeners = new Map<number, (answer: HashAnswer) => void>();

/** Announces who hears the answers to requests of a new id. */
export function listen(hear: (answer: HashAnswer) => void): number {
  listeners.set(++lastId, hear);
  return lastId;
}

export function post(request: HashRequest): void {
  if (!thread) {
    thread = new Worker(new URL("./hash-worker.js", import.meta.url));
    thread.on("message", (answer: HashAnswer) => listeners.get(answer.id)?.(answer));
    thread.on("error", (error) => {
      thread = undefined;
      for (const hear of listeners.values()) hear({ id: 0, error: error.message });
    });
    thread.unref();
  }
  thread.postMessage(request);
}

/** Keeps the process alive for an answer. */
export function expectAnswer(): void {
  thread?.ref();
}

export function forget(id: number): void {
  listeners.delete(id);
  if (listeners.size === 0) thread?.unref();
}

export function isListening(id: number): boolean {
  return listeners.has(id);
}
