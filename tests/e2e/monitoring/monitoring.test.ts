import { describe, expect } from "vitest";
import { ALERTS } from "../../../monitoring/src/alerts.ts";
import { generatedFiles } from "../../../monitoring/src/files.ts";
import { FLEET_ROWS, HOST_ROWS, RUN_ROWS } from "../../../monitoring/src/panels.ts";
import { RECORDINGS } from "../../../monitoring/src/recording.ts";
import * as does from "../../harness/behaviours.js";
import { until } from "../../harness/gate.js";
import { ALERTMANAGER, PROMETHEUS, TestAlertmanager, TestPrometheus } from "../../harness/prometheus.js";
import { Receiver } from "../../harness/receiver.js";
import type { TestService } from "../../harness/service.js";
import { it } from "../../harness/service.js";
import { awsRecord } from "../../unit/events/bodies.js";

const isThere = PROMETHEUS !== undefined && ALERTMANAGER !== undefined;
if (!isThere) console.log("skipped: prometheus and prometheus-alertmanager are not here (Debian's packages)");

/** True where the disk of the machine that tests is low; alerts.test.ts plays them. */
const ON_DISK_SPACE = new Set(["DroverDiskLow", "DroverDiskFull"]);

const FILES = generatedFiles();
const textOf = (path: string) => FILES.get(path) as string;

/** Port of a worker's health checks, as it logs it. */
async function healthOf(worker: { stderr: string }): Promise<string> {
  const [, port] = await until(
    "the health port",
    () => /"health_port":(\d+)/.exec(worker.stderr) ?? undefined,
  );
  return `127.0.0.1:${port}`;
}

function hostOf({ url }: TestService): string {
  return new URL(url).host;
}

