import { existsSync, readFileSync, rmSync, symlinkSync } from "node:fs";
import { type AddressInfo, createServer } from "node:net";
import { openEngine, planRun, SILENT, submit } from "@drover/producer";
import type { Outcome } from "@drover/shared/outcome";
import { Keys } from "@drover/shared/protocol/keys";
import { connect } from "@drover/shared/redis/connect";
import { startLocalPool } from "@drover/worker";
import { Queue } from "bullmq";
import { describe, expect } from "vitest";
import * as does from "../../harness/behaviours.js";
import { pattern } from "../../harness/content.js";
import type { Item } from "../../harness/drover.js";
import { it } from "../../harness/fixtures.js";
import { Gate, until } from "../../harness/gate.js";
import { listRuns, onlyRun, statusOf } from "../../harness/runs.js";

const names = (count: number) => Array.from({ length: count }, (_, at) => `f${at}`);

describe("a fleet", () => {
  it("carries a submitted run, and the submitting command shows every file", async ({
    box,
    origin,
    work,
    fleet,
  }) => {
    await fleet.worker();
    await fleet.worker();
    const urls = names(40).map((name) => origin.route(`/${name}`, does.file(name)));
    const missing = origin.route("/missing", does.status(404));
    const { items, code } = await box.sync([...urls, missing, ...work.into, ...fleet.own]);
    expect(code).toBe(1);
    expect(items).toHaveLength(41);
    expect(items.filter((item) => item.outcome === "copied")).toHaveLength(40);
    expect(items.find((item) => item.source === missing)).toMatchObject({
      status: "failed",
      attempts: 1,
      error: { class: "not-found" },
    });
    for (const name of names(40)) expect(readFileSync(work.to(name), "utf8")).toBe(name);
    const again = await box.sync([...urls, ...work.into, ...fleet.own]);
    expect(again.items.map(({ outcome }) => outcome)).toEqual(urls.map(() => "unchanged"));
    expect(await listRuns(box, fleet.own)).toMatchObject([
      { state: "done", files: 40, unchanged: 40 },
      { state: "done", files: 41, copied: 40, failed: 1 },
    ]);
  });

  it("warns at once that no worker is alive, and starts when one is", async ({
    box,
    origin,
    work,
    fleet,
  }) => {
    const url = origin.route("/a", does.file("a"));
    const run = box.start(["sync", url, ...work.into, ...fleet.own]);
    await run.waitFor("stderr", /no worker .* alive/);
    await fleet.worker();
    expect((await run.result).code).toBe(0);
    expect(readFileSync(work.to("a"), "utf8")).toBe("a");
  });

  it("refuses a destination that no worker writes to", async ({ box, origin, work, fleet }) => {
    await fleet.worker();
    const url = origin.route("/a", does.file("a"));
    const { code, stderr, stdout } = await box.run([
      ...["sync", url, "--artifact-root", work.at("elsewhere"), ...fleet.own],
    ]);
    expect(code).toBe(2);
    expect(stdout).toBe("");
    expect(stderr).toContain(work.out);
    expect(existsSync(work.at("elsewhere"))).toBe(false);
  });

  it("keeps a run without followers, which wait, status and runs report", async ({
    box,
    origin,
    work,
    fleet,
  }) => {
    const gate = new Gate();
    const slow = origin.route("/slow", does.gated(gate, does.file("slow")));
    const detached = await box.run(["sync", slow, ...work.into, ...fleet.own, "--detach"]);
    expect(detached.code).toBe(0);
    const id = detached.stdout.trim();
    await fleet.worker();
    await gate.reached;
    expect(await statusOf(box, id, fleet.own)).toMatchObject({ state: "running", files: 1, copied: 0 });
    const { stdout } = await box.run(["workers", "--json", ...fleet.own]);
    const time = expect.stringMatching(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/);
    expect(JSON.parse(stdout)).toMatchObject([{ roots: [work.out], started: time }]);
    const carrying = await until("the worker to tell what it carries", async () => {
      const [told] = JSON.parse((await box.run(["workers", "--json", ...fleet.own])).stdout);
      return told.carrying[0];
    });
    expect(carrying).toMatchObject({ run: id, since: time });
    expect(stdout).not.toMatch(/\b\d{13}\b/);
    const waiting = box.start(["wait", id, ...fleet.own, "--json"]);
    gate.open();
    const { code, stdout: json } = await waiting.result;
    expect(code).toBe(0);
    expect((JSON.parse(json) as Item[]).length).toBeLessThanOrEqual(1);
    expect(await onlyRun(box, fleet.own)).toMatchObject({ state: "done", copied: 1 });
  });

  it("carries a file once for two runs that request it before it is started", async ({
    box,
    origin,
    work,
    fleet,
  }) => {
    const urls = names(5).map((name) => origin.route(`/${name}`, does.file(name)));
    const first = await box.run(["sync", ...urls, ...work.into, ...fleet.own, "--detach"]);
    const second = await box.run(["sync", ...urls, ...work.into, ...fleet.own, "--detach"]);
    await fleet.worker();
    for (const { stdout } of [first, second]) {
      const id = stdout.trim();
      expect((await box.run(["wait", id, ...fleet.own])).code).toBe(0);
      expect(await statusOf(box, id, fleet.own)).toMatchObject({ state: "done", files: 5, copied: 5 });
    }
    expect(origin.requests).toHaveLength(5);
  });

  it("carries a file again for a run that requests it after it was started", async ({
    box,
    origin,
    work,
    fleet,
  }) => {
    await fleet.worker();
    const gate = new Gate();
    const url = origin.route("/a", does.pausedAt(pattern(1_000_000), 500_000, gate), does.file("newer"));
    const first = box.start(["sync", url, ...work.into, ...fleet.own]);
    await gate.reached;
    const second = box.start(["sync", url, ...work.into, ...fleet.own]);
    await until(
      "the second run",
      async () => (await listRuns(box, fleet.own)).filter((run) => run.files === 1).length === 2,
    );
    gate.open();
    expect((await first.result).code).toBe(0);
    expect((await second.result).code).toBe(0);
    expect(readFileSync(work.to("a"), "utf8")).toBe("newer");
  });

  it("takes over the files of a killed worker", async ({ box, origin, work, fleet }) => {
    const doomed = await fleet.worker();
    const gate = new Gate();
    const content = pattern(3_000_000);
    const url = origin.route("/a", does.pausedAt(content, 2_000_000, gate), does.file(content));
    const run = box.start(["sync", url, ...work.into, ...fleet.own, "--json"], { timeoutMs: 120_000 });
    await gate.reached;
    doomed.kill("SIGKILL");
    await fleet.worker();
    gate.open();
    const { code } = await run.result;
    expect(code).toBe(0);
  }, 120_000);

  it("requeues the unfinished files of a stopped worker without counting an attempt", async ({
    box,
    origin,
    work,
    fleet,
  }) => {
    const first = await fleet.worker("--drain-deadline", "0");
    const gate = new Gate();
    const content = pattern(30_000_000);
    const url = origin.route("/a", does.pausedAt(content, 20_000_000, gate), does.file(content));
    const run = box.start(["sync", url, ...work.into, ...fleet.own, "--json"]);
    await gate.reached;
    first.kill("SIGTERM");
    expect((await first.result).code).toBe(0);
    await fleet.worker();
    gate.open();
    const { stdout, code } = await run.result;
    expect(code).toBe(0);
    expect((JSON.parse(stdout) as Item[])[0]).toMatchObject({ outcome: "copied", attempts: 1 });
    expect(origin.requests[1]?.headers.range).toMatch(/^bytes=\d+-/);
  });

  it("lets a stopped worker finish its files", async ({ box, origin, work, fleet }) => {
    const first = await fleet.worker("--drain-deadline", "60");
    const gate = new Gate();
    const url = origin.route("/a", does.pausedAt(pattern(2_000_000), 1_000_000, gate));
    const run = box.start(["sync", url, ...work.into, ...fleet.own]);
    await gate.reached;
    first.kill("SIGTERM");
    await first.waitFor("stderr", /stopping/);
    gate.open();
    expect((await first.result).code).toBe(0);
    expect((await run.result).code).toBe(0);
    expect(origin.requests).toHaveLength(1);
  });

  it("cancels the files of a run that are in progress and those that wait", async ({
    box,
    origin,
    work,
    fleet,
  }) => {
    await fleet.worker("--concurrency", "1");
    const gate = new Gate();
    const slow = origin.route("/f0", does.pausedAt(pattern(2_000_000), 1_000_000, gate));
    const others = names(5)
      .slice(1)
      .map((name) => origin.route(`/${name}`, does.file(name)));
    const run = box.start(["sync", slow, ...others, ...work.into, ...fleet.own, "--json"]);
    await gate.reached;
    const { run: id } = await onlyRun(box, fleet.own);
    expect((await box.run(["cancel", id, ...fleet.own])).code).toBe(0);
    const { code, stdout } = await run.result;
    gate.open();
    expect(code).toBe(3);
    expect((JSON.parse(stdout) as Item[]).map(({ status }) => status)).toEqual(Array(5).fill("cancelled"));
  });

  it("retries exactly what failed", async ({ box, origin, work, fleet }) => {
    await fleet.worker();
    const good = origin.route("/good", does.file("good"));
    const bad = origin.route("/bad", does.status(404), does.file("now"));
    const { code } = await box.sync([good, bad, ...work.into, ...fleet.own]);
    expect(code).toBe(1);
    const { run: id } = await onlyRun(box, fleet.own);
    const retry = await box.run(["retry", id, ...fleet.own, "--json"]);
    expect(retry.code).toBe(0);
    expect(JSON.parse(retry.stdout)).toMatchObject([{ source: bad, outcome: "copied" }]);
    expect(origin.requestsTo("/good")).toHaveLength(1);
    expect(await statusOf(box, id, fleet.own)).toMatchObject({ state: "done", copied: 2, failed: 0 });
  });

  it("lets a small run overtake a large one", async ({ box, origin, work, fleet }) => {
    await fleet.worker("--concurrency", "2");
    const list = names(3_000)
      .map((name) => origin.url(`/big/${name}`))
      .join("\n");
    origin.route("/big/*", does.after(2, does.file("big")));
    const large = box.start(["sync", "--from-file", "-", ...work.into, ...fleet.own], { input: list });
    await until("the first files", async () => ((await listRuns(box, fleet.own))[0]?.copied ?? 0) > 10);
    const small = names(10).map((name) => origin.route(`/s${name}`, does.file("small")));
    expect((await box.run(["sync", ...small, ...work.into, ...fleet.own])).code).toBe(0);
    const [, big] = await listRuns(box, fleet.own);
    expect(big?.state).toBe("running");
    expect(big?.copied).toBeLessThan(2_000);
    large.kill("SIGKILL");
  });

  it("lets no file wait behind a long one while another worker is free", async ({
    box,
    origin,
    work,
    fleet,
  }) => {
    for (const _ of [1, 2]) await fleet.worker("--concurrency", "1");
    const gate = new Gate();
    const quick = names(120).map((name) => origin.route(`/${name}`, does.file(name)));
    const long = origin.route("/long", does.gated(gate, does.file("long")));
    const list = work.write({ "list.txt": [...quick.slice(0, 60), long, ...quick.slice(60)].join("\n") });
    const run = box.start(["sync", "--from-file", list, ...work.into, ...fleet.own, "--json"]);
    await gate.reached;
    const { run: id } = await onlyRun(box, fleet.own);
    await until("all others", async () => (await statusOf(box, id, fleet.own)).copied === quick.length);
    gate.open();
    expect((await run.result).code).toBe(0);
  });

  it("does not let a dead host delay the others", async ({ box, origin, work, fleet }) => {
    await fleet.worker("--concurrency", "4");
    const down = names(300).map((name) => `http://127.0.0.1:9/${name}`); // nothing listens there
    const up = names(50).map((name) => origin.route(`/u${name}`, does.file(name)));
    const options = ["--breaker-wait", "3", "--circuit-ttl", "2", "--retries", "2"];
    const { items } = await box.sync([...down, ...up, ...work.into, ...fleet.own, ...options]);
    const status = (urls: string[]) =>
      new Set(items.filter((item) => urls.includes(item.source)).map((item) => item.status));
    expect(status(up)).toEqual(new Set(["ok"]));
    expect(items).toHaveLength(350);
    const last = items.findLastIndex((item) => up.includes(item.source));
    expect(last).toBeLessThan(200);
  });

  it("respects a host's limits over all workers", async ({ box, origin, work, fleet }) => {
    await fleet.worker("--concurrency", "8");
    await fleet.worker("--concurrency", "8");
    let active = 0;
    let most = 0;
    origin.route("/*", async (exchange) => {
      most = Math.max(most, ++active);
      await new Promise((resolve) => setTimeout(resolve, 20));
      active--;
      await does.file("x")(exchange);
    });
    const urls = names(60).map((name) => origin.url(`/${name}`));
    const limit = ["--host-limit", `${origin.host}=conn:3`];
    const { code } = await box.sync([...urls, ...work.into, ...fleet.own, ...limit]);
    expect(code).toBe(0);
    expect(most).toBeLessThanOrEqual(3);
    expect(most).toBeGreaterThan(1);
    expect(origin.requests).toHaveLength(60);
  });

  it("continues when its leader is killed", async ({ box, origin, work, fleet }) => {
    const first = await fleet.worker();
    await first.waitFor("stderr", /leads the fleet/);
    const second = await fleet.worker();
    const gate = new Gate();
    const urls = names(20).map((name) => origin.route(`/${name}`, does.gated(gate, does.file(name))));
    first.kill("SIGKILL");
    const run = box.start(["sync", ...urls, ...work.into, ...fleet.own, "--json"]);
    gate.open();
    expect((await run.result).code).toBe(0);
    expect(second.stderr).toContain("leads the fleet");
  });

  it("cancels a file whose job was removed, and retries it with drover retry", async ({
    box,
    origin,
    work,
    fleet,
  }) => {
    await fleet.worker("--concurrency", "1");
    const gate = new Gate();
    const first = origin.route("/a", does.gated(gate, does.file("a")));
    const second = origin.route("/b", does.file("b"));
    const run = box.start(["sync", first, second, ...work.into, ...fleet.own, "--json"]);
    await gate.reached;
    const redis = await connect(fleet.redis.address);
    const keys = new Keys();
    const queue = new Queue(keys.fleetQueue(), { connection: redis, prefix: keys.queuePrefix() });
    const [waiting] = await until("the second job", async () => {
      const jobs = await queue.getJobs(["prioritized", "waiting"]);
      return jobs.length > 0 && jobs;
    });
    await waiting?.remove();
    await queue.close();
    redis.disconnect();
    gate.open();
    const { code, stdout } = await run.result;
    expect(code).toBe(1);
    expect((JSON.parse(stdout) as Item[]).find((item) => item.source === second)?.status).toBe("cancelled");
    const { run: id } = await onlyRun(box, fleet.own);
    expect((await box.run(["retry", id, ...fleet.own])).code).toBe(0);
    expect(readFileSync(work.to("b"), "utf8")).toBe("b");
  });

  it("loses and repeats nothing when the submitting process is killed and another resumes", async ({
    box,
    origin,
    work,
    fleet,
  }) => {
    origin.route("/many/*", does.file("many"));
    const lines = names(4_000).map((name) => origin.url(`/many/${name}`));
    const list = work.write({ "list.txt": lines.join("\n") });
    const args = ["sync", "--from-file", list, ...work.into, ...fleet.own, "--durability", "rename"];
    const doomed = box.start(args, { env: { DROVER_FAULT: "enqueue:3" } });
    await doomed.result;
    const { run: id, state, files } = await onlyRun(box, fleet.own);
    expect(state).toBe("interrupted");
    expect(files).toBeLessThan(4_000);
    await fleet.worker();
    expect((await box.run(["resume", id, ...fleet.own])).code).toBe(0);
    expect(await statusOf(box, id, fleet.own)).toMatchObject({ state: "done", files: 4_000, copied: 4_000 });
    expect(origin.requests).toHaveLength(4_000);
  });

  it("reports the health of its workers", async ({ fleet }) => {
    const worker = await fleet.worker("--health-port", "0");
    const [, port] = await worker.waitFor("stderr", /"health_port":(\d+)/);
    const ask = async (path: string) => (await fetch(`http://127.0.0.1:${port}${path}`)).status;
    expect(await ask("/healthz")).toBe(200);
    await until("readiness", async () => (await ask("/readyz")) === 200);
    expect(await ask("/other")).toBe(404);
    await fleet.redis.kill();
    await until("no readiness", async () => (await ask("/readyz")) === 503);
    expect(await ask("/healthz")).toBe(200); // killing it would not help
    await fleet.redis.start();
    await until("readiness again", async () => (await ask("/readyz")) === 200);
  });

  it("knows a worker by its root as it was written, be it a link", async ({ box, work, fleet }) => {
    work.write({ "in/a": "a", "real/.keep": "" });
    symlinkSync(work.at("real"), work.at("link"));
    const worker = box.start(["worker", "--root", work.at("link"), ...fleet.own]);
    fleet.workers.push(worker);
    await worker.waitFor("stderr", /worker ready/);
    const { code } = await box.run([
      "sync",
      work.at("in"),
      "--artifact-root",
      work.at("link/x"),
      ...fleet.own,
    ]);
    expect(code).toBe(0);
    expect(readFileSync(work.at("real/x/resilient-data-sync/a"), "utf8")).toBe("a");
  });

  it("ends the files of a run whose root cannot be opened any more, with the reason", async ({
    box,
    work,
    fleet,
  }) => {
    work.write({ "in/a": "a" });
    const into = ["--artifact-root", work.to("x"), "--script-name", ""];
    const { stdout } = await box.run(["sync", work.at("in"), ...into, ...fleet.own, "--detach"]);
    rmSync(work.to("x"), { recursive: true, force: true });
    work.write({ "out/x": "a file" });
    await fleet.worker();
    const waited = await box.run(["wait", stdout.trim(), ...fleet.own], { timeoutMs: 30_000 });
    expect([waited.code, waited.stdout]).toEqual([
      3,
      expect.stringMatching(/✗ a \(cannot use .*\/x as a destination \(EEXIST\)\)/),
    ]);
    expect(readFileSync(work.to("x"), "utf8")).toBe("a file");
  });

  it("does not spin while a key of its queue has the wrong type", async ({ fleet }) => {
    const redis = await connect(fleet.redis.address);
    const keys = new Keys();
    await redis.set(`${keys.queuePrefix()}:${keys.fleetQueue()}:prioritized`, "text");
    const errors = async () =>
      Number(/errorstat_WRONGTYPE:count=(\d+)/.exec(await redis.info("all"))?.[1] ?? 0);
    const worker = await fleet.worker();
    await until("an error", async () => (await errors()) > 0);
    await worker.waitFor("stderr", /WRONGTYPE/);
    const [before, sinceMs] = [await errors(), performance.now()];
    await until("more of them", async () => (await errors()) >= before + 8, 30_000);
    expect(performance.now() - sinceMs).toBeGreaterThan(1_500);
    redis.disconnect();
  });

  it("says once who leads it, also while each round of the leader fails", async ({ fleet }) => {
    const redis = await connect(fleet.redis.address);
    await redis.set(new Keys().active(), "text");
    const failed = async () =>
      Number(/errorstat_WRONGTYPE:count=(\d+)/.exec(await redis.info("all"))?.[1] ?? 0);
    const worker = await fleet.worker();
    await until("some failed rounds", async () => (await failed()) >= 4, 30_000);
    expect(worker.stderr.match(/this worker leads the fleet/g)).toHaveLength(1);
    redis.disconnect();
  });

  it("refuses a worker whose health port is taken, before it sets any limit", async ({
    box,
    work,
    fleet,
  }) => {
    const taken = createServer().listen(0);
    const { port } = taken.address() as AddressInfo;
    const args = ["worker", "--root", work.out, "--health-port", `${port}`, ...fleet.own];
    const { code, stderr } = await box.run([...args, "--host-limit", "example.com=conn:1"]);
    taken.close();
    const redis = await connect(fleet.redis.address);
    expect(await redis.exists(new Keys().limit("example.com:443"))).toBe(0);
    redis.disconnect();
    expect([code, stderr]).toEqual([
      2,
      expect.stringMatching(/^drover: cannot listen on --health-port .*\n$/),
    ]);
  });

  it("refuses a worker that is to allow what is no address, before it sets any limit", async ({
    box,
    work,
    fleet,
  }) => {
    const args = ["worker", "--root", work.out, "--allow-address", "10.0.0.0/64", ...fleet.own];
    const { code, stderr } = await box.run([...args, "--host-limit", "example.com=conn:1"]);
    const redis = await connect(fleet.redis.address);
    expect(await redis.exists(new Keys().limit("example.com:443"))).toBe(0);
    redis.disconnect();
    expect([code, stderr]).toEqual([
      2,
      expect.stringMatching(/^drover: --allow-address must be .*, not "10\.0\.0\.0\/64"\n$/),
    ]);
  });

  it("carries files of guarded runs from addresses that the worker allows", async ({
    origin,
    work,
    fleet,
  }) => {
    await fleet.worker("--allow-address", "open.test", "--allow-address", origin.host);
    const url = origin.route("/a", does.file("a"));
    const engine = await openEngine({ redis: fleet.url, stateDir: work.path });
    const planned = await planRun({
      directory: work.path,
      stateDir: work.path,
      carriedBy: "fleet",
      guarded: true,
      selection: { sources: [url, "http://127.0.0.1:1/b"] },
      destination: { root: work.out },
    });
    const options = { startPool: startLocalPool, stateDir: work.path, warn: () => {} };
    const handle = await submit(engine, planned, options);
    const told: Record<string, string> = {};
    const settled = ({ name, outcome, error }: Outcome) => {
      told[name] = error?.class ?? outcome;
    };
    await handle.follow({ ...SILENT, settled }, new AbortController().signal);
    engine.close();
    expect(told).toEqual({ a: "copied", b: "address" });
    expect(readFileSync(work.to("a"), "utf8")).toBe("a");
  });

  it("tells followers that Redis is away, and that it is back", async ({ box, origin, work, fleet }) => {
    const gate = new Gate();
    const url = origin.route("/a", does.gated(gate, does.file("a")));
    const run = box.start(["sync", url, ...work.into, ...fleet.own]);
    await fleet.worker();
    await gate.reached;
    await fleet.redis.kill();
    await run.waitFor("stderr", /Redis is away/);
    await fleet.redis.start();
    await run.waitFor("stderr", /Redis is back/);
    gate.open();
    expect((await run.result).code).toBe(0);
  });

  it("cancels at once what waits for a dead host", async ({ box, work, fleet }) => {
    await fleet.worker();
    const down = names(100).map((name) => `http://127.0.0.1:9/${name}`);
    const run = box.start(["sync", ...down, ...work.into, ...fleet.own, "--json"]); // a breaker stays open for 300 s
    const id = (await until("the run", async () => (await listRuns(box, fleet.own))[0]?.run)) as string;
    await until("an open breaker", async () => {
      const redis = await connect(fleet.redis.address);
      const state = await redis.hget(new Keys().breaker("127.0.0.1:9"), "st");
      redis.disconnect();
      return state === "o";
    });
    expect((await box.run(["cancel", id, ...fleet.own])).code).toBe(0);
    const { stdout } = await run.result;
    expect((JSON.parse(stdout) as Item[]).length).toBe(100);
  });
});
