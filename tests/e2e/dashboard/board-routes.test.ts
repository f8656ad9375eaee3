import { once } from "node:events";
import { type IncomingMessage, request } from "node:http";
import { createBullBoard } from "@bull-board/api";
import { ExpressAdapter } from "@bull-board/express";
import { connect } from "@drover/shared/redis/connect";
import { describe, expect } from "vitest";
import { askPage, it, logIn } from "../../harness/dashboard.js";
import type { TestService } from "../../harness/service.js";

const JOB = "/api/queues/:queueName/:jobId";
const QUEUE = "/api/queues/:queueName";

/** What may be read, and how often that is there for the job of this test. */
const READS: [route: string, status: number][] = [
  ...["/", "/metrics-history", "/job-schedulers", "/queue/:queueName", "/queue/:queueName/:jobId"].map(
    (path): [string, number] => [`GET ${path}`, 200],
  ),
  ["GET /api/redis/stats", 200],
  ["GET /api/queues", 200],
  ["GET /api/job-schedulers", 200],
  [`GET ${QUEUE}/metrics`, 200],
  [`GET ${QUEUE}/default-job-options`, 200],
  [`GET ${QUEUE}/rate-limit`, 200],
  [`GET ${QUEUE}/job-data-schema`, 200],
  [`GET ${JOB}/logs`, 200],
  [`GET ${JOB}/flow`, 200],
  [`GET ${JOB}`, 200],
];
/** What may be changed where the settings allow it. */
const WRITES = [`PUT ${JOB}/retry`, `PUT ${JOB}/clean`];
/** What nobody may do: it would go past the ledger. Or, the first one, ask Redis for all its clients. */
const REFUSED = [
  `GET ${QUEUE}/workers`,
  "PUT /api/queues/pause",
  "PUT /api/queues/resume",
  `POST ${QUEUE}/add`,
  `PUT ${QUEUE}/retry/:queueStatus`,
  `PUT ${QUEUE}/promote`,
  `PUT ${QUEUE}/clean/:queueStatus`,
  `PUT ${QUEUE}/pause`,
  `PUT ${QUEUE}/resume`,
  `PUT ${QUEUE}/concurrency`,
  `PUT ${QUEUE}/rate-limit`,
  `PUT ${QUEUE}/rate-limit/release`,
  `PUT ${QUEUE}/empty`,
  `PUT ${QUEUE}/obliterate`,
  `PUT ${QUEUE}/job-schedulers/:schedulerId/remove`,
  `PATCH ${QUEUE}/job-schedulers/:schedulerId`,
  `PUT ${QUEUE}/job-schedulers/:schedulerId/run`,
  `PUT ${JOB}/promote`,
  `PATCH ${JOB}/update-data`,
  `PATCH ${JOB}/delay`,
  `PATCH ${JOB}/priority`,
  `PUT ${JOB}/remove-unprocessed-children`,
];

interface Layer {
  route?: { path: string | string[]; methods: Record<string, boolean> };
  handle?: { stack?: Layer[] };
}

/** All routes that Bull Board registers with Express: read out of its own router. */
function registered(): string[] {
  const serverAdapter = new ExpressAdapter();
  createBullBoard({ queues: [], serverAdapter, options: { uiBasePath: "/nowhere" } });
  const found: string[] = [];
  const walk = (layers: Layer[]) => {
    for (const { route, handle } of layers) {
      for (const path of route === undefined ? [] : [route.path].flat())
        for (const method of Object.keys(route?.methods ?? {})) found.push(`${method.toUpperCase()} ${path}`);
      walk(handle?.stack ?? []);
    }
  };
  walk((serverAdapter.getRouter() as { router: { stack: Layer[] } }).router.stack);
  return found;
}

const ALL = registered();
const JOB_ID = "stale-1";
const BODIES: Record<string, object> = {
  add: { name: "x", data: {}, options: {} },
  concurrency: { concurrency: 1 },
  "rate-limit": { max: 1, duration: 1_000 },
  obliterate: { force: true },
  "update-data": { jobData: { s: "changed" } },
  delay: { runAt: 1 },
  priority: { priority: 1 },
};

