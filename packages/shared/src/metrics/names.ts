import { OUTCOMES } from "../outcome.js";
import type { Counters, Gauges, Histograms, Spans } from "../telemetry.js";

/**
 * Every metric that Drover tells, by the standards of Prometheus: base units, and labels with few, known values. Alerts,
 * dashboards and manifests use these names; tests hold them against this file.
 */

/** A metric: its name and what it says. */
export interface Metric {
  name: string;
  help: string;
}

/** A counter or gauge with labels. Histograms have upper bounds too. */
interface Labelled extends Metric {
  labels: readonly string[];
}
/** Prometheus sees no growth in a counter that appears with 1: values that alerts need are told from the beginning. */
interface Counted extends Labelled {
  /** Labels of the values that are 0 before anything is counted. Default: none, but for a counter without labels. */
  fromZero?: readonly Readonly<Record<string, string>>[];
}
interface Bucketed extends Labelled {
  buckets: readonly number[];
}

const SHORT_SECONDS = [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 5];
const REQUEST_SECONDS = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30];
const FILE_SECONDS = [0.01, 0.05, 0.1, 0.5, 1, 5, 15, 60, 300, 900, 3_600];
const LONG_SECONDS = [1, 5, 15, 60, 300, 900, 3_600, 14_400, 43_200, 86_400];
const SIZES = [1, 2, 5, 10, 25, 50, 100, 250, 500, 1_000];

/** Of this process, since it began. */
export const COUNTER_METRICS: Record<keyof Counters, Counted> = {
  "admission.answers": {
    name: "drover_admission_answers_total",
    help: "Answers to requests of workers to begin with a file.",
    labels: ["answer"],
    fromZero: ["admitted", "done", "cancelled", "busy", "blocked", "wait"].map((answer) => ({ answer })),
  },
  "files.settled": {
    name: "drover_files_settled_total",
    help: "Files that ended, by outcome. A file that several runs wait for counts once.",
    labels: ["outcome"],
    fromZero: OUTCOMES.map((outcome) => ({ outcome })),
  },
  "files.copied_bytes": {
    name: "drover_copied_bytes_total",
    help: "Bytes of the files that were copied.",
    labels: [],
  },
  "attempts.ended": {
    name: "drover_attempts_total",
    help: "Attempts at files, by operation, by outcome (`retried` if it is tried again) and by class of the error.",
    labels: ["operation", "outcome", "class"],
    fromZero: ["copy", "remove"].map((operation) => ({ operation, outcome: "failed", class: "poison" })),
  },
  "leases.lost": {
    name: "drover_leases_lost_total",
    help: "Leases that a worker had no longer, by the operation that found out.",
    labels: ["operation"],
    fromZero: ["renew", "settle", "release"].map((operation) => ({ operation })),
  },
  "breakers.opened": {
    name: "drover_breakers_opened_total",
    help: "Circuit breakers of hosts that opened.",
    labels: [],
  },
  "backlog.batches": {
    name: "drover_backlog_batches_total",
    help: "Batches of files registered with a run.",
    labels: [],
  },
  "queue.jobs_added": { name: "drover_jobs_added_total", help: "Jobs added to the queue.", labels: [] },
  "queue.jobs_finished": {
    name: "drover_jobs_finished_total",
    help: "Jobs taken out of the queue because their files ended.",
    labels: [],
  },
  "queue.jobs_stalled": {
    name: "drover_jobs_stalled_total",
    help: "Jobs whose worker was silent for too long, and that went back to the queue.",
    labels: [],
  },
  "runs.ended": { name: "drover_runs_ended_total", help: "Runs that ended.", labels: [] },
  "redis.connection": {
    name: "drover_redis_connection_changes_total",
    help: "Connections to Redis that broke (`away`) or came back (`back`).",
    labels: ["state"],
    fromZero: ["away", "back"].map((state) => ({ state })),
  },
  "redis.resent": {
    name: "drover_redis_resent_total",
    help: "Commands sent to Redis again after an interruption.",
    labels: [],
  },
  "events.received": {
    name: "drover_events_total",
    help: "Events of storages, by who sent them and what became of them.",
    labels: ["origin", "result"],
  },
};

/** Of this process, since it began. */
export const HISTOGRAM_METRICS: Record<keyof Histograms, Bucketed> = {
  "backlog.batch_files": {
    name: "drover_backlog_batch_files",
    help: "Files in a batch registered with a run.",
    labels: [],
    buckets: SIZES,
  },
  "redis.requests_per_call": {
    name: "drover_redis_requests_per_call",
    help: "Requests that shared a call to Redis.",
    labels: ["operation"],
    buckets: SIZES,
  },
  "files.seconds": {
    name: "drover_file_duration_seconds",
    help: "Time from the first attempt at a file to its end.",
    labels: ["operation", "outcome"],
    buckets: FILE_SECONDS,
  },
  "runs.seconds": {
    name: "drover_run_duration_seconds",
    help: "Time from the start of a run to its end.",
    labels: [],
    buckets: LONG_SECONDS,
  },
  "events.lag_seconds": {
    name: "drover_event_lag_seconds",
    help: "Time from a change in a storage, by its clock, to the arrival of its notification.",
    labels: [],
    buckets: LONG_SECONDS,
  },
  "events.wait_seconds": {
    name: "drover_event_wait_seconds",
    help: "Time from the arrival of an event to the run that acts on it.",
    labels: [],
    buckets: LONG_SECONDS,
  },
  "http.request_seconds": {
    name: "drover_http_request_duration_seconds",
    help: "Time of a request to the HTTP service.",
    labels: ["method", "route", "status"],
    buckets: REQUEST_SECONDS,
  },
};

