import type { Keys } from "@drover/shared/protocol/keys";
import { pipelined } from "@drover/shared/redis/script";
import type { Redis } from "ioredis";
import type { FleetJobs } from "./fleet-jobs.js";
import { type DispatchedRun, type Flow, fleetJobId, type Pending } from "./flow.js";

/** Interval of sweeps in ms, and the age from which a job is checked. */
const SWEEP_AFTER_MS = 5_000;
/** Number of events in BullMQ's event stream that are searched for removed jobs. */
const EVENTS = 10_000;

/** Finds unsettled files whose job is gone. */
export class Sweeper {
  #sweptMs = Date.now();
  /** Ids of jobs that the last sweep did not find. */
  #missing = new Set<string>();

  constructor(
    private readonly redis: Redis,
    private readonly keys: Keys,
    private readonly jobs: FleetJobs,
    private readonly log: (message: string, fields?: Record<string, unknown>) => void,
  ) {}

  /**
   * Finds unsettled files whose job is gone. A job that somebody removed is cancelled; a job that Redis lost
   * with its last writes is added again.
   */
  async sweep(flows: Flow[], runOf: (id: string) => DispatchedRun | undefined): Promise<void> {
    const { redis, keys } = this;
    const nowMs = Date.now();
    if (nowMs - this.#sweptMs < SWEEP_AFTER_MS) return;
    this.#sweptMs = nowMs;
    const oldMs = nowMs - SWEEP_AFTER_MS;
    const pending = flows.flatMap((flow) =>
      [...flow.chunks.values()]
        .filter((chunk) => chunk.addedMs < oldMs)
        .flatMap((chunk) => [...chunk.pending.values()]),
    );
    const missing = new Set<string>();
    const lost: Pending[] = [];
    for (let from = 0; from < pending.length; from += 1000) {
      const slice = pending.slice(from, from + 1000);
      const answers = await pipelined(redis, () => {
        const pipeline = redis.pipeline();
        for (const { job } of slice)
          pipeline.exists(`${keys.queuePrefix()}:${keys.fleetQueue()}:${fleetJobId(job)}`);
        return pipeline;
      });
      slice.forEach((each, at) => {
        if (answers[at] !== 0) return;
        const id = fleetJobId(each.job);
        // Missing in two sweeps in a row: a job is gone for a moment between its settlement and our reading
        // of it.
        if (this.#missing.has(id)) lost.push(each);
        else missing.add(id);
      });
    }
    this.#missing = missing;
    if (lost.length === 0) return;
    const removed = await this.#removedJobs();
    const again: Pending[] = [];
    for (const each of await this.#stillThere(flows, lost)) {
      const run = runOf(each.job.r as string);
      // An older event belongs to an earlier job of the same id, which Redis has forgotten.
      const wasRemoved = (removed.get(fleetJobId(each.job)) ?? 0) > each.addedMs;
      if (!run || !wasRemoved || !(await this.jobs.end(run, each.job, "cancelled"))) again.push(each);
    }
    this.log("jobs were gone from the queue", {
      added_again: again.length,
      removed: lost.length - again.length,
    });
    await this.jobs.add(again);
  }

  /**
   * Filters files whose chunk still exists in Redis. The other chunks were forgotten together with their
   * batch.
   */
  async #stillThere(flows: Flow[], files: Pending[]): Promise<Pending[]> {
    const { redis, keys } = this;
    const kept: Pending[] = [];
    for (const flow of flows) {
      for (const chunk of flow.chunks.values()) {
        const mine = files.filter(({ job }) => job.r === flow.runId && chunk.pending.has(job.i));
        if (mine.length === 0) continue;
        const key = chunk.isInFlight ? keys.inFlight(flow.runId) : keys.backlog(flow.runId);
        if ((await redis.hexists(key, chunk.id)) === 1) kept.push(...mine);
        else flow.chunks.delete(chunk.id);
      }
    }
    return kept;
  }

  /** Recently removed jobs and the Unix time in ms of their removal, from BullMQ's events. */
  async #removedJobs(): Promise<Map<string, number>> {
    const { redis, keys } = this;
    const stream = `${keys.queuePrefix()}:${keys.fleetQueue()}:events`;
    const removed = new Map<string, number>();
    for (const [id, fields] of await redis.xrevrange(stream, "+", "-", "COUNT", EVENTS)) {
      const at = (name: string) => fields[fields.indexOf(name) + 1];
      const job = String(at("jobId"));
      if (at("event") === "removed" && !removed.has(job)) removed.set(job, Number.parseInt(id, 10));
    }
    return removed;
  }
}
