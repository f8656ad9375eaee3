import { RUN } from "@drover/shared/protocol/fields";
import { type FleetState, tellFleetState } from "@drover/shared/protocol/fleet-state";
import { readHosts } from "@drover/shared/protocol/hosts";
import type { Keys } from "@drover/shared/protocol/keys";
import { tellScaling } from "@drover/shared/protocol/scaling";
import { pipelined } from "@drover/shared/redis/script";
import type { Redis } from "ioredis";
import type { DispatchedRun, Flow } from "./flow.js";

/** Interval in ms. */
const EVERY_MS = 1_000;
/** Hosts that are looked at. */
const MOST_HOSTS = 1_000;
/** Hosts that are told by name. */
const MOST_NAMED = 100;

/** Counts what waits in a fleet, once a second, for those who watch and scale it. */
export class Census {
  #countedMs = 0;
  /** Since when a host's breaker has not been closed (Unix ms). */
  readonly #since = new Map<string, number>();
  /** Sizes of chunks in bytes, by run and chunk: they are asked for while a host is blocked. */
  #sizes = new Map<string, number>();

  constructor(
    private readonly redis: Redis,
    private readonly keys: Keys,
  ) {}

  /** @param isPaused whether dispatch is: then the backlog is nothing that workers could carry. */
  async take(runs: Iterable<DispatchedRun>, isPaused: boolean): Promise<void> {
    const nowMs = Date.now();
    if (nowMs - this.#countedMs < EVERY_MS) return;
    this.#countedMs = nowMs;
    const all = [...runs];
    const hosts = await this.#hosts(all, nowMs);
    const blocked = new Set(hosts.filter(({ breaker }) => breaker === "open").map(({ host }) => host));
    const open = await this.#openFiles(all);
    await this.#weigh(all, blocked);
    const sum: FleetState = { backlogFiles: 0, blockedFiles: 0, scalingFiles: 0, hosts };
    for (const [at, run] of all.entries()) {
      const flows = [...run.flows.values()];
      const inQueue = sumOf(flows, (flow) => flow.inQueue);
      const backlog = Math.max((open[at] as number) - inQueue, 0);
      const read = sumOf(flows, (flow) => flow.unqueued);
      const share = this.#blockedShare(run, flows, blocked);
      const ready =
        Math.round(Math.max(backlog - read, 0) * (1 - share)) +
        Math.min(
          sumOf(flows, (flow) => (blocked.has(flow.host) ? 0 : flow.unqueued)),
          backlog,
        );
      sum.backlogFiles += backlog;
      sum.blockedFiles += backlog - ready;
      sum.scalingFiles += isPaused ? 0 : ready;
      sum.scalingFiles += sumOf(flows, (flow) => (blocked.has(flow.host) ? 0 : flow.inQueue));
    }
    sum.hosts = hosts.slice(0, MOST_NAMED);
    await tellFleetState(this.redis, this.keys, sum);
    await tellScaling(this.redis, this.keys, sum.scalingFiles);
  }

  /** Hosts whose breakers are not closed, those that have been so for the longest time first. */
  async #hosts(runs: DispatchedRun[], nowMs: number): Promise<FleetState["hosts"]> {
    const names = new Set(runs.flatMap((run) => [...run.flows.keys()]).filter((host) => host !== ""));
    const states = await readHosts(this.redis, this.keys, [...names].slice(0, MOST_HOSTS));
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

  /** Files of each run that are registered and have not ended. */
  async #openFiles(runs: DispatchedRun[]): Promise<number[]> {
    if (runs.length === 0) return [];
    const answers = await pipelined(this.redis, () => {
      const pipeline = this.redis.pipeline();
      for (const { id } of runs) pipeline.hget(this.keys.run(id), RUN.files).bitcount(this.keys.done(id));
      return pipeline;
    });
    return runs.map((_, at) => Number(answers[at * 2] ?? 0) - Number(answers[at * 2 + 1] ?? 0));
  }

  /** Asks for the sizes of the waiting chunks of runs that have a blocked host and others. */
  async #weigh(runs: DispatchedRun[], blocked: Set<string>): Promise<void> {
    const sizes = new Map<string, number>();
    const unknown: [run: string, chunk: string][] = [];
    for (const run of runs) {
      const hosts = [...run.flows.keys()].map((host) => blocked.has(host));
      if (!hosts.includes(true) || !hosts.includes(false)) continue;
      for (const flow of run.flows.values())
        for (const chunk of flow.waiting) {
          const size = this.#sizes.get(`${run.id} ${chunk}`);
          if (size === undefined) unknown.push([run.id, chunk]);
          else sizes.set(`${run.id} ${chunk}`, size);
        }
    }
    if (unknown.length > 0) {
      const answers = await pipelined(this.redis, () => {
        const pipeline = this.redis.pipeline();
        for (const [run, chunk] of unknown) pipeline.hstrlen(this.keys.backlog(run), chunk);
        return pipeline;
      });
      for (const [at, [run, chunk]] of unknown.entries()) sizes.set(`${run} ${chunk}`, Number(answers[at]));
    }
    this.#sizes = sizes;
  }

  /** Which part of the chunks of a run's backlog that were not read is of blocked hosts, from 0 to 1. */
  #blockedShare(run: DispatchedRun, flows: Flow[], blocked: Set<string>): number {
    const waiting = flows.filter((flow) => flow.waiting.length > 0);
    if (!waiting.some((flow) => blocked.has(flow.host))) return 0;
    if (waiting.every((flow) => blocked.has(flow.host))) return 1;
    const weight = (flow: Flow) => sumOf(flow.waiting, (chunk) => this.#sizes.get(`${run.id} ${chunk}`) ?? 0);
    const total = sumOf(waiting, weight);
    const ofBlocked = waiting.filter((flow) => blocked.has(flow.host));
    return total === 0 ? ofBlocked.length / waiting.length : sumOf(ofBlocked, weight) / total;
  }
}

function sumOf<T>(all: Iterable<T>, of: (each: T) => number): number {
  let sum = 0;
  for (const each of all) sum += of(each);
  return sum;
}
