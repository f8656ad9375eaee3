import { availableParallelism } from "node:os";
import { Worker } from "node:worker_threads";
import type { HashAnswer, HashRequest } from "./hash-thread.js";

/** Hashing threads, each started on demand. */
const threads: (Worker | undefined)[] = Array.from({ length: Math.min(availableParallelism(), 4) });
let lastId = 0;
const listeners = new Map<number, (answer: HashAnswer) => void>();

/** Ids are consecutive, so neighbouring ids use different threads. */
const threadOf = (id: number) => id % threads.length;

/** Registers a callback and returns its new id. One thread handles all requests of an id, in order. */
export function onHashAnswer(hear: (answer: HashAnswer) => void): number {
  listeners.set(++lastId, hear);
  return lastId;
}

export function post(request: HashRequest): void {
  const at = threadOf(request.id);
  threads[at] ??= start(at);
  threads[at].postMessage(request);
}

function start(at: number): Worker {
  const thread = new Worker(new URL("./hash-thread.js", import.meta.url));
  thread.on("message", (answer: HashAnswer) => listeners.get(answer.id)?.(answer));
  thread.on("error", (error) => {
    threads[at] = undefined;
    for (const [id, hear] of listeners) if (threadOf(id) === at) hear({ id, error: error.message });
  });
  thread.unref();
  return thread;
}

/** Keeps the process alive until an answer arrives. */
export function expectAnswer(id: number): void {
  threads[threadOf(id)]?.ref();
}

export function forget(id: number): void {
  listeners.delete(id);
  const at = threadOf(id);
  for (const other of listeners.keys()) if (threadOf(other) === at) return;
  threads[at]?.unref();
}

export function isListening(id: number): boolean {
  return listeners.has(id);
}
