import type { Keys } from "@drover/shared/protocol/keys";
import { pipelined } from "@drover/shared/redis/script";
import type { Redis } from "ioredis";
import type { FleetJobs } from "./fleet-jobs.js";
import { type FleetRun, type Flow, fleetJobId, type Pending } from "./flow.js";

/** Jobs of files that are not settled are looked for after so long, and so often. */
const SWEEP_AFTER_MS = 5_000;
/** Entries of BullMQ's event stream that are searched for who removed a job. */
const EVENTS = 10_000;

/** Finds files whose job is gone. */
export class Sweeper {
  #sweptMs = Date.now();
  /** Jobs that were not found at the last sweep. */
  #missing = new Set<string>();

  constructor(
    private readonly redis: Redis,
    private readonly keys: Keys,
    private readonly jobs: FleetJobs,
    private readonly log: (message: string, fields?: Record<string, unknown>) => void,
  ) {}

  /**
   * Looks for files whose job is gone although they are not settled: a job that somebody removed is cancelled; one
   * that Redis lost with its last second is added again.
   */
  async sweep(flows: Flow[], runOf: (id: string) => FleetRun | undefined): Promise<void> {
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
        // Twice in a row: between being settled and being seen so here, a job is gone for a moment.
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
      // An event from before it was added is of an earlier life of the same run, which Redis has forgotten.
      const wasRemoved = (removed.get(fleetJobId(each.job)) ?? 0) > each.addedMs;
      if (!run || !wasRemoved || !(await this.jobs.end(run, each.job, "cancelled"))) again.push(each);
    }
    this.log("jobs were gone from the queue", {
      added_again: again.length,
      removed: lost.length - again.length,
    });
    await this.jobs.add(again);
  }

  /** Those of files whose chunk Redis still has; with the others it has forgotten their batch, too. */
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

  /** Jobs that somebody removed lately, and when (ms), from BullMQ's events. */
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