/** Asks for a route of the board as a browser would. */
async function ask(service: TestService, route: string, asked: { cookie?: string; origin?: string } = {}) {
  const [method = "", path = ""] = route.split(" ");
  const filled = path
    .replace(":queueName", "fleet")
    .replace(":jobId", JOB_ID)
    .replace(":queueStatus", "failed")
    .replace(":schedulerId", "any");
  const body = BODIES[path.split("/").at(-1) as string] ?? {};
  const origin = asked.origin === "own" ? service.url : asked.origin;
  const { status } = await fetch(`${service.url}/dashboard/queues${filled}`, {
    method,
    redirect: "manual",
    headers: {
      accept: "application/json",
      ...(asked.cookie === undefined ? {} : { cookie: asked.cookie }),
      ...(origin === undefined ? {} : { origin }),
      ...(method === "GET" ? {} : { "content-type": "application/json" }),
    },
    ...(method === "GET" ? {} : { body: JSON.stringify(body) }),
  });
  return status;
}

/** Other ways to ask for a route, which something in between could take for it: spellings of its path, other methods. */
function otherWays(route: string): [method: string, path: string, headers?: Record<string, string>][] {
  const [method = "", path = ""] = route.split(" ");
  const spellings = [
    `${path}/`,
    path.toUpperCase(),
    path.replace("/api", "//api"),
    path.replace("/fleet", "//fleet"),
    path.replace("fleet", "%66leet"),
    path.replace("/api", "/%61pi"),
    path.replace("/api/", "/api%2f"),
    path.replace("/api", "/./api"),
    path.replace("/api", "/static/../api"),
    path.replace("/api", "/static/%2e%2e/api"),
    path.replace("/api", "/queue/fleet/../../api"),
    `${path};a=b`,
    `${path}?_method=GET`,
  ];
  const overrides = ["x-http-method-override", "x-http-method", "x-method-override"];
  return [
    ...spellings.map((spelling): [string, string] => [method, spelling]),
    ...overrides.flatMap((header): [string, string, Record<string, string>][] => [
      ["POST", path, { [header]: method }],
      ["GET", path, { [header]: method }],
    ]),
    ["HEAD", path],
    ["DELETE", path],
  ];
}

/** Status of an answer to a path as it is written: `fetch` would make it a usual one. */
async function rawStatus(
  { url }: TestService,
  { method, path, headers }: { method: string; path: string; headers: Record<string, string> },
): Promise<number | undefined> {
  const { hostname, port } = new URL(url);
  const asked = request({ hostname, port, method, path: `/dashboard/queues${path}`, headers });
  asked.end();
  const [answer] = (await once(asked, "response")) as [IncomingMessage];
  answer.resume();
  return answer.statusCode;
}

/** Puts a job that belongs to no file into the queue, as one that failed. */
async function putJob(url: Parameters<typeof connect>[0]) {
  const redis = await connect(url);
  const queue = "{drover}:q:fleet";
  const fields = {
    name: "",
    data: '{"i":0,"s":"a","d":"a"}',
    opts: "{}",
    timestamp: 1,
    finishedOn: 2,
    failedReason: "x",
  };
  await redis.hset(`${queue}:${JOB_ID}`, fields);
  await redis.zadd(`${queue}:failed`, 2, JOB_ID);
  const contents = async () =>
    JSON.stringify([
      await redis.hgetall(`${queue}:${JOB_ID}`),
      await redis.hgetall(`${queue}:meta`),
      (await redis.keys(`${queue}*`)).sort(),
    ]);
  return { contents, close: () => redis.disconnect() };
}

const isWrite = (route: string) => !route.startsWith("GET ");

