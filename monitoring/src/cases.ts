import {
  COUNTER_METRICS as COUNTERS,
  FLEET_METRICS as FLEET,
  HISTOGRAM_METRICS as HISTOGRAMS,
  IN_PROGRESS_BYTES,
  REDIS_UP,
  ROOT_FREE_BYTES,
  ROOT_SIZE_BYTES,
} from "@drover/shared/metrics/names";
import type { AlertName } from "./alerts.ts";
import { series } from "./promql.ts";

/** For each alert: when it fires, when it does not, and what it makes of series that are missing. */

export interface Case {
  /** What is the case, in a few words. */
  when: string;
  /** Series and their values, one a minute, as promtool writes them: `5x60` is 5 and sixty more of it. */
  series: [series: string, values: string][];
  /** When it is looked at, from the begin of the series. */
  at: string;
  /** The alerts that fire then: their labels beside the severity, and the value as it is shown. Default none. */
  firing?: { labels?: Record<string, string>; value?: string }[];
}

export interface Cases {
  fires: Case[];
  quiet: Case[];
  missing: Case[];
}

type Labels = Record<string, string>;
type Metric = Parameters<typeof series>[0];

/** Two servers of the HTTP service, which tell the same of the fleet. */
function api(metric: Metric, values: string, labels: Labels = {}): Case["series"] {
  return ["api-1", "api-2"].map((instance) => [
    series(metric, { ...labels, job: "drover-api", instance }),
    values,
  ]);
}

/** A worker's own. */
function worker(metric: Metric, values: string, labels: Labels = {}, instance = "worker-1"): Case["series"] {
  return [[series(metric, { ...labels, job: "drover-worker", instance }), values]];
}

function up(job: string, instance: string, values: string): Case["series"] {
  return [[`up{job="${job}",instance="${instance}"}`, values]];
}

const nothing = (at: string): Case => ({ when: "nothing is told at all", series: [], at });

const settled = (values: string, outcome = "copied") =>
  worker(COUNTERS["files.settled"], values, { outcome });
const received = (values: string): Case["series"] =>
  api(COUNTERS["events.received"], values, { origin: "aws", result: "accepted" });

/** Files wait, and workers are there. */
const waiting = [
  ...api(FLEET.queueJobs, "5x120", { state: "waiting" }),
  ...api(FLEET.queueJobs, "0x120", { state: "active" }),
  ...api(FLEET.queueJobs, "0x120", { state: "delayed" }),
  ...api(FLEET.scalingFiles, "5x120"),
  ...api(FLEET.workers, "2x120"),
  ...api(FLEET.filesPerSecond, "0x120"),
];
const paused = (value: 0 | 1) => api(FLEET.dispatchPaused, `${value}x1600`);

/** A gauge of the fleet against a limit. */
function beyond(
  metric: Metric,
  {
    over,
    under,
    at = "60m",
    value,
    and = [] as Case["series"],
  }: {
    over: number;
    under: number;
    at?: string;
    value?: string;
    and?: Case["series"];
  },
): Cases {
  return {
    fires: [
      {
        when: `${over} is too much`,
        series: [...api(metric, `${over}x120`), ...and],
        at,
        firing: [value === undefined ? {} : { value }],
      },
    ],
    quiet: [{ when: `${under} is not`, series: [...api(metric, `${under}x120`), ...and], at }],
    missing: [{ when: "the gauge is not told", series: and, at }, nothing(at)],
  };
}

const disk = (free: string, size = "1000x120"): Case["series"] => [
  ...worker(ROOT_FREE_BYTES, free, { root: "0" }),
  ...worker(ROOT_SIZE_BYTES, size, { root: "0" }),
];
const ofDisk = { job: "drover-worker", instance: "worker-1", root: "0" };

const lagBuckets = (perMinute: number, lateBucket: string): Case["series"] =>
  ["1", "900", "3600", "+Inf"].map((le) => {
    const isIn = le === "+Inf" || Number(le) >= Number(lateBucket);
    const name = `${HISTOGRAMS["events.lag_seconds"].name}_bucket{job="drover-api",instance="api-1",le="${le}"}`;
    return [name, isIn ? `0+${perMinute}x120` : "0x120"] as [string, string];
  });
