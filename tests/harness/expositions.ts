import { once } from "node:events";
import { createServer, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import {
  COUNTER_METRICS as COUNTERS,
  FLEET_METRICS as FLEET,
  HISTOGRAM_METRICS as HISTOGRAMS,
  IN_PROGRESS_BYTES,
  REDIS_UP,
  ROOT_FREE_BYTES,
  ROOT_SIZE_BYTES,
} from "@drover/shared/metrics/names";
import { series } from "../../monitoring/src/promql.ts";

/** Processes of a fleet, as far as Prometheus sees them. */
const TARGETS = ["api", "dashboard", "worker-1", "worker-2"] as const;
export type Target = (typeof TARGETS)[number];
/** What a process tells: values by series. */
export type Values = Readonly<Record<string, number>>;
/** What differs from a healthy fleet. */
export type Change = Partial<Record<Target, Values | "down">>;

const nowSeconds = () => Math.floor(Date.now() / 1_000);
const LAG = HISTOGRAMS["events.lag_seconds"];
const LAG_BOUNDS = [...LAG.buckets.map(String), "+Inf"];

/** Notifications that came within a time, of which Prometheus may know by an upper bound of the histogram. */
export function lagged(count: number, withinSeconds: number): Values {
  const buckets = LAG_BOUNDS.map((le) => [
    `${LAG.name}_bucket{le="${le}"}`,
    le === "+Inf" || Number(le) >= withinSeconds ? count : 0,
  ]);
  return { ...Object.fromEntries(buckets), [`${LAG.name}_count`]: count, [`${LAG.name}_sum`]: 0 };
}

/** Files that a worker ended. */
export const settled = (outcome: string, files: number): Values => ({
  [series(COUNTERS["files.settled"], { outcome })]: files,
});
/** Files that a worker gave up because workers died over it. */
export const poisoned = (files: number): Values => ({
  [series(COUNTERS["attempts.ended"], { operation: "copy", outcome: "failed", class: "poison" })]: files,
});
/** Events of a storage that were taken. */
export const accepted = (events: number): Values => ({
  [series(COUNTERS["events.received"], { origin: "aws", result: "accepted" })]: events,
});
/** Jobs in the queue that no worker has taken. */
export const waiting = (jobs: number): Values => ({ [series(FLEET.queueJobs, { state: "waiting" })]: jobs });
/** Free space of a worker's root, of 1,000 bytes. */
export const free = (sizeBytes: number): Values => ({ [series(ROOT_FREE_BYTES, { root: "0" })]: sizeBytes });

const API: () => Values = () => ({
  [REDIS_UP.name]: 1,
  ...Object.fromEntries(Object.values(FLEET).map(({ name }) => [name, 0])),
  ...waiting(0),
  [series(FLEET.queueJobs, { state: "active" })]: 0,
  [series(FLEET.queueJobs, { state: "delayed" })]: 0,
  [FLEET.workers.name]: 2,
  [FLEET.redisMemory.name]: 400,
  [FLEET.redisMemoryLimit.name]: 1_000,
  [FLEET.reconciledAt.name]: nowSeconds() - 600,
  [FLEET.reconcileDue.name]: nowSeconds() + 3_000,
  [FLEET.reconcileInterval.name]: 3_600,
  ...accepted(0),
  ...lagged(0, 1),
});
const WORKER: () => Values = () => ({
  [REDIS_UP.name]: 1,
  [IN_PROGRESS_BYTES.name]: 0,
  ...free(600),
  [series(ROOT_SIZE_BYTES, { root: "0" })]: 1_000,
  ...settled("copied", 0),
  ...settled("failed", 0),
  ...settled("blocked", 0),
  ...poisoned(0),
  [COUNTERS["queue.jobs_stalled"].name]: 0,
});
const HEALTHY: Record<Target, () => Values> = {
  api: API,
  dashboard: () => ({ [REDIS_UP.name]: 1 }),
  "worker-1": WORKER,
  "worker-2": WORKER,
};

/** Tells Prometheus what a fleet would: of a healthy one, until it is made to tell something else. */
export class Expositions {
  readonly #servers = new Map<Target, Server>();
  #change: Change = {};

  static async start(): Promise<Expositions> {
    const expositions = new Expositions();
    for (const target of TARGETS) {
      const server = createServer((_, response) => {
        const values = expositions.#change[target];
        if (values === "down") return void response.writeHead(503).end();
        const told = { ...HEALTHY[target](), ...values };
        const lines = Object.entries(told).map(([name, value]) => `${name} ${value}\n`);
        response.writeHead(200, { "content-type": "text/plain; version=0.0.4" }).end(lines.join(""));
      });
      server.listen(0, "127.0.0.1");
      await once(server, "listening");
      expositions.#servers.set(target, server);
    }
    return expositions;
  }

  /** `host:port` of a process. */
  at(target: Target): string {
    const server = this.#servers.get(target) as Server;
    return `127.0.0.1:${(server.address() as AddressInfo).port}`;
  }

  /** The jobs of Prometheus. */
  get jobs(): Record<string, string[]> {
    return {
      "drover-api": [this.at("api")],
      "drover-dashboard": [this.at("dashboard")],
      "drover-worker": [this.at("worker-1"), this.at("worker-2")],
    };
  }

  get count(): number {
    return TARGETS.length;
  }

  /** What is told from the next scrape on. */
  tell(change: Change): void {
    this.#change = change;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const server of this.#servers.values()) {
      server.close();
      server.closeAllConnections();
    }
  }
}

/** Several changes at once. */
export function together(...changes: readonly Change[]): Change {
  const all: Change = {};
  for (const change of changes)
    for (const [target, values] of Object.entries(change) as [Target, Values | "down"][]) {
      const before = all[target];
      all[target] = values === "down" || before === "down" ? "down" : { ...before, ...values };
    }
  return all;
}
