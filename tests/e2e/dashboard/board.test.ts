import { connect } from "@drover/shared/redis/connect";
import { describe, expect } from "vitest";
import * as does from "../../harness/behaviours.js";
import { CANARY, canariesIn } from "../../harness/canaries.js";
import { askPage, hasBrowser, it, logIn } from "../../harness/dashboard.js";
import { Gate, until } from "../../harness/gate.js";

const QUEUE = "{drover}:q:fleet";

describe("jobs of Bull Board", () => {
  it("that are removed or retried there end as the ledger says", async ({
    dashboard,
    fleet,
    work,
    origin,
  }) => {
    const gate = new Gate();
    const held = origin.route("/held", does.gated(gate, does.file("held")));
    const waits = origin.route("/waits", does.file("waits"));
    const gone = origin.route("/gone", does.status(404));
    const open = ["--allow-address", "127.0.0.1"];
    await fleet.worker(...open, "--concurrency", "1");
    const service = await dashboard([...fleet.own, ...open, "--root", work.out, "--board-writes"]);
    const ask = async (path: string, method = "GET") =>
      await askPage(service, `/dashboard/queues/api/queues${path}`, {
        method,
        origin: "own",
        headers: { accept: "application/json" },
      });
    const of = async (id: string) => (await service.ask(`/api/v1/runs/${id}`)).body;

    const failed = await service.runToEnd({ sources: [gone], to: work.to("gone") });
    expect(failed).toMatchObject({ state: "done", failed: 1 });
    const { body: run } = await service.ask("/api/v1/runs", {
      json: { sources: [held, waits], to: work.out },
    });
    await gate.reached;
    type Shown = { id: string; name: string; data: { destination: string } };
    const queued = async () => {
      const { queues } = (await (await ask("?activeQueue=fleet")).json()) as { queues: { jobs: Shown[] }[] };
      return queues[0]?.jobs ?? [];
    };
    const waiting = await until("the job", async () => (await queued()).find(({ name }) => name === "waits"));
    expect(waiting.data).toMatchObject({
      run: run.id,
      source: waits,
      destination: "waits",
      operation: "copy",
    });
    expect((await ask(`/fleet/${waiting.id}/clean`, "PUT")).status).toBe(204);
    await until("its end", async () => (await of(run.id)).cancelled === 1);
    expect((await ask(`/fleet/${waiting.id}/clean`, "PUT")).status).toBe(404); // it has ended: its job leaves by itself
    expect((await ask(`/fleet/${waiting.id}/retry`, "PUT")).status).toSatisfy((status) =>
      [400, 404].includes(status),
    );
    gate.open();
    expect((await service.ask(`/api/v1/runs/${run.id}?wait=30`)).body).toMatchObject({
      state: "done",
      copied: 1,
      cancelled: 1,
    });
    expect(origin.requestsTo("/waits")).toEqual([]);

    // Drover keeps no failed jobs. One that is there nevertheless is retried by way of its file.
    origin.route("/gone", does.file("here again"));
    const redis = await connect(fleet.redis.address);
    const data = JSON.stringify({ i: 0, s: gone, d: "gone", r: failed.id });
    await redis.hset(`${QUEUE}:${failed.id}-0`, {
      name: "",
      data,
      opts: "{}",
      timestamp: 1,
      failedReason: "404",
    });
    await redis.zadd(`${QUEUE}:failed`, 1, `${failed.id}-0`);
    expect((await ask(`/fleet/${failed.id}-0/retry`, "PUT")).status).toBe(204);
    expect((await service.ask(`/api/v1/runs/${failed.id}?wait=30`)).body).toMatchObject({
      failed: 0,
      copied: 1,
    });
    await until("the old job's end", async () => (await redis.exists(`${QUEUE}:${failed.id}-0`)) === 0);
    const { body } = await service.ask("/api/v1/audit");
    expect(body.entries.map(({ what }: { what: string }) => what)).toEqual(
      expect.arrayContaining(["POST /api/v1/runs/{run}/cancel", "POST /api/v1/runs/{run}/retry"]),
    );
    redis.disconnect();
  });

  it("show no secrets, whatever part of them has some", async ({ dashboard, fleet }) => {
    const service = await dashboard([...fleet.own]);
    const redis = await connect(fleet.redis.address);
    const secret = `https://me:${CANARY}@example.com/a?X-Amz-Signature=${CANARY}&token=${CANARY}`;
    const fields = {
      name: secret,
      data: JSON.stringify({ i: 0, s: secret, d: secret, r: "run", extra: { [secret]: [secret] } }),
      opts: JSON.stringify({ any: secret }),
      returnvalue: JSON.stringify({ from: secret }),
      progress: JSON.stringify(secret),
      failedReason: `cannot get ${secret}`,
      stacktrace: JSON.stringify([`Error: at ${secret}`]),
      timestamp: 1,
      finishedOn: 2,
    };
    await redis.hset(`${QUEUE}:run-0`, fields);
    await redis.hset(`${QUEUE}:run-1`, { ...fields, data: JSON.stringify([secret]) });
    for (const id of ["run-0", "run-1"]) await redis.zadd(`${QUEUE}:failed`, 2, id);
    await redis.rpush(`${QUEUE}:run-0:logs`, `a line with ${secret}`);
    for (const path of [
      "?activeQueue=fleet&status=failed",
      "/fleet/run-0",
      "/fleet/run-1",
      "/fleet/run-0/logs",
      "/fleet/run-0/flow",
    ]) {
      const answer = await askPage(service, `/dashboard/queues/api/queues${path}`);
      const text = await answer.text();
      expect([answer.status, canariesIn(text)], path).toEqual([200, []]);
      if (!path.endsWith("flow")) expect(text, path).toContain("example.com/a");
    }
    expect(canariesIn(service.process.output)).toEqual([]);
    redis.disconnect();
  });

  it("are shown a page at a time, however many there are and are asked for", async ({ dashboard, fleet }) => {
    const service = await dashboard([...fleet.own]);
    const redis = await connect(fleet.redis.address);
    const jobs = 20_000;
    const adding = redis.pipeline();
    for (let index = 0; index < jobs; index++) {
      const data = JSON.stringify({ i: index, s: `https://example.com/${index}`, d: `${index}`, r: "run" });
      adding.hset(`${QUEUE}:run-${index}`, { name: "", data, opts: "{}", timestamp: 1, priority: 1 });
      adding.zadd(`${QUEUE}:prioritized`, index, `run-${index}`);
    }
    await adding.exec();
    const ask = async (query: string) => {
      const answer = await askPage(service, `/dashboard/queues/api/queues?activeQueue=fleet&status=${query}`);
      return ((await answer.json()) as { queues: { jobs: unknown[]; counts: { prioritized: number } }[] })
        .queues[0];
    };
    const everything = await ask(`prioritized&page=1&jobsPerPage=${jobs}`);
    expect([everything?.jobs.length, everything?.counts.prioritized]).toEqual([100, jobs]);
    expect((await ask("prioritized&page=1999&jobsPerPage=10"))?.jobs.length).toBe(10);
    expect((await ask("latest"))?.jobs.length).toBe(10);
    redis.disconnect();
  });
});

