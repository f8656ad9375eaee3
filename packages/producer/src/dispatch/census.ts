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
/** Chunks of a run whose sizes are looked at, and one more of each host at most. */
const MOST_SAMPLED = 1_000;

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
    const known = new Map(hosts.map((host) => [host.host, host]));
    const count = async (run: DispatchedRun) => {
      const flows = [...run.flows.values()];
      const open = flows.filter((flow) => !blocked.has(flow.host));
      const { files, ready, shares } = await this.#inBacklog(run, flows, open, known);
      state.backlogFiles += files;
      state.blockedFiles += files - ready;
      state.scalingFiles += sumOf(open, (flow) => flow.inQueue) + (isPaused ? 0 : ready);
      for (const flow of flows) {
        const host = known.get(flow.host);
        const waiting = Math.round(shares.get(flow) ?? 0) + flow.inQueue;
        if (host === undefined || waiting === 0) continue;
        host.files += waiting;
        host.runs++;
      }
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
      found.push({
        host,
        breaker,
        ...(openUntilMs === undefined ? {} : { openUntilMs }),
        sinceMs,
        files: 0,
        runs: 0,
      });
    }
    this.#since.clear();
    for (const { host, sinceMs } of found) this.#since.set(host, sinceMs);
    return found.sort((a, b) => a.sinceMs - b.sinceMs);
  }

  /**
   * Files in the backlog of a run, those of them whose hosts are not blocked, and how many each flow has. How many there are
   * for all hosts is known; where some are told apart they are shared out by the sizes of the chunks in bytes, since only
   * reading a chunk tells how many it has.
   *
   * @param apart hosts that are told apart. Where the run has none of them, no shares are told.
   */
  async #inBacklog(
    { id }: DispatchedRun,
    flows: Flow[],
    open: Flow[],
    apart: ReadonlyMap<string, unknown>,
  ): Promise<{ files: number; ready: number; shares: ReadonlyMap<Flow, number> }> {
    const none = new Map<Flow, number>();
    const unended = await this.options.ledger.openFiles(id);
    if (unended === undefined) return { files: 0, ready: 0, shares: none }; // what is left of it is only settled
    const files = Math.max(unended - sumOf(flows, (flow) => flow.inQueue), 0);
    const [first, ...others] = flows.filter((flow) => flow.hasMore);
    if (files === 0 || first === undefined) return { files, ready: 0, shares: none };
    if (!flows.some(({ host }) => apart.has(host))) return { files, ready: files, shares: none };
    if (others.length === 0)
      return { files, ready: open.includes(first) ? files : 0, shares: new Map([[first, files]]) };
    const unread = Math.max(files - sumOf(flows, (flow) => flow.unfed), 0);
    const bytes = await this.#bytes(id, flows);
    const bytesOf = (flow: Flow) => bytes.get(flow) ?? 0;
    const all = sumOf(flows, bytesOf);
    const share = (some: Flow[]) =>
      sumOf(some, (flow) => flow.unfed) + (all === 0 ? 0 : (unread * sumOf(some, bytesOf)) / all);
    const shares = new Map(flows.map((flow) => [flow, share([flow])]));
    return { files, ready: Math.min(Math.ceil(share(open)), files), shares };
  }

  /** Bytes of the waiting chunks of flows; of many, only some are looked at. */
  async #bytes(runId: string, flows: Flow[]): Promise<Map<Flow, number>> {
    const step = Math.max(Math.ceil(sumOf(flows, (flow) => flow.waiting.length) / MOST_SAMPLED), 1);
    const samples = flows.map((flow) => flow.waiting.filter((_, at) => at % step === 0));
    const sizes = await this.options.backlog.chunkBytes(runId, samples.flat());
    const bytes = new Map<Flow, number>();
    let from = 0;
    for (const [at, flow] of flows.entries()) {
      const { length } = samples[at] as string[];
      const sum = sizes.slice(from, from + length).reduce((total, each) => total + each, 0);
      if (length > 0) bytes.set(flow, (sum * flow.waiting.length) / length);
      from += length;
    }
    return bytes;
  }
}

function sumOf(flows: Flow[], of: (flow: Flow) => number): number {
  return flows.reduce((sum, flow) => sum + of(flow), 0);
}
