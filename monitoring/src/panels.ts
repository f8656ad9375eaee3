import {
  BUILD_INFO,
  COUNTER_METRICS as COUNTERS,
  FLEET_METRICS as FLEET,
  GAUGE_METRICS as GAUGES,
  HISTOGRAM_METRICS as HISTOGRAMS,
  PROCESS_METRICS as PROCESS,
  REDIS_UP,
  ROOT_FREE_BYTES,
  ROOT_SIZE_BYTES,
  SPAN_METRICS as SPANS,
} from "@drover/shared/metrics/names";
import { fleet, fleetBy, quantile, rate, series } from "./promql.ts";
import { failureRatioIn } from "./recording.ts";

/** What the dashboards show. */

export interface Query {
  expression: string;
  /** Name of its lines; `{{label}}` stands for a label's value. */
  legend: string;
  /** When it has no data although all is well; undefined if it always has some. */
  emptyWhen?: string;
}

export interface Panel {
  title: string;
  /** `number` shows the latest values, `graph` all of them over time. */
  kind: "number" | "graph";
  /** As Grafana names units. */
  unit: string;
  queries: Query[];
  /** From this value on it is shown in red. */
  badFrom?: number;
}

export interface Row {
  title: string;
  panels: Panel[];
}

const number = (title: string, unit: string, expression: string, badFrom?: number): Panel => ({
  title,
  kind: "number",
  unit,
  queries: [{ expression, legend: title }],
  ...(badFrom === undefined ? {} : { badFrom }),
});
const graph = (title: string, unit: string, ...queries: Query[]): Panel => ({
  title,
  kind: "graph",
  unit,
  queries,
});
const line = (legend: string, expression: string, emptyWhen?: string): Query => ({
  expression,
  legend,
  ...(emptyWhen === undefined ? {} : { emptyWhen }),
});

const NO_PERIODIC_SYNC = "there is no periodic sync, or none has ended";
const NO_INTERVAL = "the periodic sync follows a cron expression, or there is none";
const NO_EVENTS = "no notification has come";
const NOTHING_ENDED = "no file has ended in this time";
const S3_ONLY = "workers write to S3 alone";

const settled = COUNTERS["files.settled"];
const attempts = COUNTERS["attempts.ended"];
const fileSeconds = HISTOGRAMS["files.seconds"];
const runSeconds = HISTOGRAMS["runs.seconds"];
const requestSeconds = HISTOGRAMS["http.request_seconds"];

