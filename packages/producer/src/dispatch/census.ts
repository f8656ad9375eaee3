import type { Backlog } from "@drover/shared/protocol/backlog";
import { type FleetState, tellFleetState } from "@drover/shared/protocol/fleet-state";
import { readHosts } from "@drover/shared/protocol/hosts";
import type { Keys } from "@drover/shared/protocol/keys";
import type { Ledger } from "@drover/shared/protocol/ledger";
import { tellScaling } from "@drover/shared/protocol/scaling";
import type { Redis } from "ioredis";
import type { DispatchedRun, Flow } from "./flow.js";

/** Interval in ms. */
const EVERY_MS = 1_000;
/** Hosts that are looked at. */
const MOST_HOSTS = 1_000;
/** Hosts that are told by name. */
const MOST_NAMED = 100;
/** Most chunks of a run whose sizes are looked at on each side: of blocked hosts, and of the others. */
const MOST_SAMPLED = 500;

export interface CensusOptions {
  redis: Redis;
  keys: Keys;
  ledger: Ledger;
  backlog: Backlog;
}

/** Counts what waits in a fleet, once a second, for those who watch and scale it. */
export class Census {
  #countedMs = 0;
  /** Since when a host's breaker has not been closed (Unix ms). */
  readonly #since = new Map<string, number>();

  constructor(private readonly options: CensusOptions) {}

  /** @param isPaused whether dispatch is: then the backlog is nothing that workers could carry. */
  async take(runs: Iterable<DispatchedRun>, isPaused: boolean): Promise<void> {
    const { redis, keys } = this.options;
    const nowMs = Date.now();
    if (Math.abs(nowMs - this.#countedMs) < EVERY_MS) return;
    this.#countedMs = nowMs;
    const all = [...runs];
    const hosts = await this.#hosts(all, nowMs);
    const blocked = new Set(hosts.filter(({ breaker }) => breaker === "open").map(({ host }) => host));
    const state: FleetState = { backlogFiles: 0, blockedFiles: 0, scalingFiles: 0, hosts };
    const count = async (run: DispatchedRun) => {
      const flows = [...run.flows.values()];
      const open = flows.filter((flow) => !blocked.has(flow.host));
      const { files, ready } = await this.#inBacklog(run, flows, open);
      state.backlogFiles += files;
      state.blockedFiles += files - ready;
      state.scalingFiles += sumOf(open, (flow) => flow.inQueue) + (isPaused ? 0 : ready);
    };
    await Promise.all(all.map(count)); // all at once: their questions go to Redis together
    state.hosts = hosts.slice(0, MOST_NAMED);
    await Promise.all([tellFleetState(redis, keys, state), tellScaling(redis, keys, state.scalingFiles)]);
  }

  /** Hosts whose breakers are not closed, those that have been so for the longest time first. */
  async #hosts(runs: DispatchedRun[], nowMs: number): Promise<FleetState["hosts"]> {
    const names = new Set(runs.flatMap((run) => [...run.flows.keys()]).filter((host) => host !== ""));
    const { redis, keys } = this.options;
    const states = await readHosts(redis, keys, [...names].slice(0, MOST_HOSTS));
    const found: FleetState["hosts"] = [];
    for (const { host, breaker, openUntilMs } of states) {
      if (breaker === "closed") continue;
      const sinceMs = this.#since.get(host) ?? nowMs;
      found.push({ host, breaker, ...(openUntilMs === undefined ? {} : { openUntilMs }), sinceMs });
    }
    this.#since.clear();
    for (const { host, sinceMs } of found) this.#since.set(host, sinceMs);
    return found.sort((a, b) => a.sinceMs - b.sinceMs);
  }

  /**
   * Files in the backlog of a run, and those of them whose hosts are not blocked. How many there are for all hosts is known;
   * where some are blocked they are shared out by the sizes of the chunks in bytes, since only reading a chunk tells how
   * many it has.
   */
  async #inBacklog(
    { id }: DispatchedRun,
    flows: Flow[],
    open: Flow[],
  ): Promise<{ files: number; ready: number }> {
    const unended = await this.options.ledger.openFiles(id);
    if (unended === undefined) return { files: 0, ready: 0 }; // what is left of it is only settled
    const files = Math.max(unended - sumOf(flows, (flow) => flow.inQueue), 0);
    if (files === 0 || !open.some((flow) => flow.hasMore)) return { files, ready: 0 };
    if (open.length === flows.length) return { files, ready: files };
    const unread = Math.max(files - sumOf(flows, (flow) => flow.unfed), 0);
    const openBytes = await this.#bytes(id, open);
    const closed = flows.filter((flow) => !open.includes(flow));
    const bytes = openBytes + (await this.#bytes(id, closed));
    const ready = sumOf(open, (flow) => flow.unfed) + (bytes === 0 ? 0 : (unread * openBytes) / bytes);
    return { files, ready: Math.min(Math.ceil(ready), files) };
  }

  /** Bytes of the waiting chunks of some flows; of many, only some are looked at. */
  async #bytes(runId: string, flows: Flow[]): Promise<number> {
    const chunks = flows.flatMap((flow) => flow.waiting);
    if (chunks.length === 0) return 0;
    const step = Math.max(Math.ceil(chunks.length / MOST_SAMPLED), 1);
    const sample = chunks.filter((_, at) => at % step === 0);
    const sizes = await this.options.backlog.chunkBytes(runId, sample);
    const sum = sizes.reduce((total, bytes) => total + bytes, 0);
    return (sum * chunks.length) / sizes.length;
  }
}

function sumOf(flows: Flow[], of: (flow: Flow) => number): number {
  return flows.reduce((sum, flow) => sum + of(flow), 0);
}