describe.runIf(isThere)("a real Prometheus", () => {
  it("has data for every query of every panel and alert, and nothing to say of a healthy fleet", async ({
    serve,
    fleet,
    work,
    origin,
    s3,
  }) => {
    await s3.put("a", "1");
    fleet.env = s3.env;
    const worker = await fleet.worker("--health-port", "0", "--allow-address", "127.0.0.1");
    const service = await serve([...fleet.own, "--root", work.out], {
      ...s3.env,
      S3_BUCKET_NAME: s3.bucket,
      LOCAL_DOWNLOAD_DIR: work.to("bucket"),
      ENABLE_PERIODIC_SYNC: "true",
    });
    const jobs = { "drover-api": [hostOf(service)], "drover-worker": [await healthOf(worker)] };
    const prometheus = await TestPrometheus.start(jobs, [
      textOf("prometheus/rules.yml"),
      textOf("prometheus/alerts.yml"),
    ]);
    try {
      await until("the periodic sync", () => service.logged("periodic sync ended").length > 0);
      const record = awsRecord("elsewhere");
      record.s3.bucket.name = "another-bucket";
      await service.ask("/sync/s3-notification", { json: { Records: [record] } });
      let at = 0;
      const workOnce = async () => {
        at += 1;
        const good = origin.route(`/good-${at}`, does.file("good"));
        const bad = origin.route(`/bad-${at}`, does.status(404));
        await service.runToEnd({ sources: [good, bad], to: work.out });
      };
      const queries = [...FLEET_ROWS, ...RUN_ROWS, ...HOST_ROWS].flatMap(({ panels }) =>
        panels.flatMap(({ title, queries }) => queries.map((query) => ({ title, ...query }))),
      );
      expect(queries.length).toBeGreaterThan(70);
      const asked = (expression: string) =>
        prometheus.query(expression.replaceAll("$__rate_interval", "30s"));
      await until(
        "data in all panels",
        async () => {
          await workOnce();
          for (const { expression, emptyWhen } of queries) {
            const samples = await asked(expression);
            if (samples.length === 0 && emptyWhen === undefined) return false;
          }
          return true;
        },
        40_000,
      ).catch(() => {}); // told below, each by its name
      const empty: string[] = [];
      for (const { title, legend, expression, emptyWhen } of queries) {
        const samples = await asked(expression);
        if (samples.length === 0 && emptyWhen === undefined) empty.push(`${title}, ${legend}: ${expression}`);
      }
      expect(empty).toEqual([]);
      for (const { record } of RECORDINGS)
        await until(`data of ${record}`, async () => (await prometheus.query(record)).length > 0);
      const unknown = new Set<string>();
      for (const { name, expression } of ALERTS) {
        if (!ON_DISK_SPACE.has(name)) expect(await prometheus.query(expression), name).toEqual([]);
        for (const [metric] of expression.matchAll(/\b(drover[_:][\w:]*|up\b)/g))
          if ((await prometheus.query(`count(${metric})`)).length === 0) unknown.add(metric);
      }
      expect([...unknown]).toEqual([]);
      expect((await prometheus.alerts()).filter(({ name }) => !ON_DISK_SPACE.has(name))).toEqual([]);
    } finally {
      await prometheus.stop();
    }
  }, 120_000);

  it("sends an alert all the way to a webhook; while Redis is down nothing else is heard", async ({
    serve,
    fleet,
    work,
  }) => {
    await using receiver = await Receiver.start();
    const worker = await fleet.worker("--health-port", "0");
    const service = await serve([...fleet.own, "--root", work.out]);
    const told = () =>
      receiver.deliveries.flatMap(({ body }) =>
        (body.alerts as { status: string; labels: { alertname: string } }[]).map(
          ({ status, labels }) => `${labels.alertname} ${status}`,
        ),
      );
    const config = textOf("alertmanager/alertmanager.yml")
      .replace(/url: \S+/g, `url: ${receiver.url}`)
      .replace(/group_wait: \S+/, "group_wait: 1s")
      .replace(/group_interval: \S+/, "group_interval: 1s");
    const alertmanager = await TestAlertmanager.start(config);
    // Redis being away is still the first to be noticed.
    const rules = textOf("prometheus/alerts.yml")
      .replace(/for: \S+/g, "for: 4s")
      .replace("for: 4s", "for: 1s");
    expect(rules).toMatch(/alert: DroverRedisDown\n.*\n +for: 1s/);
    const prometheus = await TestPrometheus.start(
      { "drover-api": [hostOf(service)], "drover-worker": [await healthOf(worker)] },
      [textOf("prometheus/rules.yml"), rules],
      alertmanager.url,
    );
    try {
      await until(
        "both to be asked",
        async () => (await prometheus.query("drover_redis_up == 1")).length === 2,
      );
      await until(
        "the workers to be told",
        async () => (await prometheus.query("drover_workers")).length === 1,
      );

      await fleet.redis.kill();
      await until("the alert to arrive", () => told().includes("DroverRedisDown firing"), 30_000);
      const silent = ["DroverRedisUnreachable", "DroverNoWorkers"];
      await until(
        "others to be silenced",
        async () => {
          const alerts = await alertmanager.alerts();
          return silent.every((name) => alerts.some((alert) => alert.name === name && alert.silenced));
        },
        30_000,
      );
      const firing = (await prometheus.alerts()).filter(({ state }) => state === "firing");
      expect(firing.map(({ name }) => name)).toEqual(expect.arrayContaining(silent));
      for (const { name, silenced } of await alertmanager.alerts())
        expect([name, silenced]).toEqual([name, name !== "DroverRedisDown"]);
      expect(new Set(told())).toEqual(new Set(["DroverRedisDown firing"]));

      await fleet.redis.start();
      await until("it to be over", () => told().includes("DroverRedisDown resolved"), 30_000);
      const before = receiver.deliveries.length;
      worker.kill("SIGKILL");
      await worker.result;
      await until("no workers to be told of", () => told().includes("DroverNoWorkers firing"), 60_000);
      const page = receiver.deliveries
        .slice(before)
        .find(({ body }) => body.commonLabels.alertname === "DroverNoWorkers")?.body;
      expect(page).toMatchObject({
        receiver: "page",
        commonLabels: { severity: "page" },
        commonAnnotations: {
          summary: expect.stringContaining("No worker is alive"),
          runbook_url: expect.stringMatching(/\/runbooks\/no-workers\.md$/),
        },
      });
    } finally {
      await prometheus.stop();
      await alertmanager.stop();
    }
  }, 180_000);
});