export const FLEET_ROWS: Row[] = [
  {
    title: "Now",
    panels: [
      number("Files a second", "ops", fleet(FLEET.filesPerSecond)),
      number("Bytes a second", "Bps", fleet(FLEET.bytesPerSecond)),
      number("Oldest waiting", "s", fleet(FLEET.oldestWaitingSeconds), 3_600),
      number("Workers", "none", fleet(FLEET.workers)),
      number("Capacity", "none", fleet(FLEET.workerCapacity)),
      number("In progress", "none", fleet(FLEET.filesInProgress)),
      number("Dispatch paused", "bool_yes_no", fleet(FLEET.dispatchPaused), 1),
      number("Processes without Redis", "none", `count(${REDIS_UP.name} == 0) or vector(0)`, 1),
    ],
  },
  {
    title: "Work",
    panels: [
      graph("Jobs in the queue", "none", line("{{state}}", fleetBy("state", FLEET.queueJobs))),
      graph(
        "Files that wait",
        "none",
        line("backlog", fleet(FLEET.backlogFiles)),
        line("could be carried now", fleet(FLEET.scalingFiles)),
      ),
      graph("Files that ended", "ops", line("{{outcome}}", rate(settled, { by: ["outcome"] }))),
      graph("Bytes copied", "Bps", line("bytes", rate(COUNTERS["files.copied_bytes"]))),
      graph(
        "Failed part of files",
        "percentunit",
        line("5 minutes", failureRatioIn("5m"), NOTHING_ENDED),
        line("1 hour", failureRatioIn("1h"), NOTHING_ENDED),
        line("6 hours", failureRatioIn("6h"), NOTHING_ENDED),
      ),
      graph(
        "Attempts that did not succeed, by class",
        "ops",
        line(
          "{{class}}",
          rate(attempts, { by: ["class"], labels: { outcome: "~failed|blocked|locked|retried" } }),
        ),
      ),
      graph(
        "Workers",
        "none",
        line("alive", fleet(FLEET.workers)),
        line("capacity", fleet(FLEET.workerCapacity)),
        line("in progress", fleet(FLEET.filesInProgress)),
      ),
      graph(
        "Workers that fall silent",
        "ops",
        line("stalls", rate(COUNTERS["queue.jobs_stalled"])),
        line("leases lost: {{operation}}", rate(COUNTERS["leases.lost"], { by: ["operation"] })),
        line("poison", rate(attempts, { labels: { class: "poison" } })),
      ),
      graph(
        "Jobs",
        "ops",
        line("added", rate(COUNTERS["queue.jobs_added"])),
        line("finished", rate(COUNTERS["queue.jobs_finished"])),
      ),
    ],
  },
  {
    title: "Events",
    panels: [
      graph(
        "Notifications",
        "ops",
        line(
          "{{origin}} {{result}}",
          rate(COUNTERS["events.received"], { by: ["origin", "result"] }),
          NO_EVENTS,
        ),
      ),
      graph(
        "Waiting events",
        "none",
        line("waiting", fleet(FLEET.eventsWaiting)),
        line("dead letters", fleet(FLEET.deadLetters)),
      ),
      graph(
        "Delays of events, 95 %",
        "s",
        line("on the way here", quantile(0.95, HISTOGRAMS["events.lag_seconds"]), NO_EVENTS),
        line("until there is a run", quantile(0.95, HISTOGRAMS["events.wait_seconds"]), NO_EVENTS),
        line("oldest that waits", fleet(FLEET.oldestEventSeconds)),
      ),
      graph("Periodic sync", "none", line("files repaired", fleet(FLEET.reconciledFiles), NO_PERIODIC_SYNC)),
      graph(
        "Periodic sync, times",
        "s",
        line("oldest difference", fleet(FLEET.convergenceLagSeconds), NO_PERIODIC_SYNC),
        line("since the last one", `time() - ${fleet(FLEET.reconciledAt)}`, NO_PERIODIC_SYNC),
        line("until the next one", `${fleet(FLEET.reconcileDue)} - time()`, NO_PERIODIC_SYNC),
        line("interval", fleet(FLEET.reconcileInterval), NO_INTERVAL),
      ),
      graph("Files in the catalogs", "none", line("files", fleet(FLEET.catalogFiles))),
    ],
  },
  {
    title: "Redis",
    panels: [
      graph(
        "Memory",
        "bytes",
        line("used", fleet(FLEET.redisMemory)),
        line("limit", `${fleet(FLEET.redisMemoryLimit)} > 0`, "Redis has no limit"),
      ),
      graph(
        "Health",
        "none",
        line("it evicts", fleet(FLEET.redisEvicts)),
        line("it cannot write", fleet(FLEET.redisPersistenceFails)),
        line("connections away", `sum(${GAUGES["redis.connections_away"].name})`),
      ),
      graph(
        "Connections",
        "ops",
        line("{{state}}", rate(COUNTERS["redis.connection"], { by: ["state"] })),
        line("commands sent again", rate(COUNTERS["redis.resent"])),
      ),
      graph(
        "Scripts, 99 %",
        "s",
        line(
          "{{operation}}",
          quantile(0.99, SPANS["redis.script"], { by: ["operation"] }),
          "no script ran in this time",
        ),
      ),
      graph(
        "Requests that share a call, mean",
        "none",
        line("{{operation}}", meanOf(HISTOGRAMS["redis.requests_per_call"], "operation"), NOTHING_ENDED),
      ),
    ],
  },
  {
    title: "HTTP service",
    panels: [
      graph(
        "Requests",
        "reqps",
        line(
          "{{status}}",
          `sum by (status) (rate(${requestSeconds.name}_count[$__rate_interval]))`,
          "nobody but Prometheus has asked, and not yet twice",
        ),
      ),
      graph(
        "Duration of requests, 95 %",
        "s",
        line("{{route}}", quantile(0.95, requestSeconds, { by: ["route"] }), "no request in this time"),
      ),
      graph("Event streams", "none", line("clients", `sum(${GAUGES["http.event_streams"].name})`)),
    ],
  },
  {
    title: "Processes",
    panels: [
      graph("Memory", "bytes", line("{{job}} {{instance}}", series(PROCESS.memory))),
      graph(
        "Processors",
        "none",
        line("{{job}} {{instance}}", `rate(${PROCESS.cpuSeconds.name}[$__rate_interval])`),
      ),
      graph("Event loop lag, 99 %", "s", line("{{job}} {{instance}}", series(PROCESS.loopLagSeconds))),
      graph(
        "Free space where workers write",
        "percentunit",
        line("{{instance}} root {{root}}", `${ROOT_FREE_BYTES.name} / ${ROOT_SIZE_BYTES.name}`, S3_ONLY),
      ),
      graph("Versions", "none", line("{{version}}", `count by (version) (${BUILD_INFO.name})`)),
    ],
  },
];

