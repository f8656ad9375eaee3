import { TransferError } from "@drover/shared/errors";
import type { TransferJob } from "@drover/shared/job";
import type { SettleRequest } from "@drover/shared/protocol/admission";
import type { Backlog, ChunkFile, JoinedFile } from "@drover/shared/protocol/backlog";
import { Flights } from "@drover/shared/protocol/flights";
import type { Keys } from "@drover/shared/protocol/keys";
import { addJobs, findLostJobs } from "@drover/shared/queue/bullmq";
import { pipelined } from "@drover/shared/redis/script";
import { hostOf } from "@drover/shared/storage/registry";
import { Queue } from "bullmq";
import type { Redis } from "ioredis";
import { type Chunk, type DispatchedRun, fleetJobId, jobsOf, type Pending } from "./flow.js";

/** The leader's side of the fleet's queue: adds jobs and settles files without carrying them. */
export class FleetJobs {
  readonly #queue: Queue;

  constructor(
    private readonly redis: Redis,
    private readonly keys: Keys,
    private readonly backlog: Backlog,
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

  /** Finds jobs that no worker will take, be it that they are gone. @returns for each whether that is so. */
  findLost(jobs: Pending[]): Promise<boolean[]> {
    return findLostJobs(
      this.redis,
      this.#queue,
      jobs.map(({ job }) => fleetJobId(job)),
    );
  }

  /**
   * Settles the files of a chunk that no worker carries: those not in the queue yet and those waiting in it.
   * A file that other runs wait for is still carried.
   *
   * @param only the file with this index. Default: all of them.
   */
  async giveUp(
    run: DispatchedRun,
    chunk: Chunk,
    outcome: "cancelled" | "blocked",
    only?: number,
  ): Promise<void> {
    const isMeant = ({ i }: TransferJob) => only === undefined || i === only;
    const waiting = [...chunk.pending.values()]
      .map(({ job }) => job)
      .filter((job) => isMeant(job) && !run.shared.has(job.i));
    const out = chunk.rest.filter(isMeant);
    chunk.rest = chunk.rest.filter((job) => !isMeant(job));
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

  /**
   * Makes flights of a run's files anew that Redis has lost.
   *
   * @returns the files that have not ended.
   * @throws Error if this process's knowledge of the run is newer than Redis: its batch is lost.
   */
  async restore(run: DispatchedRun, jobs: TransferJob[]): Promise<TransferJob[]> {
    const flights = new Flights(run.id, run.spec);
    const answers = await this.backlog.restoreFlights(
      run.id,
      jobs.map((job) => ({
        index: job.i,
        flight: flights.of(job, run.tree.leaseOf(job.d)),
        waiter: flights.waiter(job.i),
      })),
    );
    if (answers.includes("unknown"))
      throw new Error(`the leader's memory of run ${run.id} is not that of Redis: it is read anew`);
    return jobs.filter((_, at) => answers[at] === "open");
  }

  /** Finds out which files that joined other runs' nobody carries any more. */
  async joinedFiles(run: DispatchedRun, files: ChunkFile[]): Promise<JoinedFile[]> {
    const { redis, keys } = this;
    const flights = new Flights(run.id, run.spec);
    const hashes = jobsOf(run.id, files).map((job) => flights.of(job, run.tree.leaseOf(job.d)));
    const waiting = (await redis.mget(hashes.map((hash) => keys.flight(hash)))) as (string | null)[];
    const others = waiting.map((each) =>
      (each ?? "").split(",").filter((waiter) => waiter !== "" && !waiter.startsWith(`${run.id}:`)),
    );
    const carriers = [...new Set(others.flat())];
    const answers = await pipelined(redis, () => {
      const pipeline = redis.pipeline();
      for (const carrier of carriers) {
        const [runId = "", index = ""] = carrier.split(":");
        pipeline.exists(keys.run(runId)).getbit(keys.done(runId), Number(index));
      }
      return pipeline;
    });
    const alive = new Set(carriers.filter((_, at) => answers[at * 2] === 1 && answers[at * 2 + 1] === 0));
    return files.map((file, at) => ({
      file,
      flight: hashes[at] as string,
      waiter: flights.waiter(file[0]),
      isLeft: !others[at]?.some((carrier) => alive.has(carrier)),
    }));
  }

  /** @returns false if other runs wait for the file. */
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
    const request: SettleRequest = {
      runId: run.id,
      flight: flights.of(job, lease),
      lease,
      tree: run.tree.id,
      name: job.d,
      host: "",
      waiting: flights.waiter(job.i),
      told: JSON.stringify(ended),
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
    };
    for (;;) {
      const answer = await run.admission.settleAlone(request);
      // It has ended already, unless its flight was lost.
      if (answer.is === "already" && (await this.restore(run, [job])).length > 0) continue;
      return answer.is !== "waiting";
    }
  }
}
