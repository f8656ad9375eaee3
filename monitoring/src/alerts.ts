import {
  COUNTER_METRICS,
  FLEET_METRICS as FLEET,
  HISTOGRAM_METRICS,
  IN_PROGRESS_BYTES,
  REDIS_UP,
  ROOT_FREE_BYTES,
  ROOT_SIZE_BYTES,
} from "@drover/shared/metrics/names";
import { fleet, fleetBy, increase, quantile, series } from "./promql.ts";
import { endedIn, failureRatioIn } from "./recording.ts";

/**
 * Every alert of Drover: Prometheus' rules, Grafana's rules, their inhibition, and the tests of all of them come from
 * this table. What an operator is to do is in `docs/runbooks/`.
 */

export interface Alert {
  name: string;
  /** Of its runbook, below `docs/runbooks/`. */
  runbook: string;
  /** `page` wakes somebody; `ticket` is for the next working day. */
  severity: "page" | "ticket";
  /** In PromQL: it gives a series for each thing that is wrong. */
  expression: string;
  /** How long it has to be so, as Prometheus writes times. */
  for: string;
  /** One sentence, without values. */
  summary: string;
  /** A sentence with the value of the expression in the place of `{value}`. */
  description?: {
    text: string;
    format: "humanize" | "humanize1024" | "humanizeDuration" | "humanizePercentage";
  };
  /** Names of alerts that explain this one: while they fire it is silent. */
  silencedBy: readonly string[];
}

const REDIS_DOWN = "DroverRedisDown";
const API_DOWN = "DroverApiDown";

/** Part of files that may fail in the long run. */
const BUDGET = 0.01;
/** Fewer files than these in an hour, or in six, wake nobody: one bad file of three at night is no trend. */
const LEAST_FILES_1H = 100;
const LEAST_FILES_6H = 300;

const up = (job: string) => `up{job="${job}"}`;
const notPaused = `${fleet(FLEET.dispatchPaused)} == 0`;
const receivesEvents = `${increase(COUNTER_METRICS["events.received"], "1d", { result: "accepted" })} > 0`;

/** Files wait that workers could take, although the leader has still to put them into the queue. */
const readyFiles = `(${fleet(FLEET.queueJobs, { state: "waiting" })} > 0 or ${fleet(FLEET.scalingFiles)} - sum(${fleetBy("state", FLEET.queueJobs)}) > 0)`;

/** Failures burn the budget this many times as fast as it lasts, over a long window and, still, over a short one. */
function burns(times: number, long: "1h" | "6h", short: "5m" | "30m", leastFiles: number): string {
  const most = Math.round(times * BUDGET * 1_000) / 1_000;
  return `${failureRatioIn(long)} > ${most} and ${failureRatioIn(short)} > ${most} and ${endedIn(long)} >= ${leastFiles}`;
}

