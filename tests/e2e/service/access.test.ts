import { connect } from "node:net";
import { text } from "node:stream/consumers";
import { describe, expect } from "vitest";
import * as does from "../../harness/behaviours.js";
import { Gate, until } from "../../harness/gate.js";
import { it } from "../../harness/service.js";

const QUIET = { ENABLE_PERIODIC_SYNC: "false" };
const OPEN = ["/", "/ping", "/healthz", "/readyz", "/docs", "/redoc", "/openapi.json"];

describe("who may call the service", () => {
  it("is this machine where there is no token, and nobody through a proxy or a page of another origin", async ({
    serve,
  }) => {
    const service = await serve([], QUIET);
    expect((await service.ask("/sync/config")).status).toBe(200);
    for (const headers of [
      { forwarded: "for=192.0.2.1" },
      { "x-forwarded-for": "192.0.2.1" },
      { "x-forwarded-proto": "https" },
      { via: "1.1 proxy" },
      { "cf-connecting-ip": "192.0.2.1" },
      { origin: "https://example.com" },
      { origin: "null" },
    ] as Record<string, string>[]) {
      const { status } = await service.ask("/api/v1/runs", { headers });
      expect(status, JSON.stringify(headers)).toBe(403);
    }
    const elsewhere = await service.ask("/sync/config", { headers: { authorization: "Bearer nonsense" } });
    expect(elsewhere.status).toBe(401);
  });

  it("gets a problem for what Node would answer without one", async ({ serve }) => {
    const service = await serve([], QUIET);
    const { port } = new URL(service.url);
    const answerTo = async (request: string) => {
      const socket = connect(Number(port), "127.0.0.1");
      socket.write(request.replaceAll("\n", "\r\n"));
      return await text(socket);
    };
    const close = "Connection: close\n";
    const noHost = await answerTo(`GET /ping HTTP/1.1\n${close}\n`);
    expect(noHost).toMatch(/^HTTP\/1\.1 400 .*application\/problem\+json.*no Host/s);
    const expecting = `POST /api/v1/runs HTTP/1.1\nHost: localhost\nExpect: luck\nContent-Length: 0\n${close}\n`;
    expect(await answerTo(expecting)).toMatch(/^HTTP\/1\.1 400 .*needs a JSON body/s);
    const { status, body, headers } = await service.ask("/sync/trigger");
    expect([status, headers.get("allow")]).toEqual([405, "POST"]);
    expect(body.detail).toBe("there is no GET here, only POST");
  });

  it("is who has the token of the environment, and then nobody else ever again", async ({ serve, work }) => {
    const token = "a-token-SECRET-CANARY";
    const service = await serve(["--host", "127.0.0.1"], { ...QUIET, API_TOKEN: token });
    for (const path of OPEN) expect((await service.ask(path)).status, path).toBe(200);
    const refused = await service.ask("/sync/config");
    expect([refused.status, refused.headers.get("www-authenticate")]).toEqual([401, 'Bearer realm="drover"']);
    const headers = { authorization: `Bearer ${token}` };
    expect((await service.ask("/sync/config", { headers })).status).toBe(200);
    expect(
      (await service.ask("/sync/config", { headers: { authorization: `Bearer ${token}x` } })).status,
    ).toBe(401);
    expect(service.process.output).not.toContain("CANARY");
    await service.stop();
    const without = await serve(["--host", "127.0.0.1"], QUIET);
    expect((await without.ask("/sync/config")).status).toBe(401);
    expect(work.path).toBeTruthy();
  });

  it("depends on the scopes of a token, until it expires or is revoked", async ({ serve, box, work }) => {
    const env = { ...QUIET, XDG_STATE_HOME: work.at("state") };
    const service = await serve(["--root", work.path], env);
    const token = async (...args: string[]) => {
      const { code, stdout, stderr } = await box.run(["token", "create", ...args], { env });
      expect([code, stderr]).toEqual([0, ""]);
      return stdout.trim();
    };
    const reads = await token("dashboard", "--scopes", "read");
    const enqueues = await token("ingest", "--scopes", "enqueue");
    const brief = await token("brief", "--expires", "1s");
    const status = async (path: string, given: string, json?: object) =>
      (await service.ask(path, { headers: { authorization: `Bearer ${given}` }, ...(json ? { json } : {}) }))
        .status;
    const request = { sources: [work.write({ "in/a": "a" })], to: work.at("out") };
    expect(await status("/sync/config", reads)).toBe(200);
    expect((await service.ask("/sync/config")).status).toBe(401); // there is a token now
    expect(await status("/api/v1/runs", reads, request)).toBe(403);
    expect(await status("/api/v1/runs", enqueues, request)).toBe(202);
    expect(await status("/api/v1/runs", enqueues)).toBe(403);
    const { stdout: json } = await box.run(["token", "list", "--json"], { env });
    const listed = JSON.parse(json) as { id: string; name: string; last_used: string | null }[];
    expect(listed.map(({ name }) => name)).toEqual(["dashboard", "ingest", "brief"]);
    expect(listed[0]?.last_used).toMatch(/^20/);
    expect(json).not.toContain(reads);
    await expect.poll(() => status("/sync/config", brief), { timeout: 10_000 }).toBe(401);
    const { code } = await box.run(["token", "revoke", listed[0]?.id ?? ""], { env });
    expect(code).toBe(0);
    expect(await status("/sync/config", reads)).toBe(401);
    const unknown = await box.run(["token", "revoke", "0123456789ab"], { env });
    expect([unknown.code, unknown.stderr]).toEqual([2, expect.stringContaining("no such token")]);
  });

  it("is not left to other machines without a token, unless that is said", async ({ box, work, serve }) => {
    const env = { ...QUIET, XDG_STATE_HOME: work.at("state") };
    const args = ["serve", "--port", "0", "--host", "0.0.0.0"];
    const { code, stderr } = await box.run(args, { cwd: work.path, env });
    expect([code, stderr]).toEqual([2, expect.stringMatching(/no token.*drover token create.*--insecure/)]);
    const open = await serve(["--host", "0.0.0.0", "--insecure"], QUIET);
    expect((await open.ask("/sync/config", { headers: { "x-forwarded-for": "192.0.2.1" } })).status).toBe(
      200,
    );
  });
});

