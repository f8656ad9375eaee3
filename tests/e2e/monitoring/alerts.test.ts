import {
  COUNTER_METRICS as COUNTERS,
  FLEET_METRICS as FLEET,
  type Metric,
  REDIS_UP,
} from "@drover/shared/metrics/names";
import { describe, expect, it } from "vitest";
import { ALERTS, type AlertName } from "../../../monitoring/src/alerts.ts";
import { RUNBOOKS_URL } from "../../../monitoring/src/places.ts";
import { TestAlerting } from "../../harness/alerting.js";
import {
  accepted,
  type Change,
  Expositions,
  free,
  lagged,
  poisoned,
  settled,
  type Target,
  together,
  waiting,
} from "../../harness/expositions.js";
import { until } from "../../harness/gate.js";
import { ALERTMANAGER, PROMETHEUS } from "../../harness/prometheus.js";

const isThere = PROMETHEUS !== undefined && ALERTMANAGER !== undefined;
if (!isThere) console.log("skipped: prometheus and prometheus-alertmanager are not here (Debian's packages)");

const HOUR = 3_600;
const api = (metric: Metric, value: number): Change => ({ api: { [metric.name]: value } });
const worker = (...values: Record<string, number>[]): Change => ({
  "worker-1": Object.assign({}, ...values),
});
const withEvents = (change: Change): Change => together(change, { api: accepted(10) });
const REDIS_DOWN: Change = together(
  ...(["api", "dashboard", "worker-1", "worker-2"] as const).map((each) => ({
    [each]: { [REDIS_UP.name]: 0 },
  })),
);

interface Caused {
  cause: Change;
  /** The process that its labels name; undefined where it is of the whole fleet. */
  of?: [job: string, target: Target];
  /** The numbers that it names. */
  says?: RegExp;
  /** What ends it; default what a healthy fleet tells. "time": it lasts for an hour. */
  end?: Change | "time";
}

/** What makes each alert fire, and that alone is heard of. Counters are at 0 before. */
const CAUSED: Record<AlertName, Caused> = {
  DroverRedisDown: { cause: REDIS_DOWN },
  DroverRedisUnreachable: {
    cause: worker({ [REDIS_UP.name]: 0 }),
    of: ["drover-worker", "worker-1"],
  },
  DroverRedisMemoryHigh: { cause: api(FLEET.redisMemory, 950), says: /^95% of the limit is used\.$/ },
  DroverRedisEvicts: { cause: api(FLEET.redisEvicts, 1) },
  DroverRedisPersistenceFails: { cause: api(FLEET.redisPersistenceFails, 1) },
  DroverApiDown: { cause: { api: "down" } },
  DroverServerDown: { cause: { dashboard: "down" }, of: ["drover-dashboard", "dashboard"] },
  DroverWorkerDown: { cause: { "worker-2": "down" }, of: ["drover-worker", "worker-2"] },
  DroverNoWorkers: { cause: api(FLEET.workers, 0) },
  DroverQueueStuck: { cause: { api: waiting(12_400) }, says: /^12\.4k files wait\.$/ },
  DroverOldestWaiting: {
    cause: api(FLEET.oldestWaitingSeconds, 2 * HOUR),
    says: /^The next one has waited for 2h 0m 0s\.$/,
  },
  DroverFailuresHigh: {
    cause: worker(settled("copied", 200), settled("failed", 200)),
    says: /^50% of them failed\.$/,
    end: worker(settled("copied", 1_000_000), settled("failed", 200)),
  },
  DroverFailuresElevated: {
    cause: worker(settled("copied", 900), settled("failed", 100)),
    says: /^10% of the last six hours' files failed\.$/,
    end: worker(settled("copied", 1_000_000), settled("failed", 100)),
  },
  DroverFailedGrowth: {
    cause: worker(settled("copied", 1_000_000), settled("failed", 3_000)),
    says: /^[3-4](\.\d+)?k files failed within an hour\.$/,
    end: "time",
  },
  DroverStalls: {
    cause: worker({ [COUNTERS["queue.jobs_stalled"].name]: 40 }),
    says: /^[45]\d files went back to the queue within an hour\.$/,
    end: "time",
  },
  DroverPoisonFiles: { cause: worker(poisoned(1)), says: /^Files within an hour: 1\.$/, end: "time" },
  DroverBreakerOpenLong: {
    cause: api(FLEET.oldestBreakerSeconds, 5_400),
    says: /^It has been blocked for 1h 30m 0s\.$/,
  },
  DroverReconcileDrift: {
    cause: withEvents(api(FLEET.reconciledFiles, 5_000)),
    says: /^It repaired 5k files\.$/,
  },
  DroverConvergenceLag: {
    cause: withEvents(api(FLEET.convergenceLagSeconds, 4 * HOUR)),
    says: /^The oldest difference had been there for 4h 0m 0s\.$/,
  },
  DroverPeriodicSyncOverdue: {
    cause: api(FLEET.reconcileDue, Math.floor(Date.now() / 1_000) - 2 * HOUR),
    says: /^For 2h \d+m \d+(\.\d+)?s\.$/,
  },
  DroverDeadLettersGrow: { cause: api(FLEET.deadLetters, 3), says: /^3 more within an hour\.$/ },
  DroverEventsWait: {
    cause: api(FLEET.oldestEventSeconds, HOUR),
    says: /^The oldest has waited for 1h 0m 0s\.$/,
  },
  DroverEventLag: {
    cause: { api: lagged(100, HOUR) },
    says: /^One in twenty takes more than 57m 45s\.$/,
    end: { api: lagged(100_000, 1) },
  },
  DroverDiskLow: { cause: worker(free(100)), of: ["drover-worker", "worker-1"], says: /^10% is free\.$/ },
  DroverDiskFull: { cause: worker(free(10)), of: ["drover-worker", "worker-1"], says: /^1% is free\.$/ },
  DroverDispatchPausedLong: { cause: api(FLEET.dispatchPaused, 1) },
};

