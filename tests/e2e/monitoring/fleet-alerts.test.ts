import { mkdirSync, rmdirSync } from "node:fs";
import { join } from "node:path";
import { connect } from "@drover/shared/redis/connect";
import { describe, expect, onTestFinished } from "vitest";
import { TestAlerting } from "../../harness/alerting.js";
import * as does from "../../harness/behaviours.js";
import { FaultOrigin } from "../../harness/fault-origin.js";
import { Gate } from "../../harness/gate.js";
import { ALERTMANAGER, PROMETHEUS } from "../../harness/prometheus.js";
import { it } from "../../harness/service.js";

const isThere = PROMETHEUS !== undefined && ALERTMANAGER !== undefined;
if (!isThere) console.log("skipped: prometheus and prometheus-alertmanager are not here (Debian's packages)");

/** Hours become seconds, but those over which something is counted. */
const hasty = (rules: string) =>
  rules.replaceAll("> 3600 ", "> 4 ").replaceAll("> 3600\n", "> 4\n").replaceAll("[5m]", "[10s]");

describe.runIf(isThere)("what goes wrong with a fleet", () => {
  it("comes to the webhook, and that it is over", async ({ serve, fleet, work, origin }) => {
    const worker = await fleet.worker(
      "--health-port",
      "0",
      "--concurrency",
      "4",
      "--allow-address",
      "127.0.0.1",
    );
    const [, health] = await worker.waitFor("stderr", /"health_port":(\d+)/);
    const service = await serve([...fleet.own, "--root", work.out, "--allow-address", "127.0.0.1"]);
    await using alerting = await TestAlerting.start(
      { "drover-api": [new URL(service.url).host], "drover-worker": [`127.0.0.1:${health}`] },
      hasty,
    );
    await alerting.isQuiet(2);
    const redis = await connect(fleet.redis.address);
    const post = (path: string, json?: object) =>
      service.ask(path, { method: "POST", ...(json && { json }) });
    const comes = async (name: string, says = /^$/) => {
      const told = await alerting.hears(name, "firing");
      expect(told.annotations.description ?? "").toMatch(says);
    };
    const ends = (name: string) => alerting.hears(name, "resolved");

    await redis.config("SET", "maxmemory-policy", "allkeys-lru");
    await comes("DroverRedisEvicts");
    await redis.config("SET", "maxmemory-policy", "noeviction");
    await ends("DroverRedisEvicts");

    const used = Number(/used_memory:(\d+)/.exec(await redis.info("memory"))?.[1]);
    await redis.config("SET", "maxmemory", String(Math.round(used * 1.05)));
    await comes("DroverRedisMemoryHigh", /^\d+(\.\d+)?% of the limit is used\.$/);
    await redis.config("SET", "maxmemory", "0");
    await ends("DroverRedisMemoryHigh");

    if (fleet.redis.kind === "local") {
      const [, directory = ""] = (await redis.config("GET", "dir")) as string[];
      mkdirSync(join(directory, "dump.rdb"));
      await redis.bgsave();
      await comes("DroverRedisPersistenceFails");
      rmdirSync(join(directory, "dump.rdb"));
      await redis.bgsave();
      await ends("DroverRedisPersistenceFails");
    }

    await post("/api/v1/dispatch/pause");
    await comes("DroverDispatchPausedLong");
    await post("/api/v1/dispatch/resume");
    await ends("DroverDispatchPausedLong");

    await service.ask("/sync/s3-notification", {
      body: "{",
      method: "POST",
      headers: { "content-type": "application/json" },
    });
    await comes("DroverDeadLettersGrow", /^1 more within an hour\.$/);

    let isBroken = true;
    const url = origin.route("/broken", (exchange) =>
      (isBroken ? does.status(503) : does.file("1"))(exchange),
    );
    await post("/api/v1/runs", {
      sources: [url],
      to: work.to("broken"),
      circuit_ttl: 3_600,
      retries: 8,
      backoff_factor: 1,
    });
    await comes("DroverBreakerOpenLong", /^It has been blocked for \d+(\.\d+)?s\.$/);
    isBroken = false;
    await post(`/api/v1/hosts/${encodeURIComponent(new URL(url).host)}/breaker/close`);
    await ends("DroverBreakerOpenLong");

    const gate = new Gate();
    // The first host has asked for fewer requests: files that wait for their host do not wait for a worker.
    const unhurried = await FaultOrigin.start();
    onTestFinished(() => unhurried.stop());
    const silent = Array.from({ length: 6 }, (_, at) =>
      unhurried.route(`/silent-${at}`, does.gated(gate, does.file("1"))),
    );
    // Longer than the alert may take: files that fail wait for their host's breaker, and not for a worker.
    await post("/api/v1/runs", { sources: silent, to: work.to("silent"), timeout: 300 });
    await comes("DroverQueueStuck", /^\d files wait\.$/);
    gate.open();
    await ends("DroverQueueStuck");

    const gone = Array.from({ length: 120 }, (_, at) => origin.route(`/gone-${at}`, does.status(404)));
    await service.runToEnd({ sources: gone, to: work.to("gone") });
    await comes("DroverFailuresHigh", /^9\d(\.\d+)?% of them failed\.$/);

    worker.kill("SIGKILL");
    await comes("DroverNoWorkers");
    const down = await alerting.hears("DroverWorkerDown", "firing");
    expect(down.labels).toMatchObject({ job: "drover-worker", instance: `127.0.0.1:${health}` });

    redis.disconnect();
    await service.stop("SIGKILL");
    await comes("DroverApiDown");
  }, 400_000);
});