describe("every route of Bull Board", () => {
  it("is one that was looked at", () => {
    const known = [...READS.map(([route]) => route), ...WRITES, ...REFUSED];
    expect([...ALL].sort()).toEqual(known.sort());
    expect(ALL.length).toBeGreaterThan(35);
  });

  it("needs a login and the board's own origin, and changes nothing on a read-only board", async ({
    dashboard,
    fleet,
    token,
  }) => {
    const service = await dashboard([...fleet.own, "--host", "127.0.0.1"]);
    const job = await putJob(fleet.redis.address);
    const { cookie } = await logIn(service, await token("read,operate", ...fleet.own));
    const before = await job.contents();
    for (const route of ALL) {
      expect(await ask(service, route), route).toBe(401);
      expect(await ask(service, route, { cookie: `drover=${"a".repeat(43)}` }), route).toBe(401);
      if (!isWrite(route)) continue;
      expect(await ask(service, route, { cookie }), route).toBe(403);
      expect(await ask(service, route, { cookie, origin: "https://example.com" }), route).toBe(403);
      expect(await ask(service, route, { cookie, origin: "null" }), route).toBe(403);
      expect(await ask(service, route, { cookie, origin: "own" }), route).toBe(403);
    }
    for (const [route, status] of READS) expect(await ask(service, route, { cookie }), route).toBe(status);
    for (const route of REFUSED)
      expect(await ask(service, route, { cookie, origin: "own" }), route).toBe(403);
    expect(await job.contents()).toBe(before);
    const unknown = "GET /static/js/nonesuch.js";
    expect(await ask(service, unknown)).toBe(401);
    expect(await ask(service, unknown, { cookie })).toBe(404);
    const page = await askPage(service, "/dashboard/queues/queue/fleet");
    expect(page.status).toBe(303);
    job.close();
  });

  it("is refused however its path is spelled, and whatever method is claimed beside the real one", async ({
    dashboard,
    fleet,
    token,
  }) => {
    const service = await dashboard([...fleet.own, "--host", "127.0.0.1", "--board-writes"]);
    const job = await putJob(fleet.redis.address);
    const { cookie } = await logIn(service, await token("read,operate", ...fleet.own));
    const before = await job.contents();
    for (const [method, path, headers] of otherWays("PUT /api/queues/fleet/obliterate")) {
      const given = { cookie, origin: service.url, ...headers };
      expect([403, 404], `${method} ${path}`).toContain(
        await rawStatus(service, { method, path, headers: given }),
      );
      expect([401, 404], `${method} ${path}`).toContain(
        await rawStatus(service, { method, path, headers: {} }),
      );
    }
    expect(await job.contents()).toBe(before);
    job.close();
  });

  it("that writes is refused where writes are allowed, too, but for retrying and removing a job", async ({
    dashboard,
    fleet,
    token,
  }) => {
    const service = await dashboard([...fleet.own, "--host", "127.0.0.1", "--board-writes"]);
    const job = await putJob(fleet.redis.address);
    const reads = await logIn(service, await token("read,enqueue", ...fleet.own));
    const { cookie } = await logIn(service, await token("read,operate", ...fleet.own));
    const before = await job.contents();
    for (const route of ALL.filter(isWrite)) {
      expect(await ask(service, route), route).toBe(401);
      expect(await ask(service, route, { cookie: reads.cookie, origin: "own" }), route).toBe(403);
      expect(await ask(service, route, { cookie }), route).toBe(403);
      expect(await ask(service, route, { cookie, origin: "https://example.com" }), route).toBe(403);
      if (!WRITES.includes(route))
        expect(await ask(service, route, { cookie, origin: "own" }), route).toBe(403);
    }
    expect(await job.contents()).toBe(before);
    expect(await ask(service, `PUT ${JOB}/retry`, { cookie, origin: "own" })).toBe(409); // it is no file's
    expect(await ask(service, `PUT ${JOB}/clean`, { cookie, origin: "own" })).toBe(204);
    expect(await ask(service, `GET ${JOB}`, { cookie })).toBe(404);
    expect(await ask(service, `PUT ${JOB}/clean`, { cookie, origin: "own" })).toBe(404);
    job.close();
  });
});
