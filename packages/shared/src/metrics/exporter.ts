import { Counter, collectDefaultMetrics, Gauge, Histogram, Registry } from "prom-client";
import { listen, readGauges, type TelemetrySink } from "../telemetry.js";
import { droverVersion } from "../version.js";
import {
  BUILD_INFO,
  COUNTER_METRICS,
  GAUGE_METRICS,
  HISTOGRAM_METRICS,
  type Metric,
  REDIS_UP,
  SPAN_METRICS,
} from "./names.js";

const PREFIX = "drover_";
/** Gauges of prom-client with the ending of counters, which Prometheus' tools complain about; others tell the same by type. */
const MISNAMED = ["handles", "requests", "resources"].map((what) => `nodejs_active_${what}_total`);

/** A gauge that is set just before the metrics are told. */
export interface SetGauge {
  set(value: number, labels?: Record<string, string>): void;
  /** Forgets its values: what is not known is not told. */
  forget(): void;
}

/** Tells the telemetry of this process in the text format of Prometheus. There is one at a time in a thread. */
export class MetricsExporter {
  readonly #registry = new Registry();
  readonly #refreshers: (() => void | Promise<void>)[] = [];
  readonly #unlisten: () => void;

  constructor() {
    const registers = [this.#registry];
    collectDefaultMetrics({ register: this.#registry, prefix: PREFIX });
    for (const name of MISNAMED) this.#registry.removeSingleMetric(PREFIX + name);
    const [counters, histograms, spans] = [
      mapped(COUNTER_METRICS, (metric) => counter(metric, registers)),
      mapped(HISTOGRAM_METRICS, (metric) => histogram(metric, registers)),
      mapped(SPAN_METRICS, (metric) => histogram(metric, registers)),
    ];
    const sink: TelemetrySink = {
      count: (name, by, labels) => counters[name].inc(labels, by),
      observe: (name, value, labels) => histograms[name].observe(labels, value),
      startSpan: (name, labels) => {
        const startMs = performance.now();
        return {
          end: (error) => {
            const result = error === undefined ? "ok" : "error";
            spans[name].observe({ ...labels, result }, (performance.now() - startMs) / 1_000);
          },
        };
      },
    };
    this.#unlisten = listen(sink);
    this.gauge(BUILD_INFO).set(1, { version: droverVersion() });
    const gauges = mapped(GAUGE_METRICS, (metric) => this.gauge(metric));
    const redisUp = this.gauge(REDIS_UP);
    this.#refreshers.push(() => {
      for (const gauge of Object.values(gauges)) gauge.set(0);
      const sums = new Map<keyof typeof gauges, number>();
      for (const { name, value } of readGauges()) sums.set(name, (sums.get(name) ?? 0) + value);
      for (const [name, sum] of sums) gauges[name].set(sum);
      redisUp.set((sums.get("redis.connections_away") ?? 0) > 0 ? 0 : 1);
    });
  }

  /** Adds a gauge. */
  gauge({ name, help, labels = [] }: Metric & { labels?: readonly string[] }): SetGauge {
    const gauge = new Gauge({ name, help, labelNames: [...labels], registers: [this.#registry] });
    return {
      set: (value, of = {}) => gauge.set(of, value),
      // Reset, a gauge without labels is 0, which is a value.
      forget: () => (labels.length === 0 ? gauge.remove() : gauge.reset()),
    };
  }

  /** Adds what is called before the metrics are told, to set gauges. It must not throw. */
  beforeTelling(refresh: () => void | Promise<void>): void {
    this.#refreshers.push(refresh);
  }

  /** Content-Type of the text. */
  get contentType(): string {
    return this.#registry.contentType;
  }

  /** All metrics, as Prometheus reads them. */
  async text(): Promise<string> {
    await Promise.all(this.#refreshers.map((refresh) => refresh()));
    return await this.#registry.metrics();
  }

  close(): void {
    this.#unlisten();
    this.#registry.clear();
  }
}

function mapped<Name extends string, From, To>(
  table: Record<Name, From>,
  to: (from: From) => To,
): Record<Name, To> {
  const entries = Object.entries<From>(table).map(([name, from]) => [name, to(from)]);
  return Object.fromEntries(entries) as Record<Name, To>;
}

type Described = Metric & { labels: readonly string[] };

function counter(
  {
    name,
    help,
    labels,
    fromZero = [],
  }: Described & { fromZero?: readonly Readonly<Record<string, string>>[] },
  registers: Registry[],
): Counter {
  const counter = new Counter({ name, help, labelNames: [...labels], registers });
  for (const values of fromZero) counter.inc(values, 0);
  return counter;
}

function histogram(
  { name, help, labels, buckets }: Described & { buckets: readonly number[] },
  registers: Registry[],
): Histogram {
  return new Histogram({ name, help, labelNames: [...labels], buckets: [...buckets], registers });
}