/** Durations of operations of this process. */
export const SPAN_METRICS: Record<keyof Spans, Bucketed> = {
  "redis.script": {
    name: "drover_redis_script_duration_seconds",
    help: "Time of a script in Redis, with the wait for an absent Redis.",
    labels: ["operation", "result"],
    buckets: SHORT_SECONDS,
  },
};

/** Of this process, now. */
export const GAUGE_METRICS: Record<keyof Gauges, Labelled> = {
  "redis.connections_away": {
    name: "drover_redis_connections_away",
    help: "Connections to Redis that are being restored.",
    labels: [],
  },
  "http.event_streams": {
    name: "drover_http_event_streams",
    help: "Clients that follow runs by server-sent events.",
    labels: [],
  },
};

const of = (name: string, help: string, ...labels: string[]): Labelled => ({ name, help, labels });

/**
 * Of the whole fleet, now. Each server of the HTTP service tells them, and nobody else: every server says the same, so
 * that they are queried with max, never with sum.
 */
export const FLEET_METRICS = {
  queueJobs: of("drover_queue_jobs", "Jobs in the queue, by state.", "state"),
  backlogFiles: of("drover_backlog_files", "Files that are accepted and not in the queue yet."),
  scalingFiles: of(
    "drover_scaling_files",
    "Files that workers could carry now: in the queue or in the backlog, without those of blocked hosts.",
  ),
  oldestWaitingSeconds: of(
    "drover_oldest_waiting_seconds",
    "Age of the file whose turn is next; 0 where none waits.",
  ),
  workers: of("drover_workers", "Workers that are alive."),
  workerCapacity: of("drover_worker_capacity_files", "Files that the workers can carry at once."),
  filesInProgress: of("drover_files_in_progress", "Files that workers carry."),
  filesPerSecond: of("drover_files_per_second", "Files that ended in a second, on average of half a minute."),
  bytesPerSecond: of("drover_bytes_per_second", "Bytes copied in a second, on average of half a minute."),
  runs: of("drover_runs", "Runs that have not ended, by state.", "state"),
  breakers: of("drover_breakers", "Circuit breakers of hosts that are not closed, by state.", "state"),
  oldestBreakerSeconds: of(
    "drover_oldest_open_breaker_seconds",
    "Time since a host is blocked, the longest of all; 0 where none is.",
  ),
  dispatchPaused: of("drover_dispatch_paused", "1 while dispatch is paused."),
  catalogFiles: of("drover_catalog_files", "Files in the catalogs of all destinations."),
  eventsWaiting: of("drover_events_waiting", "Events that wait for a run."),
  oldestEventSeconds: of("drover_oldest_event_seconds", "Age of the oldest event that waits for a run."),
  deadLetters: of("drover_dead_letters", "Notifications that could not be understood, or acted on."),
  reconciledFiles: of(
    "drover_reconcile_repaired_files",
    "Files that the last periodic sync had to repair: no notification had told of them.",
  ),
  convergenceLagSeconds: of(
    "drover_convergence_lag_seconds",
    "How long the oldest difference that the last periodic sync found had been there.",
  ),
  reconciledAt: of("drover_reconcile_timestamp_seconds", "When the last periodic sync ended (Unix time)."),
  reconcileDue: of(
    "drover_reconcile_due_timestamp_seconds",
    "When the next periodic sync is due (Unix time): in the past if it is overdue.",
  ),
  reconcileInterval: of(
    "drover_reconcile_interval_seconds",
    "Time from one periodic sync to the next; not told where they follow a cron expression.",
  ),
  redisMemory: of("drover_redis_memory_bytes", "Memory that Redis uses."),
  redisMemoryLimit: of("drover_redis_memory_limit_bytes", "Memory that Redis may use; 0 for no limit."),
  redisEvicts: of(
    "drover_redis_evicts",
    "1 if Redis throws keys away when its memory is full: it would lose files.",
  ),
  redisPersistenceFails: of(
    "drover_redis_persistence_fails",
    "1 if Redis could not write its data to its disk the last time.",
  ),
} as const satisfies Record<string, Labelled>;

/** 1 if Redis can be used by this process, else 0. Every process tells it. */
export const REDIS_UP: Metric = {
  name: "drover_redis_up",
  help: "1 if this process can use Redis.",
};

/** Version of this process, in a label. */
export const BUILD_INFO: Labelled = of("drover_build_info", "1, with the version of Drover.", "version");

/** Free space of the file systems that a worker writes to, by its place among the worker's roots. */
export const ROOT_FREE_BYTES: Labelled = of(
  "drover_root_free_bytes",
  "Free space where a worker writes, by the position of the root among its --root options.",
  "root",
);
export const ROOT_SIZE_BYTES: Labelled = of(
  "drover_root_size_bytes",
  "Size of the file system where a worker writes, by the position of the root among its --root options.",
  "root",
);

/** Bytes received of the files that a worker carries now: while it changes, something moves, though nothing ends. */
export const IN_PROGRESS_BYTES: Metric = {
  name: "drover_in_progress_bytes",
  help: "Bytes received so far of the files that this worker carries.",
};

/** What prom-client tells of each process by itself, as far as dashboards show it. */
export const PROCESS_METRICS = {
  memory: of("drover_process_resident_memory_bytes", "Resident memory size in bytes."),
  cpuSeconds: of("drover_process_cpu_seconds_total", "Total user and system CPU time spent in seconds."),
  loopLagSeconds: of("drover_nodejs_eventloop_lag_p99_seconds", "The 99th percentile of event loop delays."),
} as const satisfies Record<string, Labelled>;
