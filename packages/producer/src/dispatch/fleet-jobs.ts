import { TransferError } from "@drover/shared/errors";
import type { TransferJob } from "@drover/shared/job";
import { Flights } from "@drover/shared/protocol/flights";
import type { Keys } from "@drover/shared/protocol/keys";
import { addJobs } from "@drover/shared/queue/bullmq";
import { hostOf } from "@drover/shared/storage/registry";
import { Queue } from "bullmq";
import type { Redis } from "ioredis";
import { type Chunk, type DispatchedRun, fleetJobId, type Pending } from "./flow.js";

/** The leader's side of the fleet's queue: adds jobs and settles files without carrying them. */
export class FleetJobs {
  readonly #queue: Queue;

  constructor(
    private readonly redis: Redis,
    private readonly keys: Keys,
  ) {
    this.#queue = new Queue(keys.fleetQueue(), { connection: redis, prefix: keys.queuePrefix() });
    this.#queue.on("error", () => {}); // callers report that Redis is away
  }

  close(): Promise<void> {
    return this.#queue.close();
  }

  /** Adds jobs. Jobs that exist are left alone. */
  async add(jobs: Pending[]): Promise<void> {
    await addJobs(
      this.redis,
      this.#queue,
      jobs.map(({ job, priority }) => ({ id: fleetJobId(job), data: job, priority })),
      "published",
    );
  }

  /**
   * Settles the files of a chunk that no worker carries: those not in the queue yet and those waiting in it.
   * A file that other runs wait for is still carried.
   */
  async giveUp(run: DispatchedRun, chunk: Chunk, outcome: "cancelled" | "blocked"): Promise<void> {
    const waiting = [...chunk.pending.values()].map(({ job }) => job).filter((job) => !run.shared.has(job.i));
    const out = [...chunk.rest];
    chunk.rest = [];
    for (let from = 0; from < waiting.length; from += 100) {
      const slice = waiting.slice(from, from + 100);
      const gone = await Promise.all(slice.map((job) => this.#queue.remove(fleetJobId(job))));
      out.push(...slice.filter((_, at) => gone[at] === 1)); // a job that a worker carries is locked and stays
    }
    const joined: Pending[] = [];
    await Promise.all(
      out.map(async (job) => {
        if (!(await this.end(run, job, outcome))) joined.push({ job, priority: 1, addedMs: Date.now() });
      }),
    );
    for (const each of joined) {
      run.shared.add(each.job.i);
      chunk.pending.set(each.job.i, each);
    }
    await this.add(joined);
  }

  async #isSettled(runId: string, index: number): Promise<boolean> {
    return (await this.redis.getbit(this.keys.done(runId), index)) === 1;
  }

  /**
   * @returns false if other runs wait for the file.
   * @throws Error if this process's knowledge of the run is older than Redis.
   */
  async end(run: DispatchedRun, job: TransferJob, outcome: "cancelled" | "blocked"): Promise<boolean> {
    const lease = run.tree.leaseOf(job.d);
    const error =
      outcome === "cancelled"
        ? new TransferError("cancelled", "cancelled")
        : new TransferError("breaker", run.breakers.describe(hostOf(job.s, run.spec)));
    const brief = { class: error.class, message: error.message };
    const ended = {
      index: job.i,
      source: job.s,
      destination: run.tree.path(job.d),
      name: job.d,
      outcome,
      checksum: null,
      bytes: 0,
      verifiedBy: null,
      attempts: 0,
      durationMs: 0,
      error: brief,
    };
    const flights = new Flights(run.id, run.spec);
    const answer = await run.admission.settleAlone({
      runId: run.id,
      flight: flights.of(job, lease),
      lease,
      tree: run.tree.id,
      name: job.d,
      host: "",
      waiting: flights.waiter(job.i),
      followed: JSON.stringify(ended),
      outcome,
      bytes: 0,
      failure: JSON.stringify({ job, error: brief, attempts: 0 }),
      catalog: "",
      verdict: "none",
      epoch: "0",
      rules: { threshold: 1, ttlMs: 0, probeMs: 0 },
      retryAfterMs: 0,
      openBreaker: false,
      keepLease: false,
    });
    if (answer.is === "already" && !(await this.#isSettled(run.id, job.i)))
      throw new Error(`the leader's memory of run ${run.id} is older than Redis: it is read anew`);
    return answer.is !== "waiting";
  }
}
