import { execFileSync } from "node:child_process";
import { FLEET_METRICS } from "@drover/shared/metrics/names";
import { describe, expect } from "vitest";
import * as does from "../../harness/behaviours.js";
import { FaultOrigin } from "../../harness/fault-origin.js";
import { Gate, until } from "../../harness/gate.js";
import { firstOf, metricsOf } from "../../harness/metrics.js";
import { PROMTOOL } from "../../harness/prometheus.js";
import { it, type TestService } from "../../harness/service.js";

const TOKEN = "a-token-of-the-environment";
const bearer = (token: string) => ({ headers: { authorization: `Bearer ${token}` } });
const FLEET = Object.values(FLEET_METRICS).map(({ name }) => name);

/** The text is as Prometheus wants it, names too. */
function lint(text: string): void {
  if (PROMTOOL !== undefined) execFileSync(PROMTOOL, ["check", "metrics"], { input: text });
}

async function stateOf(service: TestService): Promise<string> {
  const { body } = await service.ask("/api/v1/overview");
  return `${body.state}: ${body.sentence}`;
}

describe("/metrics", () => {
  it("of the service needs the scope read, and tells of the fleet and of the process", async ({
    serve,
    box,
    fleet,
    work,
  }) => {
    const service = await serve([...fleet.own, "--root", work.out], { API_TOKEN: TOKEN });
    const tokenFor = async (scopes: string) => {
      const args = ["token", "create", scopes, "--scopes", scopes, ...fleet.own];
      const { stdout } = await box.run(args, { env: { XDG_STATE_HOME: work.at("state") } });
      return /drv_\S+/.exec(stdout)?.[0] as string;
    };
    expect((await service.ask("/metrics")).status).toBe(401);
    expect((await service.ask("/metrics", bearer(await tokenFor("enqueue")))).status).toBe(403);
    const reads = bearer(await tokenFor("read"));
    const answer = await service.ask("/metrics", reads);
    expect(answer.status).toBe(200);
    expect(answer.headers.get("content-type")).toMatch(/^text\/plain; version=0\.0\.4/);
    lint(answer.text);
    const metrics = metricsOf(answer.text);
    expect(metrics.get("drover_redis_up")).toBe(1);
    expect(metrics.get("drover_workers")).toBe(0);
    const untold = FLEET.filter((name) => firstOf(metrics, name) === undefined);
    const later = ["drover_catalog_files"]; // it is counted beside the answer
    expect(untold.filter((name) => !later.includes(name))).toEqual(
      FLEET.filter((name) => /reconcile|convergence/.test(name)), // there is no periodic sync
    );
    await until("the catalogs to be counted", async () => {
      const all = metricsOf((await service.ask("/metrics", reads)).text);
      return all.get("drover_catalog_files") === 0;
    });
  });

  it("of the service tell, while Redis is away, those with the environment's token that it is", async ({
    serve,
    fleet,
    work,
  }) => {
    const service = await serve([...fleet.own, "--root", work.out], { API_TOKEN: TOKEN });
    await fleet.redis.kill();
    const metrics = await until("it to notice", async () => {
      const { status, text } = await service.ask("/metrics", bearer(TOKEN));
      expect(status).toBe(200);
      const all = metricsOf(text);
      return all.get("drover_redis_up") === 0 && all;
    });
    expect(FLEET.filter((name) => firstOf(metrics, name) !== undefined)).toEqual([]);
    await fleet.redis.start();
    await until("it to come back", async () => {
      const { text } = await service.ask("/metrics", bearer(TOKEN));
      const all = metricsOf(text);
      return all.get("drover_redis_up") === 1 && firstOf(all, "drover_workers") === 0;
    });
  });

  it("of a worker tell what it carried and where it writes, and nothing of the fleet", async ({
    serve,
    fleet,
    work,
    origin,
  }) => {
    const gate = new Gate();
    const url = origin.route("/a", does.file("twelve bytes"));
    const held = origin.route("/b", does.gated(gate, does.file("b")));
    const missing = origin.route("/c", does.status(404));
    const worker = await fleet.worker("--health-port", "0", "--allow-address", "127.0.0.1");
    const [, port] = await until("its port", () => /"health_port":(\d+)/.exec(worker.stderr) ?? undefined);
    const ask = async () => {
      const response = await fetch(`http://127.0.0.1:${port}/metrics`);
      expect(response.status).toBe(200);
      return await response.text();
    };
    const first = metricsOf(await ask());
    // What alerts look at is there from the beginning.
    expect(first.get('drover_files_settled_total{outcome="failed"}')).toBe(0);
    expect(first.get('drover_attempts_total{operation="copy",outcome="failed",class="poison"}')).toBe(0);
    const service = await serve([...fleet.own, "--root", work.out]);
    await service.ask("/api/v1/runs", { json: { sources: [url, held, missing], to: work.out } });
    await gate.reached;
    const text = await until("two to be counted", async () => {
      const now = await ask();
      const metrics = metricsOf(now);
      const ended = ["copied", "failed"].map((outcome) =>
        metrics.get(`drover_files_settled_total{outcome="${outcome}"}`),
      );
      return ended.every((count) => count === 1) && now;
    });
    gate.open();
    lint(text);
    const metrics = metricsOf(text);
    expect(metrics.get("drover_copied_bytes_total")).toBe(12);
    expect(metrics.get('drover_attempts_total{operation="copy",outcome="failed",class="not-found"}')).toBe(1);
    expect(metrics.get('drover_file_duration_seconds_count{operation="copy",outcome="copied"}')).toBe(1);
    expect(metrics.get("drover_in_progress_bytes")).toBe(0);
    expect(metrics.get('drover_root_free_bytes{root="0"}')).toBeGreaterThan(0);
    expect(FLEET.filter((name) => firstOf(metrics, name) !== undefined)).toEqual([]);
  });

  it("of a service that carries files itself tell of its disk too", async ({ serve, work }) => {
    const service = await serve(["--root", work.at("")]);
    const { text } = await service.ask("/metrics");
    const metrics = metricsOf(text);
    expect(firstOf(metrics, "drover_root_size_bytes")).toBeGreaterThan(0);
    expect(metrics.get("drover_in_progress_bytes")).toBe(0);
    expect(metrics.get("drover_workers")).toBe(1);
  });

  it("tell when the next periodic sync is due", async ({ serve, s3, work }) => {
    const service = await serve(["--root", work.at("")], {
      ...s3.env,
      S3_BUCKET_NAME: s3.bucket,
      LOCAL_DOWNLOAD_DIR: "files",
      ENABLE_PERIODIC_SYNC: "true",
      SYNC_INTERVAL_HOURS: "2",
    });
    const metrics = await until("the first one to have ended", async () => {
      const all = metricsOf((await service.ask("/metrics")).text);
      return all.has("drover_reconcile_timestamp_seconds") && all;
    });
    const nowS = Date.now() / 1_000;
    expect(metrics.get("drover_reconcile_interval_seconds")).toBe(7_200);
    const dueS = metrics.get("drover_reconcile_due_timestamp_seconds") ?? 0;
    expect(dueS).toBeGreaterThan(nowS);
    expect(dueS).toBeLessThan(nowS + 7_201);
    expect(metrics.get("drover_reconcile_repaired_files")).toBe(0);
  });
});

