import { hostname } from "node:os";
import type { Engine } from "@drover/shared/engine";
import { errnoCode, SettingsError } from "@drover/shared/errors";
import type { MetricsExporter } from "@drover/shared/metrics/exporter";
import { setHostLimits } from "@drover/shared/protocol/host-limits";
import { AddressGuard } from "@drover/shared/storage/http/guard";
import { STORAGES } from "@drover/shared/storage/registry";
import type { Services } from "@drover/shared/storage/storage";
import { type FleetEvents, FleetWorker } from "./fleet-worker.js";
import { Health } from "./health.js";
import { Heartbeat } from "./heartbeat.js";
import { Rate } from "./rate.js";
import { tellWorker } from "./worker-metrics.js";

/** Time in ms without progress after which a worker counts as stuck; longer than any stall timeout in use. */
const STUCK_MS = 15 * 60_000;

/**
 * Dispatches and sweeps for the fleet if elected. The producer package implements it; this package does not
 * depend on it.
 */
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
  /** Roots of allowed destinations: existing directories or `s3://bucket/prefix`. */
  roots: string[];
  /** How the roots are reached: see `planServices` of the producer package. Default none. */
  services?: Services;
  /** Host limits to set for the whole fleet, as `parseHostLimit` of the producer package has them. Default none. */
  hostLimits?: Parameters<typeof setHostLimits>[2];
  /**
   * What the URLs of guarded runs may lead to beside public addresses: `CIDR`, `address`, `host`, the latter two with a
   * port or without; or `proxy`, for the proxies of the environment. Default none.
   */
  allowAddresses?: string[];
  /** Port of `/healthz`, `/readyz` and `/metrics`; 0 for any, undefined for none. With it, this process's telemetry is taken. */
  healthPort?: number | undefined;
  /** Is to tell of this worker too, where its process has an exporter already. Default none. */
  metrics?: MetricsExporter;
  /** Callbacks for the progress of files. Default none. */
  events?: Partial<FleetEvents>;
  /** Called with errors of the queue itself, such as Redis being away. */
  onError(error: Error): void;
  /**
   * Starts what stands for leader on this worker's behalf: `startLeader` of the producer package.
   *
   * @param workerId names this worker in the fleet.
   */
  startLeader(workerId: string): FleetLeader;
}

/** A worker of a fleet, which carries files of all its runs. */
export interface RunningWorker {
  readonly id: string;
  /** Port of its health checks; undefined if there are none. */
  readonly healthPort: number | undefined;
  /** Number of files in progress. */
  readonly files: number;
  /** Whether it was told to stop. */
  readonly draining: boolean;
  /**
   * Stops in an orderly way: no more jobs are taken, and files unfinished after the deadline return to the
   * queue.
   *
   * @param deadlineMs time for files in progress to finish.
   * @returns the error of Redis if the worker could not be deregistered: it stays listed until its heartbeat expires.
   */
  drain(deadlineMs: number): Promise<Error | undefined>;
}

const UNWATCHED: FleetEvents = {
  started() {},
  waiting() {},
  retrying() {},
  settled() {},
  dropped() {},
};

/** Name of this process among the workers of a fleet. */
export function workerId(): string {
  return `${hostname()}-${process.pid}`;
}

/**
 * Starts a worker of a fleet. It takes no files until its health port is open. One process has one worker.
 *
 * @throws SettingsError if the health port is taken, a root cannot be written below, or an address cannot be allowed.
 */
export async function startWorker(options: WorkerOptions): Promise<RunningWorker> {
  const { engine, concurrency, roots } = options;
  const { redis, keys } = engine;
  const id = workerId();
  const guard = new AddressGuard(options.allowAddresses);
  let draining = false;
  let worker: FleetWorker | undefined;
  const rate = new Rate();
  const progress = () => worker?.carrying.map((each) => each.receivedBytes) ?? [];
  if (options.metrics) tellWorker(options.metrics, roots, progress);
  const health = await listen(options.healthPort, roots, {
    progress,
    waitsForRedis: () => redis.status !== "ready",
    stuckMs: STUCK_MS,
    ready: () => worker !== undefined && redis.status === "ready" && worker.running && !draining,
  });
  const { services, events, onError } = options;
  let leader: FleetLeader | undefined;
  let heartbeat: Heartbeat | undefined;
  let started: FleetWorker;
  try {
    await setHostLimits(redis, keys, options.hostLimits ?? []);
    // What reads a storage is loaded now: the files of an upgrade may stand there when the first of its jobs comes.
    await Promise.all(STORAGES.map((storage) => storage.loadSources()));
    started = new FleetWorker({
      redis,
      keys,
      concurrency,
      roots,
      ...(services ? { services } : {}),
      guard,
      events: {
        ...UNWATCHED,
        ...events,
        settled(outcome, job) {
          rate.add(outcome.outcome === "copied" ? outcome.bytes : 0);
          events?.settled?.(outcome, job);
        },
      },
      onError,
    });
    worker = started;
    leader = options.startLeader(id);
    heartbeat = new Heartbeat(redis, keys, id, () => ({
      concurrency,
      roots,
      leads: leader?.leads ?? false,
      draining,
      perSecond: rate.perSecond,
      carrying: started.carrying,
    }));
    await heartbeat.tell();
  } catch (error) {
    health?.close(); // else it would say that all is well
    await Promise.allSettled([leader?.stop(), worker?.stop(0), heartbeat?.end()]);
    throw error;
  }
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
        await Promise.all([leader?.stop(), started.stop(deadlineMs)]);
        return await heartbeat?.end().then(
          () => undefined,
          (error: Error) => error,
        );
      } finally {
        health?.close();
      }
    },
  };
}

async function listen(
  port: number | undefined,
  roots: string[],
  checks: Omit<Parameters<typeof Health.listen>[1], "metrics">,
): Promise<Health | undefined> {
  if (port === undefined) return undefined;
  const { MetricsExporter } = await import("@drover/shared/metrics/exporter");
  const metrics = new MetricsExporter();
  tellWorker(metrics, roots, checks.progress);
  try {
    return await Health.listen(port, { ...checks, metrics });
  } catch (error) {
    metrics.close();
    throw new SettingsError(`cannot listen on --health-port ${port} (${errnoCode(error)}): choose another`);
  }
}
