import { parentPort, workerData } from "node:worker_threads";
import { hostBreakersOf } from "@drover/shared/protocol/host-breakers";
import { Keys } from "@drover/shared/protocol/keys";
import { connect } from "@drover/shared/redis/connect";
import { isRedisAway } from "@drover/shared/redis/errors";
import { startTracing } from "@drover/shared/start-tracing";
import { endTracing } from "@drover/shared/tracing";
import type { ThreadData, ThreadEvent, ThreadRequest } from "./local-worker-pool.js";
import { RunWorker } from "./run-worker.js";

/** Interval in ms at which the progress of files is reported where a display shows them. */
const PROGRESS_MS = 250;
/** The same where only lines of progress are printed. */
const SAMPLE_MS = 1_000;

/** A thread that carries files of a run beside the main thread. */
async function main(): Promise<void> {
  const { address, namespace, work, live } = workerData as ThreadData;
  await startTracing();
  const redis = await connect(address);
  let events: ThreadEvent[] = [];
  const tell = (event: ThreadEvent) => {
    // Events of one turn of the event loop are sent together.
    if (events.push(event) > 1) return;
    setImmediate(() => {
      parentPort?.postMessage(events);
      events = [];
    });
  };
  const records = new Map<number, { receivedBytes: number; sizeBytes: number | undefined }>();
  /** Indexes of files in progress whose bytes were reported. */
  const reported = new Set<number>();
  const runWorker = new RunWorker({
    redis,
    keys: new Keys(namespace),
    work,
    breakers: hostBreakersOf(work.spec),
    events: {
      started: (job, attempt) => live && tell(["started", job, attempt]),
      waiting: (job) => {
        records.delete(job.i);
        if (reported.delete(job.i) || live) tell(["waiting", job]);
      },
      retrying: (job, attempt, error, delayMs) =>
        tell(["retrying", job, attempt, { class: error.class, message: error.message }, delayMs]),
      settled: (outcome) => {
        records.delete(outcome.index);
        reported.delete(outcome.index);
        tell(["settled", outcome]);
      },
      dropped: (job) => tell(["dropped", job]),
      blocked: (host, untilMs) => tell(["blocked", host, untilMs]),
      receiving: (index, record) => void records.set(index, record),
    },
    onError: (error) => isRedisAway(error) || tell(["warn", `queue: ${error.message}`]),
  });
  const progress = setInterval(
    () => {
      for (const [index, record] of records) {
        reported.add(index);
        tell(["receiving", index, { receivedBytes: record.receivedBytes, sizeBytes: record.sizeBytes }]);
      }
    },
    live ? PROGRESS_MS : SAMPLE_MS,
  );
  parentPort?.on("message", async (request: ThreadRequest) => {
    if (request === "cancel") return runWorker.cancel();
    clearInterval(progress);
    await runWorker.stop();
    await endTracing();
    redis.disconnect();
    parentPort?.postMessage(events);
    events = [];
    parentPort?.postMessage("stopped");
    parentPort?.close();
  });
}

await main();
