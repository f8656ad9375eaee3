import { mkdirSync, writeFileSync } from "node:fs";
import { Keys } from "@drover/shared/protocol/keys";
import { connect } from "@drover/shared/redis/connect";
import type { Redis } from "ioredis";
import { describe, expect } from "vitest";
import * as does from "../../harness/behaviours.js";
import type { Item } from "../../harness/drover.js";
import { it as base } from "../../harness/fixtures.js";
import { Gate, until } from "../../harness/gate.js";
import { onlyRun, statusOf } from "../../harness/runs.js";

const it = base.extend<{ redis: Redis }>({
  redis: async ({ fleet }, use) => {
    const redis = await connect(fleet.redis.address);
    await use(redis);
    redis.disconnect();
  },
});

const keys = new Keys();
const sourcesOf = (json: string) => (JSON.parse(json) as Item[]).map(({ source }) => source).sort();

describe("following a run", () => {
  it("shows every file to each follower", async ({ box, origin, work, fleet, redis }) => {
    const gate = new Gate();
    const urls = Array.from({ length: 60 }, (_, at) =>
      origin.route(`/f${at}`, does.gated(gate, does.file("x"))),
    );
    const submitted = box.start(["sync", ...urls, ...work.into, ...fleet.own, "--json"]);
    const { run } = await until("the run", async () => {
      const found = await onlyRun(box, fleet.own).catch(() => undefined);
      return found?.files === 60 && found;
    });
    const waiting = box.start(["wait", run, ...fleet.own, "--json"]);
    await until("two followers", async () => (await redis.hlen(keys.followers(run))) === 2);
    await fleet.worker();
    gate.open();
    for (const { code, stdout } of [await submitted.result, await waiting.result]) {
      expect(code).toBe(0);
      expect(sourcesOf(stdout)).toEqual([...urls].sort());
    }
    expect(await redis.hlen(keys.followers(run))).toBe(0);
  });

  it("begins where the run stands", async ({ box, origin, work, fleet, redis }) => {
    const gate = new Gate();
    const quick = ["/a", "/b"].map((path) => origin.route(path, does.file("x")));
    const last = origin.route("/c", does.gated(gate, does.file("x")));
    await fleet.worker();
    const submitted = await box.run(["sync", ...quick, last, ...work.into, ...fleet.own, "--detach"]);
    const run = submitted.stdout.trim();
    await until("two files", async () => (await statusOf(box, run, fleet.own)).copied === 2);
    await redis.del(keys.outcomes(run)); // as if they had ended long ago
    const waiting = box.start(["wait", run, ...fleet.own, "--stats", "50ms"]);
    await waiting.waitFor("stderr", /^2\/3 files · /m);
    gate.open();
    const { code, stderr } = await waiting.result;
    expect(code).toBe(0);
    expect(stderr).not.toMatch(/^0\/|[45]\/3/m);
  });

  it("reports how many files were not shown because Redis lost their outcomes", async ({
    box,
    origin,
    work,
    fleet,
    redis,
  }) => {
    const gate = new Gate();
    const quick = ["/a", "/b"].map((path) => origin.route(path, does.file("x")));
    const last = origin.route("/c", does.gated(gate, does.file("x")));
    const submitted = box.start(["sync", ...quick, last, ...work.into, ...fleet.own, "--json"]);
    const { run } = await until("the run", async () => {
      const found = await onlyRun(box, fleet.own).catch(() => undefined);
      return found?.files === 3 && found;
    });
    submitted.kill("SIGSTOP");
    await fleet.worker();
    await until("two files", async () => (await statusOf(box, run, fleet.own)).copied === 2);
    await redis.del(keys.outcomes(run));
    submitted.kill("SIGCONT");
    gate.open();
    const { code, stdout, stderr } = await submitted.result;
    expect(code).toBe(0);
    expect(stderr).toContain("2 files were not shown");
    expect(sourcesOf(stdout)).toEqual([last]);
  });

  it("adds nothing to a run that another process took over during a suspension", async ({
    box,
    work,
    fleet,
    redis,
  }) => {
    mkdirSync(work.at("in"));
    for (let at = 0; at < 300; at++) writeFileSync(work.at(`in/f${at}`), String(at));
    const args = ["sync", work.at("in"), "--backlog-high-water", "100", ...work.into, ...fleet.own];
    const hung = box.start([...args, "--durability", "rename"]);
    const { run } = await until("100 files to be registered", async () => {
      const found = await onlyRun(box, fleet.own).catch(() => undefined);
      return found?.files === 100 && found;
    });
    hung.kill("SIGSTOP");
    await redis.hset(keys.run(run), "ownerUntil", 0); // as if 15 seconds had passed
    const resumed = box.start(["resume", run, ...fleet.own]);
    await until("the run to be taken", async () => (await redis.hget(keys.run(run), "generation")) === "1");
    hung.kill("SIGCONT");
    const { code, stderr } = await hung.result;
    expect(code).toBe(1);
    expect(stderr).toContain(`run ${run} was taken over by another process`);
    expect(await statusOf(box, run, fleet.own)).toMatchObject({ state: "running", files: 100 });
    await fleet.worker();
    expect((await resumed.result).code).toBe(0);
    expect(await statusOf(box, run, fleet.own)).toMatchObject({ state: "done", files: 300, copied: 300 });
  });
});
