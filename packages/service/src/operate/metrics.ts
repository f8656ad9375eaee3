import { messageOf } from "@drover/shared/errors";
import type { MetricsExporter, SetGauge } from "@drover/shared/metrics/exporter";
import { FLEET_METRICS } from "@drover/shared/metrics/names";
import { Catalog } from "@drover/shared/protocol/catalog";
import { redactText } from "@drover/shared/redact";
import type { Queue } from "bullmq";
import type { ServiceContext } from "../context.js";
import { type Route, route } from "../http/route.js";
import type { EventQueue } from "../intake/queue.js";
import type { PeriodicSync } from "../schedule/periodic.js";
import { lastRepairs } from "../schedule/repairs.js";
import { carried, type Overview, oldestWaitingMs, overviewOf } from "./overview.js";

/** The fleet is looked at once in this time at most, in milliseconds, however often it is asked for. */
const FRESH_MS = 2_000;
/** Redis has this time to answer, in milliseconds: then nothing is told of the fleet. */
const ANSWER_MS = 3_000;
/** Catalogs are counted with this interval, in milliseconds: each is 4,096 hashes. */
const CATALOG_MS = 300_000;
/** Catalogs that are counted. */
const MOST_TREES = 256;

type Gauges = Record<keyof typeof FLEET_METRICS, SetGauge>;

/** Sets the gauges of the whole fleet before the metrics are told. What is not known is not told. */
export class FleetMetrics {
  readonly #gauges: Gauges;
  #lookedMs = Number.NEGATIVE_INFINITY;
  #looking: Promise<void> | undefined;
  #catalogMs = Number.NEGATIVE_INFINITY;

  constructor(
    metrics: MetricsExporter,
    private readonly context: Pick<ServiceContext, "engine" | "log">,
    private readonly sources: { queue: Queue; events: EventQueue; periodic: PeriodicSync },
  ) {
    const gauges = Object.entries(FLEET_METRICS).map(([name, metric]) => [name, metrics.gauge(metric)]);
    this.#gauges = Object.fromEntries(gauges) as Gauges;
    this.#forget();
    metrics.beforeTelling(() => this.#refresh());
  }

  #forget(): void {
    for (const gauge of Object.values(this.#gauges)) gauge.forget();
    this.#lookedMs = Number.NEGATIVE_INFINITY;
    this.#catalogMs = Number.NEGATIVE_INFINITY;
  }

  async #refresh(): Promise<void> {
    if (performance.now() - this.#lookedMs < FRESH_MS) return;
    this.#looking ??= this.#look().finally(() => {
      this.#looking = undefined;
    });
    const late = Promise.withResolvers<void>();
    const timer = setTimeout(() => {
      this.#forget();
      late.resolve();
    }, ANSWER_MS);
    await Promise.race([this.#looking, late.promise]);
    clearTimeout(timer);
  }

  async #look(): Promise<void> {
    const { engine, log } = this.context;
    const { queue, events, periodic } = this.sources;
    try {
      const [overview, intake, repairs, due] = await Promise.all([
        overviewOf(engine, queue),
        events.state(),
        lastRepairs(engine),
        periodic.due(),
      ]);
      this.#tell(overview);
      this.#gauges.eventsWaiting.set(intake.waiting);
      const { oldestMs } = intake;
      this.#gauges.oldestEventSeconds.set(oldestMs === undefined ? 0 : secondsSince(oldestMs));
      this.#gauges.deadLetters.set(intake.deadLetters);
      if (repairs) {
        this.#gauges.reconciledFiles.set(repairs.copied + repairs.removed);
        this.#gauges.convergenceLagSeconds.set((repairs.lagMs ?? 0) / 1_000);
        this.#gauges.reconciledAt.set(repairs.endedMs / 1_000);
      }
      this.#gauges.reconcileDue.forget(); // the schedule may be gone
      this.#gauges.reconcileInterval.forget();
      if (due) this.#gauges.reconcileDue.set(due.atMs / 1_000);
      if (due?.everyMs !== undefined) this.#gauges.reconcileInterval.set(due.everyMs / 1_000);
      this.#countCatalogs().catch(() => this.#gauges.catalogFiles.forget()); // it is counted again later
      this.#lookedMs = performance.now();
    } catch (error) {
      this.#forget();
      log.warn({ error: redactText(messageOf(error)) }, "the metrics say nothing of the fleet");
    }
  }

  #tell(overview: Overview): void {
    const { leader, workers, queue, runs, redis } = overview;
    const gauges = this.#gauges;
    const sums = carried(workers);
    for (const [state, jobs] of Object.entries(queue)) gauges.queueJobs.set(jobs, { state });
    for (const [state, number] of Object.entries(runs)) gauges.runs.set(number, { state });
    gauges.backlogFiles.set(leader?.backlogFiles ?? overview.openFiles);
    gauges.scalingFiles.set(leader?.scalingFiles ?? overview.openFiles);
    gauges.oldestWaitingSeconds.set(oldestWaitingMs(overview) / 1_000);
    gauges.workers.set(workers.length);
    gauges.workerCapacity.set(sums.capacity);
    gauges.filesInProgress.set(sums.files);
    gauges.filesPerSecond.set(sums.filesPerSecond);
    gauges.bytesPerSecond.set(sums.bytesPerSecond);
    const hosts = leader?.hosts ?? [];
    for (const state of ["open", "half-open"])
      gauges.breakers.set(hosts.filter(({ breaker }) => breaker === state).length, { state });
    gauges.oldestBreakerSeconds.set(Math.max(0, ...hosts.map(({ sinceMs }) => secondsSince(sinceMs))));
    gauges.dispatchPaused.set(overview.pause === undefined ? 0 : 1);
    gauges.redisMemory.set(redis.usedBytes);
    gauges.redisMemoryLimit.set(redis.limitBytes);
    gauges.redisEvicts.set(redis.evicts ? 1 : 0);
    gauges.redisPersistenceFails.set(redis.persistenceFails ? 1 : 0);
  }

  async #countCatalogs(): Promise<void> {
    if (performance.now() - this.#catalogMs < CATALOG_MS) return;
    this.#catalogMs = performance.now();
    const { redis, keys } = this.context.engine;
    const catalog = new Catalog(redis, keys);
    let files = 0;
    for (const tree of (await catalog.trees()).slice(0, MOST_TREES)) files += await catalog.count(tree.id);
    this.#gauges.catalogFiles.set(files);
  }
}

function secondsSince(unixMs: number): number {
  return Math.max(Date.now() - unixMs, 0) / 1_000;
}

/** `/metrics`: what Prometheus reads. */
export function metricsRoute(metrics: MetricsExporter): Route {
  return route({
    method: "get",
    path: "/metrics",
    scope: "read",
    tag: "Status",
    summary: "Metrics of this process and of the fleet, for Prometheus",
    description:
      "What is the fleet's is told by each server alike: query it with max. While Redis is away only this process is told of, to those who need no token or have that of the environment.",
    answers: { 200: { description: "In Prometheus's text format.", contentType: "text/plain" } },
    needsNoRedis: true,
    async handle({ response }) {
      const text = await metrics.text();
      response.setHeader("Content-Type", metrics.contentType);
      response.end(text);
      return undefined;
    },
  });
}
