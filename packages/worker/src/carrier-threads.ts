import { availableParallelism } from "node:os";
import { Worker } from "node:worker_threads";
import type { TransferJob } from "@drover/shared/job";
import type { BriefError, Outcome } from "@drover/shared/outcome";
import type { ThreadData } from "./carrier-thread.js";

/** More threads than this gain nothing: one Redis serves about as many files as they carry. */
const MOST_THREADS = 4;

export type ThreadRequest = "stop" | "cancel";
export type ThreadEvent =
  | ["started", TransferJob, number]
  | ["waiting", TransferJob]
  | ["retrying", TransferJob, number, BriefError, number]
  | ["settled", Outcome]
  | ["dropped", TransferJob]
  | ["blocked", string, number]
  | ["progress", number, number, number | undefined]
  | ["warn", string];

/** How many threads carry a run of so many files at once, the first one included. */
export function threadsFor(concurrency: number): number {
  return Math.max(Math.min(availableParallelism(), MOST_THREADS, Math.floor(concurrency / 4)), 1);
}

/** Carriers in threads of their own, for runs of many files: one thread cannot use more than one core. */
export class CarrierThreads {
  readonly #threads: { worker: Worker; stopped: Promise<void> }[] = [];

  constructor(
    data: ThreadData,
    count: number,
    onEvent: (event: ThreadEvent) => void,
    onError: (error: Error) => void,
  ) {
    for (let at = 0; at < count; at++) {
      const worker = new Worker(new URL("./carrier-thread.js", import.meta.url), { workerData: data });
      const stopped = new Promise<void>((resolve) => {
        worker.once("exit", () => resolve());
      });
      worker.on("message", (message: ThreadEvent[] | "stopped") => {
        if (message !== "stopped") for (const event of message) onEvent(event);
      });
      worker.on("error", onError);
      this.#threads.push({ worker, stopped });
    }
  }

  cancel(): void {
    for (const { worker } of this.#threads) worker.postMessage("cancel" satisfies ThreadRequest);
  }

  async stop(): Promise<void> {
    for (const { worker } of this.#threads) worker.postMessage("stop" satisfies ThreadRequest);
    await Promise.all(this.#threads.map(({ stopped }) => stopped));
  }
}