describe.runIf(isThere)("all the way to a webhook", () => {
  it.concurrent("comes nothing of a healthy fleet", { timeout: 200_000 }, async () => {
    await using fleet = await Expositions.start();
    await using alerting = await TestAlerting.start(fleet.jobs);
    await alerting.isQuiet(fleet.count);
    await until(
      "each rule to have had its time",
      async () => {
        expect(await alerting.prometheus.alerts()).toEqual([]);
        return (await alerting.prometheus.query('count_over_time(up{job="drover-api"}[2m]) > 15')).length > 0;
      },
      90_000,
    );
    expect(alerting.told()).toEqual([]);
  });

  it.concurrent.for(ALERTS.map(({ name }) => name))(
    "comes %s, and nothing else",
    { timeout: 300_000 },
    async (name) => {
      const { cause, of, says, end = {} } = CAUSED[name];
      const alert = ALERTS.find((each) => each.name === name);
      await using fleet = await Expositions.start();
      await using alerting = await TestAlerting.start(fleet.jobs);
      await alerting.isQuiet(fleet.count);

      fleet.tell(cause);
      const told = await alerting.hears(name, "firing");
      const instance = of && { job: of[0], instance: fleet.at(of[1]) };
      expect(told.receiver).toBe(alert?.severity);
      expect(told.labels).toMatchObject({ alertname: name, severity: alert?.severity, ...instance });
      expect(told.annotations).toMatchObject({
        summary: alert?.summary,
        runbook_url: `${RUNBOOKS_URL}/${alert?.runbook}.md`,
      });
      expect(told.annotations.description ?? "").toMatch(says ?? /^$/);

      if (end !== "time") {
        fleet.tell(end);
        await alerting.hears(name, "resolved");
      }
      expect(alerting.told().filter(({ labels }) => labels.alertname !== name)).toEqual([]);
    },
  );

  /** What explains what: both at once, and only the former is heard of. Alerts that exclude each other are in cases of their own. */
  const SILENT: { silencer: AlertName; of: AlertName[]; silent: AlertName[]; change?: Change }[] = [
    {
      silencer: "DroverRedisDown",
      of: ALERTS.map(({ name }) => name).filter(
        (name) => !["DroverApiDown", "DroverNoWorkers", "DroverDispatchPausedLong"].includes(name),
      ),
      silent: ALERTS.map(({ name }) => name).filter(
        (name) =>
          ![
            "DroverRedisDown",
            "DroverApiDown",
            "DroverNoWorkers",
            "DroverDispatchPausedLong",
            "DroverQueueStuck",
          ].includes(name),
      ),
      // Many failed of not too many, late notifications, and hardly any space.
      change: worker(settled("copied", 2_000), settled("failed", 3_000), free(10)),
    },
    {
      silencer: "DroverRedisDown",
      of: ["DroverQueueStuck"],
      silent: ["DroverQueueStuck"],
    },
    {
      silencer: "DroverRedisDown",
      of: ["DroverNoWorkers", "DroverDispatchPausedLong"],
      silent: ["DroverNoWorkers", "DroverDispatchPausedLong"],
    },
    { silencer: "DroverRedisDown", of: ["DroverApiDown"], silent: ["DroverApiDown", "DroverNoWorkers"] },
    { silencer: "DroverApiDown", of: [], silent: ["DroverServerDown", "DroverNoWorkers"] },
    { silencer: "DroverNoWorkers", of: ["DroverOldestWaiting"], silent: ["DroverOldestWaiting"] },
    { silencer: "DroverQueueStuck", of: ["DroverOldestWaiting"], silent: ["DroverOldestWaiting"] },
    {
      silencer: "DroverFailuresHigh",
      of: [],
      silent: ["DroverFailuresElevated", "DroverFailedGrowth"],
      change: worker(settled("copied", 2_000), settled("failed", 3_000)),
    },
    { silencer: "DroverDiskFull", of: [], silent: ["DroverDiskLow"] },
  ];

  it("has a case for all that is silenced by something", () => {
    const pairs = SILENT.flatMap(({ silencer, silent }) => silent.map((each) => `${each} by ${silencer}`));
    const all = ALERTS.flatMap(({ name, silencedBy }) => silencedBy.map((each) => `${name} by ${each}`));
    // Its expression wants workers: the two are never true at once.
    expect(new Set([...pairs, "DroverQueueStuck by DroverNoWorkers"])).toEqual(new Set(all));
  });

  it.concurrent.for(SILENT)(
    "is heard of $silencer alone, though there is also $silent",
    { timeout: 300_000 },
    async ({ silencer, of, silent, change = {} }) => {
      await using fleet = await Expositions.start();
      await using alerting = await TestAlerting.start(fleet.jobs);
      await alerting.isQuiet(fleet.count);

      fleet.tell(together(...of.map((name) => CAUSED[name].cause), CAUSED[silencer].cause, change));
      await alerting.hears(silencer, "firing");
      const missing = async () => {
        const alerts = await alerting.alertmanager.alerts();
        return silent.filter((name) => !alerts.some((each) => each.name === name && each.silenced));
      };
      await until("all others to be silenced", async () => (await missing()).length === 0, 90_000).catch(
        () => {},
      );
      expect(await missing()).toEqual([]);
      expect(alerting.told().filter(({ labels }) => labels.alertname !== silencer)).toEqual([]);
    },
  );
});
