import type { Backlog } from "@drover/shared/protocol/backlog";
import type { Keys } from "@drover/shared/protocol/keys";
import type { Ledger } from "@drover/shared/protocol/ledger";
import type { Redis } from "ioredis";
import type { FleetJobs } from "./fleet-jobs.js";
import {
  batchOfChunk,
  type Chunk,
  chunkFileOf,
  type DispatchedRun,
  type Flow,
  fleetJobId,
  type Pending,
} from "./flow.js";

/** Interval of sweeps in ms, and the age from which a job is checked. */
const SWEEP_AFTER_MS = 5_000;
/** Number of events in BullMQ's event stream that are searched for removed jobs. */
const EVENTS = 10_000;

export interface SweeperOptions {
  redis: Redis;
  keys: Keys;
  ledger: Ledger;
  backlog: Backlog;
  jobs: FleetJobs;
  log(message: string, fields?: Record<string, unknown>): void;
}

/** Finds unsettled files whose job is gone. */
export class Sweeper {
  #sweptMs = Date.now();
  /** Ids of jobs that the last sweep did not find. */
  #missing = new Set<string>();

  constructor(private readonly options: SweeperOptions) {}

  /**
   * Finds unsettled files whose job is gone. A job that somebody removed is cancelled; a job that Redis lost,
   * with its last writes or with a key that somebody deleted, is added again.
   */
  async sweep(flows: Flow[], runOf: (id: string) => DispatchedRun | undefined): Promise<void> {
    const { jobs, log } = this.options;
    const nowMs = Date.now();
    if (nowMs - this.#sweptMs < SWEEP_AFTER_MS) return;
    this.#sweptMs = nowMs;
    const lost = await this.#lostTwice(flows, nowMs - SWEEP_AFTER_MS);
    if (lost.length === 0) return;
    const removed = await this.#removedJobs();
    const again = new Map<DispatchedRun, Pending[]>();
    let cancelled = 0;
    for (const each of await this.#stillThere(flows, lost)) {
      const run = runOf(each.job.r as string);
      if (!run) continue;
      // An older event belongs to an earlier job of the same id, which Redis has forgotten.
      const wasRemoved = (removed.get(fleetJobId(each.job)) ?? 0) > each.addedMs;
      if (wasRemoved && (await jobs.end(run, each.job, "cancelled"))) cancelled++;
      else again.set(run, [...(again.get(run) ?? []), each]);
    }
    let added = 0;
    for (const [run, files] of again) {
      const open = new Set(
        await jobs.restore(
          run,
          files.map(({ job }) => job),
        ),
      );
      const toAdd = files.filter(({ job }) => open.has(job));
      await jobs.add(toAdd);
      added += toAdd.length;
    }
    if (added + cancelled > 0)
      log("jobs were gone from the queue", { added_again: added, removed: cancelled });
  }

  /**
   * Files that have waited since `beforeMs` and whose job was missing in two sweeps in a row: a job is gone for a moment
   * between its settlement and our reading of it.
   */
  async #lostTwice(flows: Flow[], beforeMs: number): Promise<Pending[]> {
    const pending = flows.flatMap((flow) =>
      [...flow.chunks.values()]
        .filter((chunk) => chunk.addedMs < beforeMs)
        .flatMap((chunk) => [...chunk.pending.values()]),
    );
    const isLost = await this.options.jobs.findLost(pending);
    const missing = pending.filter((_, at) => isLost[at]);
    const lost = missing.filter(({ job }) => this.#missing.has(fleetJobId(job)));
    this.#missing = new Set(missing.map(({ job }) => fleetJobId(job)));
    return lost;
  }

  /**
   * Filters files whose batch still exists in Redis; the others were forgotten together with it. A chunk that Redis
   * has lost without its batch is recorded again.
   */
  async #stillThere(flows: Flow[], files: Pending[]): Promise<Pending[]> {
    const kept: Pending[] = [];
    for (const flow of flows) {
      for (const chunk of flow.chunks.values()) {
        const mine = files.filter(({ job }) => job.r === flow.runId && chunk.pending.has(job.i));
        if (mine.length === 0) continue;
        if (await this.#isThere(flow.runId, chunk)) kept.push(...mine);
        else flow.chunks.delete(chunk.id);
      }
    }
    return kept;
  }

  async #isThere(runId: string, chunk: Chunk): Promise<boolean> {
    const { redis, keys, ledger, backlog } = this.options;
    const key = chunk.isInFlight ? keys.inFlight(runId) : keys.backlog(runId);
    if ((await redis.hexists(key, chunk.id)) === 1) return true;
    const registered = await ledger.registered(runId);
    if (!registered || registered.batch < batchOfChunk(chunk.id)) return false;
    const files = [...[...chunk.pending.values()].map(({ job }) => job), ...chunk.rest];
    await backlog.noteInFlight(runId, chunk.id, files.map(chunkFileOf));
    return true;
  }

  /** Recently removed jobs and the Unix time in ms of their removal, from BullMQ's events. */
  async #removedJobs(): Promise<Map<string, number>> {
    const { redis, keys } = this.options;
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