const TABLE = [
  {
    name: REDIS_DOWN,
    runbook: "redis-down",
    severity: "page",
    expression: `${fleet(REDIS_UP)} == 0`,
    for: "1m",
    summary: "No process of Drover can use Redis: nothing moves until it is back",
    silencedBy: [],
  },
  {
    name: "DroverRedisUnreachable",
    runbook: "redis-unreachable",
    severity: "ticket",
    expression: `${series(REDIS_UP)} == 0`,
    for: "5m",
    summary: "A process cannot use Redis, though it is alive",
  },
  {
    name: "DroverRedisMemoryHigh",
    runbook: "redis-memory",
    severity: "page",
    expression: `${fleet(FLEET.redisMemory)} / (${fleet(FLEET.redisMemoryLimit)} > 0) > 0.9`,
    for: "5m",
    summary: "Redis's memory is nearly full: when it is, it refuses all that is new",
    description: { text: "{value} of the limit is used.", format: "humanizePercentage" },
  },
  {
    name: "DroverRedisEvicts",
    runbook: "redis-policy",
    severity: "page",
    expression: `${fleet(FLEET.redisEvicts)} == 1`,
    for: "5m",
    summary: "Redis throws keys away when its memory is full: it would lose files",
  },
  {
    name: "DroverRedisPersistenceFails",
    runbook: "redis-persistence",
    severity: "page",
    expression: `${fleet(FLEET.redisPersistenceFails)} == 1`,
    for: "5m",
    summary: "Redis cannot write to its disk: a restart would lose what it has taken since",
  },
  {
    name: API_DOWN,
    runbook: "api-down",
    severity: "page",
    expression: `max(${up("drover-api")}) == 0 or absent(${up("drover-api")})`,
    for: "2m",
    summary: "No server of the HTTP service answers: nothing is known of the fleet",
  },
  {
    name: "DroverServerDown",
    runbook: "server-down",
    severity: "ticket",
    expression: `up{job=~"drover-api|drover-dashboard"} == 0`,
    for: "10m",
    summary: "A server of the HTTP service or of the dashboard does not answer",
    silencedBy: [REDIS_DOWN, API_DOWN],
  },
  {
    name: "DroverWorkerDown",
    runbook: "worker-down",
    severity: "ticket",
    expression: `${up("drover-worker")} == 0`,
    for: "10m",
    summary: "A worker's health port does not answer",
  },
  {
    name: "DroverNoWorkers",
    runbook: "no-workers",
    severity: "page",
    expression: `${fleet(FLEET.workers)} == 0 or absent(${FLEET.workers.name})`,
    for: "5m",
    summary: "No worker is alive, or nobody tells of any: no file is carried",
    silencedBy: [REDIS_DOWN, API_DOWN],
  },
  {
    name: "DroverQueueStuck",
    runbook: "queue-stuck",
    severity: "page",
    expression: [
      readyFiles,
      `and ${notPaused} and ${fleet(FLEET.workers)} > 0`,
      `unless ${fleet(FLEET.filesPerSecond)} > 0`,
      `unless ${increase(COUNTER_METRICS["files.settled"], "5m")} > 0`,
      `unless sum(changes(${IN_PROGRESS_BYTES.name}[5m])) > 0`,
    ].join(" "),
    for: "10m",
    summary: "Files wait, workers are alive, and nothing ends or moves",
    description: { text: "{value} files wait.", format: "humanize" },
    silencedBy: [REDIS_DOWN, "DroverNoWorkers"],
  },
  {
    name: "DroverOldestWaiting",
    runbook: "oldest-waiting",
    severity: "ticket",
    expression: `${fleet(FLEET.oldestWaitingSeconds)} > 3600 and ${notPaused}`,
    for: "15m",
    summary: "Files wait for a long time: the fleet is slower than what comes in",
    description: { text: "The next one has waited for {value}.", format: "humanizeDuration" },
    silencedBy: [REDIS_DOWN, "DroverNoWorkers", "DroverQueueStuck"],
  },
  {
    name: "DroverFailuresHigh",
    runbook: "failures",
    severity: "page",
    expression: burns(14.4, "1h", "5m", LEAST_FILES_1H),
    for: "2m",
    summary: "Many files of the last hour failed, and they still do",
    description: { text: "{value} of them failed.", format: "humanizePercentage" },
  },
  {
    name: "DroverFailuresElevated",
    runbook: "failures",
    severity: "ticket",
    expression: burns(6, "6h", "30m", LEAST_FILES_6H),
    for: "15m",
    summary: "More files than usual have failed for hours",
    description: { text: "{value} of the last six hours' files failed.", format: "humanizePercentage" },
    silencedBy: [REDIS_DOWN, "DroverFailuresHigh"],
  },
  {
    name: "DroverFailedGrowth",
    runbook: "failed-growth",
    severity: "ticket",
    expression: `round(${increase(COUNTER_METRICS["files.settled"], "1h", { outcome: "failed" })}) > 1000`,
    for: "15m",
    summary: "The list of failed files grows fast, however small their part is",
    description: { text: "{value} files failed within an hour.", format: "humanize" },
    silencedBy: [REDIS_DOWN, "DroverFailuresHigh"],
  },
  {
    name: "DroverStalls",
    runbook: "stalls",
    severity: "ticket",
    expression: `round(${increase(COUNTER_METRICS["queue.jobs_stalled"], "1h")}) > 20`,
    for: "5m",
    summary: "Workers fall silent while they carry files: they are killed, starved or cut off",
    description: { text: "{value} files went back to the queue within an hour.", format: "humanize" },
  },
  {
    name: "DroverPoisonFiles",
    runbook: "poison-files",
    severity: "ticket",
    expression: `round(${increase(COUNTER_METRICS["attempts.ended"], "1h", { class: "poison" })}) > 0`,
    for: "5m",
    summary: "A file was given up because worker after worker died over it",
    description: { text: "Files within an hour: {value}.", format: "humanize" },
  },
  {
    name: "DroverBreakerOpenLong",
    runbook: "breaker-open",
    severity: "ticket",
    expression: `${fleet(FLEET.oldestBreakerSeconds)} > 3600`,
    for: "5m",
    summary: "A host has been blocked for more than an hour, and its files wait",
    description: { text: "It has been blocked for {value}.", format: "humanizeDuration" },
  },
  {
    name: "DroverReconcileDrift",
    runbook: "reconcile-drift",
    severity: "ticket",
    expression: `${fleet(FLEET.reconciledFiles)} > 100 and ${receivesEvents}`,
    for: "10m",
    summary: "The last periodic sync had to repair many files: notifications are lost",
    description: { text: "It repaired {value} files.", format: "humanize" },
  },
  {
    name: "DroverConvergenceLag",
    runbook: "convergence-lag",
    severity: "ticket",
    expression: `${fleet(FLEET.convergenceLagSeconds)} > 7200 and ${receivesEvents}`,
    for: "10m",
    summary: "Source and destination differed for hours before a periodic sync found it",
    description: { text: "The oldest difference had been there for {value}.", format: "humanizeDuration" },
  },
  {
    name: "DroverPeriodicSyncOverdue",
    runbook: "periodic-sync-overdue",
    severity: "ticket",
    expression: [
      `(time() - ${fleet(FLEET.reconcileDue)} > 3600`,
      `or time() - ${fleet(FLEET.reconciledAt)} > 3 * ${fleet(FLEET.reconcileInterval)} + 3600)`,
      `and ${notPaused}`,
    ].join(" "),
    for: "30m",
    summary: "The periodic sync does not begin, or none has ended for three intervals",
    description: { text: "For {value}.", format: "humanizeDuration" },
  },
  {
    name: "DroverDeadLettersGrow",
    runbook: "dead-letters",
    severity: "ticket",
    expression: `${fleet(FLEET.deadLetters)} - min(min_over_time(${FLEET.deadLetters.name}[1h])) > 0`,
    for: "5m",
    summary: "Notifications come that cannot be understood, or acted on",
    description: { text: "{value} more within an hour.", format: "humanize" },
  },
  {
    name: "DroverEventsWait",
    runbook: "events-wait",
    severity: "page",
    expression: `${fleet(FLEET.oldestEventSeconds)} > 1800 and ${notPaused}`,
    for: "10m",
    summary: "Events wait and no run is made of them",
    description: { text: "The oldest has waited for {value}.", format: "humanizeDuration" },
  },
  {
    name: "DroverEventLag",
    runbook: "event-lag",
    severity: "ticket",
    expression: `${quantile(0.95, HISTOGRAM_METRICS["events.lag_seconds"], { over: "30m" })} > 900 and sum(increase(${HISTOGRAM_METRICS["events.lag_seconds"].name}_count[30m])) > 20`,
    for: "15m",
    summary: "Notifications arrive long after the change that they tell of",
    description: { text: "One in twenty takes more than {value}.", format: "humanizeDuration" },
  },
  {
    name: "DroverDiskLow",
    runbook: "disk-space",
    severity: "ticket",
    expression: `${ROOT_FREE_BYTES.name} / ${ROOT_SIZE_BYTES.name} < 0.15`,
    for: "15m",
    summary: "Little space is left where a worker writes its files and their staging",
    description: { text: "{value} is free.", format: "humanizePercentage" },
    silencedBy: [REDIS_DOWN, "DroverDiskFull"],
  },
  {
    name: "DroverDiskFull",
    runbook: "disk-space",
    severity: "page",
    expression: `${ROOT_FREE_BYTES.name} / ${ROOT_SIZE_BYTES.name} < 0.05`,
    for: "5m",
    summary: "Hardly any space is left where a worker writes its files and their staging",
    description: { text: "{value} is free.", format: "humanizePercentage" },
  },
  {
    name: "DroverDispatchPausedLong",
    runbook: "dispatch-paused",
    severity: "ticket",
    expression: `${fleet(FLEET.dispatchPaused)} == 1`,
    for: "1d",
    summary: "Dispatch has been paused for a day",
  },
] as const satisfies (Omit<Alert, "silencedBy"> & { silencedBy?: readonly string[] })[];

export type AlertName = (typeof TABLE)[number]["name"];

/** All alerts. Redis being away explains every other one, unless it is said otherwise. */
export const ALERTS: readonly (Alert & { name: AlertName })[] = TABLE.map((alert) => ({
  silencedBy: [REDIS_DOWN],
  ...alert,
}));