describe("pages of other origins", () => {
  it("may call where the settings name them, with a token, and no others", async ({ serve }) => {
    const token = "a-token-for-pages-too";
    const env = { ...QUIET, API_TOKEN: token, CORS_ORIGINS: "https://app.example.com" };
    const service = await serve(["--host", "127.0.0.1"], env);
    const ask = async (origin: string, init: RequestInit = {}) =>
      await fetch(`${service.url}/api/v1/runs`, { ...init, headers: { ...init.headers, origin } });
    const preflight = { method: "OPTIONS", headers: { "access-control-request-method": "POST" } };
    const allowed = await ask("https://app.example.com", preflight);
    expect(allowed.status).toBe(204);
    expect(allowed.headers.get("access-control-allow-origin")).toBe("https://app.example.com");
    expect(allowed.headers.get("access-control-allow-headers")).toContain("Authorization");
    const refused = await ask("https://example.com", preflight);
    expect(refused.headers.get("access-control-allow-origin")).toBeNull();
    const authorization = `Bearer ${token}`;
    const answer = await ask("https://app.example.com", { headers: { authorization } });
    expect([answer.status, answer.headers.get("access-control-allow-origin")]).toEqual([
      200,
      "https://app.example.com",
    ]);
    expect(answer.headers.get("vary")).toContain("Origin");
  });
});

describe("several servers of one Redis", () => {
  it("act as one", async ({ serve, fleet, work }) => {
    work.write({ "out/in/a": "a" });
    await fleet.worker();
    const args = [...fleet.own, "--root", work.out];
    const [one, other] = [await serve(args, QUIET), await serve(args, QUIET)];
    const { body } = await one.ask("/api/v1/runs", {
      json: { sources: [work.to("in/a")], to: work.to("copy") },
    });
    const { body: ended } = await other.ask(`/api/v1/runs/${body.id}?wait=30`);
    expect(ended).toMatchObject({ id: body.id, state: "done", copied: 1 });
    expect((await other.ask("/api/v1/runs")).body).toEqual((await one.ask("/api/v1/runs")).body);
  });
});