export const RUN_ROWS: Row[] = [
  {
    title: "Runs",
    panels: [
      number("Running", "none", fleet(FLEET.runs, { state: "running" })),
      number("Interrupted", "none", fleet(FLEET.runs, { state: "interrupted" }), 1),
      graph("Runs that have not ended", "none", line("{{state}}", fleetBy("state", FLEET.runs))),
      graph("Runs that ended", "ops", line("runs", rate(COUNTERS["runs.ended"]))),
      graph(
        "Duration of runs",
        "s",
        line("half of them", quantile(0.5, runSeconds), "no run has ended in this time"),
        line("95 %", quantile(0.95, runSeconds), "no run has ended in this time"),
      ),
      graph("Files given to runs", "ops", line("batches", rate(COUNTERS["backlog.batches"]))),
      graph(
        "Files in a batch, mean",
        "none",
        line("files", meanOf(HISTOGRAMS["backlog.batch_files"]), "no batch in this time"),
      ),
    ],
  },
  {
    title: "Their files",
    panels: [
      graph("By outcome", "ops", line("{{outcome}}", rate(settled, { by: ["outcome"] }))),
      graph(
        "Failures by class",
        "ops",
        line("{{class}}", rate(attempts, { by: ["class"], labels: { outcome: "failed" } })),
      ),
      graph(
        "Tried again, by class",
        "ops",
        line(
          "{{class}}",
          rate(attempts, { by: ["class"], labels: { outcome: "retried" } }),
          "no attempt failed",
        ),
      ),
      graph(
        "Duration of a file, copied",
        "s",
        line("half of them", quantileOfCopied(0.5), NOTHING_ENDED),
        line("95 %", quantileOfCopied(0.95), NOTHING_ENDED),
      ),
      graph(
        "Duration of a file by outcome, 95 %",
        "s",
        line("{{outcome}}", quantile(0.95, fileSeconds, { by: ["outcome"] }), NOTHING_ENDED),
      ),
    ],
  },
];

export const HOST_ROWS: Row[] = [
  {
    title: "Breakers",
    panels: [
      number("Blocked hosts", "none", fleet(FLEET.breakers, { state: "open" }), 1),
      number("Hosts on trial", "none", fleet(FLEET.breakers, { state: "half-open" })),
      number("Blocked the longest", "s", fleet(FLEET.oldestBreakerSeconds), 3_600),
      graph("Breakers that are not closed", "none", line("{{state}}", fleetBy("state", FLEET.breakers))),
      graph("Breakers opened", "ops", line("opened", rate(COUNTERS["breakers.opened"]))),
      graph(
        "Files held back",
        "none",
        line(
          "backlog that nobody could carry now",
          `clamp_min(${fleet(FLEET.backlogFiles)} + sum(${fleetBy("state", FLEET.queueJobs)}) - ${fleet(FLEET.scalingFiles)}, 0)`,
        ),
      ),
    ],
  },
  {
    title: "Limits and admission",
    panels: [
      graph(
        "Answers to workers that want to begin a file",
        "ops",
        line("{{answer}}", rate(COUNTERS["admission.answers"], { by: ["answer"] })),
      ),
      graph(
        "What hosts do wrong",
        "ops",
        line(
          "{{class}}",
          rate(attempts, {
            by: ["class"],
            labels: { class: "~timeout|connect|dns|tls|proxy|protocol|server|throttled" },
          }),
          "no host failed",
        ),
      ),
      graph(
        "What hosts refuse",
        "ops",
        line(
          "{{class}}",
          rate(attempts, { by: ["class"], labels: { class: "~not-found|forbidden|http|redirect|address" } }),
          "no host refused anything",
        ),
      ),
      graph(
        "Files that arrive broken",
        "ops",
        line(
          "{{class}}",
          rate(attempts, {
            by: ["class"],
            labels: { class: "~truncated|changed|checksum|encoding|too-large" },
          }),
          "no file arrived broken",
        ),
      ),
    ],
  },
];

function quantileOfCopied(q: number): string {
  return `histogram_quantile(${q}, sum by (le) (rate(${fileSeconds.name}_bucket{operation="copy",outcome="copied"}[$__rate_interval])))`;
}

function meanOf({ name }: { name: string }, by?: string): string {
  const sum = (part: string) =>
    `sum${by === undefined ? "" : ` by (${by})`} (rate(${name}_${part}[$__rate_interval]))`;
  return `${sum("sum")} / (${sum("count")} > 0)`;
}