describe("the overview of a fleet", () => {
  it("says that it is idle, that workers are missing, that it is healthy, and that dispatch is paused", async ({
    serve,
    fleet,
    work,
    origin,
  }) => {
    const service = await serve([...fleet.own, "--root", work.out]);
    expect(await stateOf(service)).toBe("ok: Idle: nothing waits, and no worker is alive");
    const gate = new Gate();
    const sources = ["/a", "/b"].map((path) => origin.route(path, does.gated(gate, does.file("x"))));
    const { body: run } = await service.ask("/api/v1/runs", { json: { sources, to: work.out } });
    await until("no workers", async () =>
      /^critical: Stuck: no workers, 2 files wait$/.test(await stateOf(service)),
    );
    await fleet.worker("--allow-address", "127.0.0.1");
    await gate.reached;
    await until("health", async () => (await stateOf(service)) === "ok: Healthy: 2 files to go");
    const { body } = await service.ask("/api/v1/overview");
    expect(body).toMatchObject({
      open_files: 2,
      blocked_files: 0,
      blocked_hosts: [],
      workers: { alive: 1, draining: 0, capacity: 16 },
      runs: { running: 1, interrupted: 0 },
      dispatch_paused: false,
    });
    await service.ask("/api/v1/dispatch/pause", { method: "POST" });
    expect(await stateOf(service)).toMatch(/^warning: Dispatch is paused/);
    const late = origin.route("/late", does.file("late"));
    await service.ask("/api/v1/runs", { json: { sources: [late], to: work.out } });
    await until(
      "it to wait",
      async () => (await stateOf(service)) === "warning: Dispatch is paused, 1 file waits",
    );
    await service.ask("/api/v1/dispatch/resume", { method: "POST" });
    gate.open();
    await service.ask(`/api/v1/runs/${run.id}?wait=30`);
    await until("its end", async () => (await stateOf(service)) === "ok: Healthy: nothing waits");
  });

  it("counts what waits for a blocked host apart from what could be carried", async ({
    serve,
    fleet,
    work,
    origin,
  }) => {
    const other = await FaultOrigin.start();
    const gate = new Gate();
    try {
      origin.route("/bad-*", does.status(503));
      other.route("/good-*", does.gated(gate, does.file("good")));
      const bad = Array.from({ length: 300 }, (_, at) => origin.url(`/bad-${at}`));
      const good = Array.from({ length: 200 }, (_, at) => other.url(`/good-${at}`));
      await fleet.worker("--allow-address", "127.0.0.1", "--concurrency", "4");
      const service = await serve([...fleet.own, "--root", work.out]);
      const terms = { to: work.out, circuit_ttl: 3_600, breaker_wait: 3_600, retries: 20, backoff_factor: 1 };
      // Of each run as many files are in the queue at once.
      await service.ask("/api/v1/runs", { json: { ...terms, sources: bad, max_workers: 20 } });
      await until("the host to be blocked", async () =>
        /^warning: 1 host blocked/.test(await stateOf(service)),
      );
      await service.ask("/api/v1/runs", { json: { ...terms, sources: good, max_workers: 8 } });
      await gate.reached;
      const told = await until("all to be counted", async () => {
        const all = metricsOf((await service.ask("/metrics")).text);
        const inQueue = ["waiting", "active", "delayed"].reduce(
          (sum, state) => sum + (all.get(`drover_queue_jobs{state="${state}"}`) ?? 0),
          0,
        );
        const files = inQueue + (all.get("drover_backlog_files") ?? 0);
        return all.get("drover_scaling_files") === 200 && files === 500 && all;
      });
      const { body } = await service.ask("/api/v1/overview");
      expect(body.blocked_hosts).toMatchObject([
        { host: origin.host, breaker: "open", open_until: expect.any(String), files: 300, runs: 1 },
      ]);
      expect(body.open_files).toBe(500);
      expect(body.blocked_files).toBe(280);
      expect(told.get("drover_backlog_files")).toBe(280 + 192);
      expect(told.get('drover_breakers{state="open"}')).toBe(1);
      await service.ask("/api/v1/dispatch/pause", { method: "POST" });
      // What is in the queue is still carried, but nobody is needed for the backlog.
      await until("the backlog not to count", async () => {
        const all = metricsOf((await service.ask("/metrics")).text);
        return all.get("drover_scaling_files") === 8 && all.get("drover_dispatch_paused") === 1;
      });
    } finally {
      gate.open();
      await other.stop();
    }
  });
});