describe.skipIf(!hasBrowser)("the page of Bull Board in a browser", () => {
  it("asks no other host, breaks no policy, and shows the jobs", async ({
    dashboard,
    fleet,
    token,
    browser,
  }) => {
    const service = await dashboard([...fleet.own, "--host", "127.0.0.1"]);
    const redis = await connect(fleet.redis.address);
    const data = JSON.stringify({ i: 0, s: "https://example.com/a.csv", d: "in/a.csv", r: "run" });
    await redis.hset(`${QUEUE}:run-0`, { name: "", data, opts: "{}", timestamp: 1, priority: 1 });
    await redis.zadd(`${QUEUE}:prioritized`, 1, "run-0");
    const { cookie } = await logIn(service, await token("read", ...fleet.own));
    const context = await browser.newContext();
    const [name = "", value = ""] = cookie.split("=");
    await context.addCookies([{ name, value, url: service.url }]);
    const page = await context.newPage();
    const foreign: string[] = [];
    const wrong: string[] = [];
    page.on("request", (request) => {
      if (!/^(data|blob):/.test(request.url()) && !request.url().startsWith(service.url))
        foreign.push(request.url());
    });
    page.on("pageerror", (error) => wrong.push(String(error)));
    page.on("console", (message) => message.type() === "error" && wrong.push(message.text()));
    await page.goto(`${service.url}/dashboard/queues/`);
    await page.getByText("fleet").first().waitFor();
    for (const path of ["queue/fleet?status=prioritized", "queue/fleet/run-0"]) {
      await page.goto(`${service.url}/dashboard/queues/${path}`);
      await page.getByText("in/a.csv").first().waitFor();
      await page.getByText("https://example.com/a.csv").first().waitFor();
    }
    expect(await page.getByTitle(/retry|promote|clean|delete/i).count()).toBe(0); // it is read-only
    expect(foreign).toEqual([]);
    expect(wrong).toEqual([]);
    const clients = async () =>
      Number(/cmdstat_client\|list:calls=(\d+)/.exec(await redis.info("commandstats"))?.[1] ?? 0);
    expect(await clients()).toBe(0); // nobody asked Redis for the list of its clients
    await context.close();
    redis.disconnect();
  });
});
