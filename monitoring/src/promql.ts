import type { Metric } from "@drover/shared/metrics/names";

/** Expressions of PromQL, made of the metrics' own constants: a name that Drover does not tell cannot be written. */

interface Labelled extends Metric {
  labels?: readonly string[];
}

/** Labels that Prometheus adds to everything that it scrapes. */
export const TARGET_LABELS = ["job", "instance"];

/**
 * A metric with a selection of its labels.
 *
 * @param labels values by label; one that begins with `~` is a regular expression.
 * @throws Error if the metric has no such label.
 */
export function series({ name, labels: known = [] }: Labelled, labels: Record<string, string> = {}): string {
  const matchers = Object.entries(labels).map(([label, value]) => {
    if (![...known, ...TARGET_LABELS].includes(label)) throw new Error(`${name} has no label ${label}`);
    return value.startsWith("~") ? `${label}=~"${value.slice(1)}"` : `${label}="${value}"`;
  });
  return matchers.length === 0 ? name : `${name}{${matchers.join(",")}}`;
}

/** What the fleet tells: each server of the HTTP service says the same, so it is never summed. */
export function fleet(metric: Labelled, labels: Record<string, string> = {}): string {
  return `max(${series(metric, labels)})`;
}

/** The same, by one of its labels. */
export function fleetBy(label: string, metric: Labelled): string {
  return `max by (${label}) (${series(metric)})`;
}

/** What the counters of all processes grew by in a time such as `5m`. */
export function increase(metric: Labelled, over: string, labels: Record<string, string> = {}): string {
  return `sum(increase(${series(metric, labels)}[${over}]))`;
}

/** What the counters of all processes grow by in a second, by labels. */
export function rate(metric: Labelled, { by = [] as string[], labels = {} } = {}): string {
  const grouping = by.length === 0 ? "" : ` by (${by.join(", ")}) `;
  return `sum${grouping}(rate(${series(metric, labels)}[$__rate_interval]))`;
}

/** A quantile of a histogram over all processes. */
export function quantile(
  q: number,
  metric: Labelled,
  { over = "$__rate_interval", by = [] as string[] } = {},
): string {
  return `histogram_quantile(${q}, sum by (${["le", ...by].join(", ")}) (rate(${metric.name}_bucket[${over}])))`;
}