const lagCount = (perMinute: number): Case["series"] => [
  [`${HISTOGRAMS["events.lag_seconds"].name}_count{job="drover-api",instance="api-1"}`, `0+${perMinute}x120`],
];

export const CASES: Record<AlertName, Cases> = {
  DroverRedisDown: {
    fires: [
      {
        when: "nobody can use it",
        series: [...api(REDIS_UP, "1x5 0x20"), ...worker(REDIS_UP, "1x5 0x20")],
        at: "10m",
        firing: [{}],
      },
    ],
    quiet: [
      { when: "one can", series: [...api(REDIS_UP, "0x20"), ...worker(REDIS_UP, "1x20")], at: "10m" },
      { when: "it is away for a moment", series: api(REDIS_UP, "1x5 0 1x20"), at: "6m" },
    ],
    missing: [nothing("10m")],
  },
  DroverRedisUnreachable: {
    fires: [
      {
        when: "one process cannot use it",
        series: [...api(REDIS_UP, "1x20"), ...worker(REDIS_UP, "0x20")],
        at: "10m",
        firing: [{ labels: { job: "drover-worker", instance: "worker-1" } }],
      },
    ],
    quiet: [{ when: "all can", series: [...api(REDIS_UP, "1x20"), ...worker(REDIS_UP, "1x20")], at: "10m" }],
    missing: [nothing("10m")],
  },
  DroverRedisMemoryHigh: {
    fires: [
      {
        when: "95 % is used",
        series: [...api(FLEET.redisMemory, "95x20"), ...api(FLEET.redisMemoryLimit, "100x20")],
        at: "10m",
        firing: [{ value: "95%" }],
      },
    ],
    quiet: [
      {
        when: "half is used",
        series: [...api(FLEET.redisMemory, "50x20"), ...api(FLEET.redisMemoryLimit, "100x20")],
        at: "10m",
      },
      {
        when: "there is no limit",
        series: [...api(FLEET.redisMemory, "95x20"), ...api(FLEET.redisMemoryLimit, "0x20")],
        at: "10m",
      },
    ],
    missing: [
      { when: "the limit is not told", series: api(FLEET.redisMemory, "95x20"), at: "10m" },
      nothing("10m"),
    ],
  },
  DroverRedisEvicts: beyond(FLEET.redisEvicts, { over: 1, under: 0 }),
  DroverRedisPersistenceFails: beyond(FLEET.redisPersistenceFails, { over: 1, under: 0 }),
  DroverApiDown: {
    fires: [
      {
        when: "no server answers",
        series: [...up("drover-api", "api-1", "0x20"), ...up("drover-api", "api-2", "0x20")],
        at: "10m",
        firing: [{}],
      },
    ],
    quiet: [
      {
        when: "one of two answers",
        series: [...up("drover-api", "api-1", "0x20"), ...up("drover-api", "api-2", "1x20")],
        at: "10m",
      },
    ],
    missing: [
      {
        when: "nobody is asked",
        series: up("drover-worker", "worker-1", "1x20"),
        at: "10m",
        firing: [{ labels: { job: "drover-api" } }],
      },
    ],
  },
  DroverServerDown: {
    fires: [
      {
        when: "one of two servers does not answer, nor does the dashboard",
        series: [
          ...up("drover-api", "api-1", "0x30"),
          ...up("drover-api", "api-2", "1x30"),
          ...up("drover-dashboard", "dashboard-1", "0x30"),
        ],
        at: "20m",
        firing: [
          { labels: { job: "drover-api", instance: "api-1" } },
          { labels: { job: "drover-dashboard", instance: "dashboard-1" } },
        ],
      },
    ],
    quiet: [{ when: "it is restarted", series: up("drover-api", "api-1", "1x5 0x5 1x20"), at: "20m" }],
    missing: [nothing("20m")],
  },
  DroverWorkerDown: {
    fires: [
      {
        when: "one of two does not answer",
        series: [...up("drover-worker", "worker-1", "0x30"), ...up("drover-worker", "worker-2", "1x30")],
        at: "20m",
        firing: [{ labels: { job: "drover-worker", instance: "worker-1" } }],
      },
    ],
    quiet: [{ when: "it is replaced", series: up("drover-worker", "worker-1", "1x5 0x5 stale"), at: "20m" }],
    missing: [nothing("20m")],
  },
  DroverNoWorkers: {
    fires: [{ when: "the last one left", series: api(FLEET.workers, "2x5 0x30"), at: "20m", firing: [{}] }],
    quiet: [{ when: "one is there", series: api(FLEET.workers, "1x30"), at: "20m" }],
    missing: [{ ...nothing("20m"), firing: [{}] }],
  },
  DroverQueueStuck: {
    fires: [
      {
        when: "files wait and nothing moves",
        series: [...waiting, ...paused(0), ...settled("100x120"), ...worker(IN_PROGRESS_BYTES, "4096x120")],
        at: "30m",
        firing: [{ value: "5" }],
      },
      {
        when: "the leader puts nothing into the queue",
        series: [
          ...api(FLEET.queueJobs, "0x120", { state: "waiting" }),
          ...api(FLEET.queueJobs, "1x120", { state: "active" }),
          ...api(FLEET.scalingFiles, "1200x120"),
          ...api(FLEET.workers, "2x120"),
          ...paused(0),
        ],
        at: "30m",
        firing: [{ value: "1.199k" }],
      },
    ],
    quiet: [
      { when: "dispatch is paused", series: [...waiting, ...paused(1), ...settled("100x120")], at: "30m" },
      { when: "files end", series: [...waiting, ...paused(0), ...settled("100+1x120")], at: "30m" },
      {
        when: "a large file moves",
        series: [...waiting, ...paused(0), ...settled("100x120"), ...worker(IN_PROGRESS_BYTES, "0+4096x120")],
        at: "30m",
      },
      {
        when: "all that waits is of blocked hosts, or for its next try",
        series: [
          ...api(FLEET.queueJobs, "0x120", { state: "waiting" }),
          ...api(FLEET.queueJobs, "7x120", { state: "delayed" }),
          ...api(FLEET.scalingFiles, "7x120"),
          ...api(FLEET.backlogFiles, "5000x120"),
          ...api(FLEET.workers, "2x120"),
          ...paused(0),
        ],
        at: "30m",
      },
    ],
    missing: [
      {
        when: "workers are not scraped, and the service says that files end",
        series: [
          ...waiting.filter(([name]) => !name.startsWith(FLEET.filesPerSecond.name)),
          ...api(FLEET.filesPerSecond, "3x120"),
          ...paused(0),
        ],
        at: "30m",
      },
      {
        when: "workers are not scraped, and nothing ends",
        series: [...waiting, ...paused(0)],
        at: "30m",
        firing: [{ value: "5" }],
      },
      nothing("30m"),
    ],
  },
  DroverOldestWaiting: unlessPaused(FLEET.oldestWaitingSeconds, 7_200, "2h 0m 0s"),
  DroverFailuresHigh: {
    fires: [
      {
        when: "half of many files fail",
        series: [...settled("0+10x120"), ...settled("0+10x120", "failed")],
        at: "90m",
        firing: [{ value: "50%" }],
      },
    ],
    quiet: [
      {
        when: "one bad file of three at night",
        series: [...settled("0x30 1 2x120"), ...settled("0x60 1x120", "failed")],
        at: "62m",
      },
      {
        when: "all of a few files fail",
        series: [...settled("0x120"), ...settled("0+1x120", "failed")],
        at: "90m",
      },
      {
        when: "one in a hundred fails",
        series: [...settled("0+990x120"), ...settled("0+10x120", "failed")],
        at: "90m",
      },
      {
        when: "it is over",
        series: [...settled("0+10x120"), ...settled("0+10x60 600x60", "failed")],
        at: "75m",
      },
    ],
    missing: [
      { when: "none has failed yet", series: settled("0+10x120"), at: "90m" },
      { when: "none ends", series: [...settled("5x120"), ...settled("5x120", "failed")], at: "90m" },
      nothing("90m"),
    ],
  },
  DroverFailuresElevated: {
    fires: [
      {
        when: "one in ten fails for hours",
        series: [...settled("0+9x600"), ...settled("0+1x600", "failed")],
        at: "420m",
        firing: [{ value: "10%" }],
      },
    ],
    quiet: [
      {
        when: "all of three files an hour fail",
        series: [...settled("0x600"), ...settled("0+0.05x600", "blocked")],
        at: "420m",
      },
      {
        when: "one in a hundred fails",
        series: [...settled("0+99x600"), ...settled("0+1x600", "failed")],
        at: "420m",
      },
    ],
    missing: [{ when: "none has failed yet", series: settled("0+10x600"), at: "420m" }, nothing("420m")],
  },
  DroverFailedGrowth: {
    fires: [
      {
        when: "a small part of very many fails",
        series: [...settled("0+100000x120"), ...settled("0+50x120", "failed")],
        at: "90m",
        firing: [{ value: "3k" }],
      },
    ],
    quiet: [{ when: "a few fail", series: settled("0+1x120", "failed"), at: "90m" }],
    missing: [{ when: "none has failed yet", series: settled("0+100x120"), at: "90m" }, nothing("90m")],
  },
  DroverStalls: {
    fires: [
      {
        when: "a worker dies again and again",
        series: worker(COUNTERS["queue.jobs_stalled"], "0+2x120"),
        at: "90m",
        firing: [{ value: "120" }],
      },
    ],
    quiet: [
      {
        when: "one worker was killed once",
        series: worker(COUNTERS["queue.jobs_stalled"], "0x30 16x120"),
        at: "60m",
      },
    ],
    missing: [nothing("90m")],
  },
  DroverPoisonFiles: {
    fires: [
      {
        when: "one was given up",
        series: worker(COUNTERS["attempts.ended"], "0x30 1x120", {
          operation: "copy",
          outcome: "failed",
          class: "poison",
        }),
        at: "60m",
        firing: [{ value: "1" }],
      },
    ],
    quiet: [
      {
        when: "others fail",
        series: worker(COUNTERS["attempts.ended"], "0+5x120", {
          operation: "copy",
          outcome: "failed",
          class: "timeout",
        }),
        at: "60m",
      },
    ],
    missing: [nothing("60m")],
  },
  DroverBreakerOpenLong: beyond(FLEET.oldestBreakerSeconds, { over: 5_400, under: 300, value: "1h 30m 0s" }),
  DroverReconcileDrift: withEvents(FLEET.reconciledFiles, 5_000, "5k"),
  DroverConvergenceLag: withEvents(FLEET.convergenceLagSeconds, 14_400, "4h 0m 0s"),
  DroverPeriodicSyncOverdue: {
    fires: [
      {
        when: "it does not begin",
        series: [...api(FLEET.reconcileDue, "600x400"), ...paused(0)],
        at: "120m",
        firing: [{ value: "1h 50m 0s" }],
      },
      {
        when: "none ends",
        series: [
          ...api(FLEET.reconcileDue, "3600+60x400"),
          ...api(FLEET.reconcileInterval, "3600x400"),
          ...api(FLEET.reconciledAt, "0x400"),
          ...paused(0),
        ],
        at: "300m",
        firing: [{ value: "5h 0m 0s" }],
      },
    ],
    quiet: [
      {
        when: "they follow each other",
        series: [
          ...api(FLEET.reconcileDue, "3600+60x400"),
          ...api(FLEET.reconcileInterval, "3600x400"),
          ...api(FLEET.reconciledAt, "0+60x400"),
          ...paused(0),
        ],
        at: "300m",
      },
      {
        when: "dispatch is paused",
        series: [...api(FLEET.reconcileDue, "600x400"), ...paused(1)],
        at: "120m",
      },
    ],
    missing: [
      { when: "there is no periodic sync", series: paused(0), at: "120m" },
      {
        when: "it has none to look back at, and no interval",
        series: [...api(FLEET.reconcileDue, "3600+60x400"), ...paused(0)],
        at: "300m",
      },
      nothing("120m"),
    ],
  },
  DroverDeadLettersGrow: {
    fires: [
      {
        when: "three more come",
        series: api(FLEET.deadLetters, "2x30 5x120"),
        at: "60m",
        firing: [{ value: "3" }],
      },
    ],
    quiet: [
      { when: "old ones stay", series: api(FLEET.deadLetters, "5x120"), at: "60m" },
      { when: "they are taken away", series: api(FLEET.deadLetters, "5x30 0x120"), at: "60m" },
    ],
    missing: [nothing("60m")],
  },
  DroverEventsWait: unlessPaused(FLEET.oldestEventSeconds, 3_600, "1h 0m 0s"),
  DroverEventLag: {
    fires: [
      {
        when: "most come late",
        series: [...lagBuckets(5, "3600"), ...lagCount(5)],
        at: "60m",
        firing: [{ value: "57m 45s" }],
      },
    ],
    quiet: [
      { when: "all come at once", series: [...lagBuckets(5, "1"), ...lagCount(5)], at: "60m" },
      { when: "one came late", series: [...lagBuckets(0.1, "3600"), ...lagCount(0.1)], at: "60m" },
    ],
    missing: [{ when: "there are no buckets", series: lagCount(5), at: "60m" }, nothing("60m")],
  },
  DroverDiskLow: {
    fires: [
      {
        when: "a tenth is free",
        series: disk("100x120"),
        at: "60m",
        firing: [{ labels: ofDisk, value: "10%" }],
      },
    ],
    quiet: [{ when: "half is free", series: disk("500x120"), at: "60m" }],
    missing: [
      {
        when: "the size is not told",
        series: worker(ROOT_FREE_BYTES, "100x120", { root: "0" }),
        at: "60m",
      },
      nothing("60m"),
    ],
  },
  DroverDiskFull: {
    fires: [
      {
        when: "a hundredth is free",
        series: disk("10x120"),
        at: "60m",
        firing: [{ labels: ofDisk, value: "1%" }],
      },
    ],
    quiet: [{ when: "a tenth is free", series: disk("100x120"), at: "60m" }],
    missing: [
      {
        when: "the size is not told",
        series: worker(ROOT_FREE_BYTES, "10x120", { root: "0" }),
        at: "60m",
      },
      nothing("60m"),
    ],
  },
  DroverDispatchPausedLong: {
    fires: [{ when: "for more than a day", series: paused(1), at: "1500m", firing: [{}] }],
    quiet: [
      {
        when: "by day, between two windows",
        series: api(FLEET.dispatchPaused, "1x960 0x480 1x960"),
        at: "1500m",
      },
    ],
    missing: [nothing("1500m")],
  },
};

/** What counts only where notifications come. */
function withEvents(metric: Metric, over: number, value: string): Cases {
  const cases = beyond(metric, { over, under: 0, value, and: received("0+1x120") });
  const without = {
    when: "no notifications come: it is the periodic sync that copies",
    series: [...api(metric, `${over}x120`), ...received("7x120")],
    at: "60m",
  };
  const never = { when: "none ever came", series: api(metric, `${over}x120`), at: "60m" };
  return { ...cases, quiet: [...cases.quiet, without], missing: [...cases.missing, never] };
}

/** What counts only while dispatch is not paused. */
function unlessPaused(metric: Metric, over: number, value: string): Cases {
  const cases = beyond(metric, { over, under: 60, value, and: paused(0) });
  const held = {
    when: "dispatch is paused",
    series: [...api(metric, `${over}x120`), ...paused(1)],
    at: "60m",
  };
  return { ...cases, quiet: [...cases.quiet, held] };
}
