import { hostname } from "node:os";
import type { Engine } from "@drover/shared/engine";
import { errnoCode, SettingsError } from "@drover/shared/errors";
import type { Services } from "@drover/shared/storage/storage";
import { FleetWorker, type FleetWorkerOptions } from "./fleet-worker.js";
import { Health } from "./health.js";
import { Heartbeat } from "./heartbeat.js";

/** Without any byte of any file for so long a worker is thought stuck: longer than any stall is waited for. */
const STUCK_MS = 15 * 60_000;

/** Dispatches and sweeps for the fleet while nobody else does. The producer package has one: this one does not know it. */
export interface FleetLeader {
  /** Whether it is this worker that leads. */
  readonly leads: boolean;
  /** Gives the lead up, for another worker to take. */
  stop(): Promise<void>;
}

export interface WorkerOptions {
  /** The fleet's Redis. It stays the caller's, to be closed when the worker has stopped. */
  engine: Engine;
  /** Files that are carried at once. */
  concurrency: number;
  /** What files may be written below: directories that are there, `s3://bucket/prefix`. */
  roots: string[];
  /** The S3 services of the roots, as `planServices` of the producer package has them. Default none. */
  services?: Services;
  /** Port of `/healthz` and `/readyz`, 0 for any; undefined for none. */
  healthPort?: number | undefined;
  /** Told what happens to each file, as far as it is of interest. Default nothing. */
  events?: Partial<FleetWorkerOptions["events"]>;
  /** Told of errors of the queue itself, such as Redis being away. */
  onError(error: Error): void;
  /**
   * Starts what stands for leader on this worker's behalf: `startLeader` of the producer package.
   *
   * @param workerId names this worker in the fleet.
   */
  startLeader(workerId: string): FleetLeader;
}

/** A worker of a fleet, which takes files of all its runs. */
export interface RunningWorker {
  readonly id: string;
  /** Port of its health checks, where it has any. */
  readonly healthPort: number | undefined;
  /** Files that are on their way. */
  readonly files: number;
  /** Whether it was told to stop. */
  readonly draining: boolean;
  /**
   * Stops in order: nothing is taken any more, and what is unfinished after the deadline goes back to the queue.
   *
   * @param deadlineMs from now on.
   * @throws Error of Redis where the worker could not be taken off the list: it is listed for a while yet.
   */
  drain(deadlineMs: number): Promise<void>;
}

const UNWATCHED: FleetWorkerOptions["events"] = {
  started() {},
  waiting() {},
  retrying() {},
  settled() {},
  dropped() {},
};

/** Names this process among the workers of a fleet. */
export function workerId(): string {
  return `${hostname()}-${process.pid}`;
}

/**
 * Starts a worker of a fleet, which carries files of all its runs until it is drained. It carries nothing before its
 * health port is had. One process has one worker.
 *
 * @throws SettingsError where the health port is taken, or a root cannot be written below.
 */
export async function startWorker(options: WorkerOptions): Promise<RunningWorker> {
  const { engine, concurrency, roots } = options;
  const { redis, keys } = engine;
  const id = workerId();
  let draining = false;
  let worker: FleetWorker | undefined;
  const health = await listen(options.healthPort, {
    progress: () => worker?.carrying.map((each) => each.receivedBytes) ?? [],
    stuckMs: STUCK_MS,
    ready: () => worker !== undefined && redis.status === "ready" && worker.running && !draining,
  });
  const { services, events, onError } = options;
  const started = new FleetWorker({
    redis,
    keys,
    concurrency,
    roots,
    ...(services ? { services } : {}),
    events: { ...UNWATCHED, ...events },
    onError,
  });
  worker = started;
  const leader = options.startLeader(id);
  const heartbeat = new Heartbeat(redis, keys, id, () => ({
    concurrency,
    roots,
    leads: leader.leads,
    draining,
    carrying: started.carrying,
  }));
  await heartbeat.tell();
  return {
    id,
    healthPort: health?.port,
    get files() {
      return started.carrying.length;
    },
    get draining() {
      return draining;
    },
    async drain(deadlineMs) {
      draining = true;
      try {
        await Promise.all([leader.stop(), started.stop(deadlineMs)]);
        await heartbeat.end();
      } finally {
        health?.close();
      }
    },
  };
}

async function listen(
  port: number | undefined,
  checks: Parameters<typeof Health.listen>[1],
): Promise<Health | undefined> {
  if (port === undefined) return undefined;
  try {
    return await Health.listen(port, checks);
  } catch (error) {
    throw new SettingsError(`cannot listen on --health-port ${port} (${errnoCode(error)}): choose another`);
  }
}