describe("errors of the service", () => {
  it("are problems, whatever is asked", async ({ serve }) => {
    const service = await serve([], QUIET);
    const json = { "content-type": "application/json" };
    for (const [path, options, status] of [
      ["/nothing/here", {}, 404],
      ["/api/v1/runs", { method: "DELETE" }, 405],
      ["/api/v1/runs", { body: "{", headers: json }, 400],
      ["/api/v1/runs", { body: '"\udc00"', headers: json }, 422],
      ["/api/v1/runs", { method: "POST", headers: json }, 400],
      [
        "/api/v1/runs",
        { body: "a=1", headers: { "content-type": "application/x-www-form-urlencoded" } },
        415,
      ],
      ["/api/v1/runs", { body: "x".repeat(17 << 20), headers: json }, 413],
      ["/api/v1/runs?limit=abc", {}, 400],
      [`/api/v1/runs?label=${"x".repeat(9_000)}`, {}, 414],
      [`/api/v1/runs?label=${"x".repeat(40_000)}`, {}, 431],
    ] as const) {
      const answered = await service.ask(path, options).catch((error: Error) => error);
      if (answered instanceof Error) {
        // The rest of a body that is too large is not waited for.
        expect([status, answered.message]).toEqual([413, "fetch failed"]);
        continue;
      }
      expect([answered.status, answered.headers.get("content-type")], path).toEqual([
        status,
        "application/problem+json",
      ]);
      expect(answered.body).toMatchObject({ status, title: expect.any(String), detail: expect.any(String) });
      if (status !== 431) expect(answered.body.request_id).toBe(answered.headers.get("x-request-id"));
    }
    expect((await service.ask("/api/v1/runs", { method: "DELETE" })).headers.get("allow")).toBe(
      "POST, GET, HEAD",
    );
  });

  it("are not the service's own, whatever place a list is to go on at", async ({ serve }) => {
    const service = await serve([], QUIET);
    for (const list of ["runs", "audit", "events/dead-letters", "failures", "hosts"])
      for (const cursor of [
        "0-0",
        "1-1",
        "0.a.0",
        "1.a",
        "99999999999999999999-1",
        "-",
        "1",
        "%00",
        "\u{1f600}",
      ]) {
        const { status } = await service.ask(`/api/v1/${list}?cursor=${encodeURIComponent(cursor)}`);
        expect([200, 400], `${list} ${cursor}`).toContain(status);
      }
  });

  it("do not keep a server that is told to stop", async ({ serve, work, origin }) => {
    const gate = new Gate();
    const held = origin.route("/held", does.gated(gate, does.file("x")));
    const service = await serve(
      ["--root", work.path, "--allow-address", "127.0.0.1", "--drain-deadline", "30"],
      { ...QUIET, LOG_LEVEL: "DEBUG" },
    );
    const { body } = await service.ask("/api/v1/runs", { json: { sources: [held], to: work.at("out") } });
    await gate.reached;
    const waiting = service.ask(`/api/v1/runs/${body.id}?wait=60`);
    const following = fetch(`${service.url}/api/v1/runs/${body.id}/events`).then((response) =>
      response.text(),
    );
    const asked = () => service.logged("request").filter(({ url }) => /wait=60|events$/.test(String(url)));
    await until("both", () => asked().length === 2);
    const sinceMs = performance.now();
    const stopped = service.stop();
    expect((await waiting).body.state).toBe("running");
    expect(await following).not.toContain("event: end");
    gate.open();
    expect((await stopped).code).toBe(0);
    expect(performance.now() - sinceMs).toBeLessThan(15_000);
  });

  it("say that Redis is away, after a moment", async ({ serve, fleet, work }) => {
    const service = await serve([...fleet.own, "--root", work.path], QUIET);
    await fleet.redis.stop();
    const sinceMs = performance.now();
    const { status, headers, body } = await service.ask("/api/v1/runs");
    expect([status, headers.get("retry-after")]).toEqual([503, "5"]);
    expect(body.detail).toContain("Redis is away");
    expect(performance.now() - sinceMs).toBeLessThan(8_000);
    expect((await service.ask("/readyz")).status).toBe(503);
    expect((await service.ask("/healthz")).status).toBe(200);
  });
});
