import { describe, expect } from "vitest";
import * as does from "../../harness/behaviours.js";
import { Gate, until } from "../../harness/gate.js";
import { it } from "../../harness/service.js";

const hostOf = (url: string) => new URL(url).host;

describe("hosts over HTTP", () => {
  it("tell of an open breaker, which closes by hand: waiting files go on at once", async ({
    serve,
    work,
    origin,
  }) => {
    let broken = true;
    const url = origin.route("/a", (exchange) => (broken ? does.status(503) : does.file("fine"))(exchange));
    const host = hostOf(url);
    const service = await serve(["--root", work.at(""), "--allow-address", host]);
    const { body: run } = await service.ask("/api/v1/runs", {
      json: { sources: [url], to: work.at("out"), circuit_ttl: 3_600, retries: 8, backoff_factor: 1 },
    });
    const open = await until("the breaker", async () => {
      const { body } = await service.ask("/api/v1/hosts");
      return body.hosts.find((each: { breaker: { state: string } }) => each.breaker.state === "open");
    });
    expect(open).toMatchObject({ host, breaker: { opens: 1 }, limit: null, files_in_progress: 0 });
    expect(Date.parse(open.breaker.open_until)).toBeGreaterThan(Date.now() + 3_000_000);
    const told = await until("what waits for it", async () => {
      const { body } = await service.ask(`/api/v1/hosts?host=${host}`);
      return body.hosts[0].waiting ?? undefined;
    });
    expect(told).toEqual({ files: 1, runs: 1 });
    expect((await service.ask("/api/v1/hosts?host=http://x")).status).toBe(422);
    broken = false;
    const closing = `/api/v1/hosts/${encodeURIComponent(host)}/breaker/close`;
    expect((await service.ask(closing, { method: "POST" })).body).toEqual({
      closed: [host],
      files_woken: 1,
    });
    const { body: done } = await service.ask(`/api/v1/runs/${run.id}?wait=30`);
    expect(done).toMatchObject({ state: "done", copied: 1 });
    expect((await service.ask(closing, { method: "POST" })).body).toEqual({ closed: [], files_woken: 0 });
    const { body: after } = await service.ask("/api/v1/hosts");
    expect(after.hosts).toMatchObject([
      { host, waiting: null, breaker: { state: "closed", open_until: null, opens: 1 } },
    ]);
  });

  it("close although reports of before come later", async ({ serve, work, origin }) => {
    const gate = new Gate();
    const late = origin.route("/late", does.gated(gate, does.status(503)));
    const url = origin.route("/a", does.status(503));
    const host = hostOf(url);
    const service = await serve(["--root", work.at(""), "--allow-address", host]);
    const terms = { to: work.at("out"), circuit_ttl: 3_600, breaker_wait: 0, retries: 8, backoff_factor: 1 };
    const { body: slow } = await service.ask("/api/v1/runs", {
      json: { ...terms, sources: [late], retries: 1 },
    });
    await gate.reached;
    const { body: run } = await service.ask("/api/v1/runs", { json: { ...terms, sources: [url] } });
    expect((await service.ask(`/api/v1/runs/${run.id}?wait=30`)).body).toMatchObject({ blocked: 1 });
    await service.ask(`/api/v1/hosts/${host}/breaker/close`, { method: "POST" });
    gate.open();
    expect((await service.ask(`/api/v1/runs/${slow.id}?wait=30`)).body).toMatchObject({ failed: 1 });
    const { body } = await service.ask("/api/v1/hosts");
    expect(body.hosts).toMatchObject([{ host, breaker: { state: "closed", failures: 0 } }]);
  });

  it("take limits, of their own and by default, and lose them", async ({ serve, work, origin }) => {
    const gate = new Gate();
    const urls = [1, 2, 3].map((at) => origin.route(`/${at}`, does.gated(gate, does.file("x"))));
    const host = hostOf(urls[0] as string);
    const service = await serve(["--root", work.at(""), "--allow-address", host]);
    const put = (name: string, json: object) =>
      service.ask(`/api/v1/hosts/${encodeURIComponent(name)}/limit`, { method: "PUT", json });
    expect((await put(host, { files: 1, requests_per_second: 500 })).body.hosts).toEqual([host]);
    expect((await put("Example.com", { bytes_per_second: 1e6 })).body.hosts).toEqual([
      "example.com:443",
      "example.com:80",
    ]);
    expect((await put("*", { files: 7 })).status).toBe(200);
    expect((await put(host, {})).status).toBe(422);
    expect((await put(host, { files: 0 })).status).toBe(422);
    expect((await put("http://x", { files: 1 })).status).toBe(422);
    const { body: run } = await service.ask("/api/v1/runs", { json: { sources: urls, to: work.at("out") } });
    const busy = await until("a file in progress", async () => {
      const { body } = await service.ask("/api/v1/hosts");
      return body.hosts.some((each: { files_in_progress: number }) => each.files_in_progress > 0) && body;
    });
    expect(busy).toMatchObject({ default_limit: { files: 7 }, truncated: false, next: null });
    expect(busy.hosts).toMatchObject([
      // Those that ask whether they may begin are among these for a moment.
      {
        host,
        limit: { files: 1, requests_per_second: 500 },
        files_in_progress: expect.toSatisfy((n) => n > 0),
      },
      { host: "example.com:443", limit: { bytes_per_second: 1e6 } },
      { host: "example.com:80" },
    ]);
    const { body: workers } = await service.ask("/api/v1/workers");
    expect(workers.workers).toMatchObject([{ leads: true, carrying: [{ run: run.id, size_bytes: null }] }]);
    const first = (await service.ask("/api/v1/hosts?limit=2")).body;
    const second = (await service.ask(`/api/v1/hosts?limit=2&cursor=${first.next}`)).body;
    expect([first.hosts.length, second.hosts.length, second.next]).toEqual([2, 1, null]);
    gate.open();
    expect((await service.ask(`/api/v1/runs/${run.id}?wait=30`)).body).toMatchObject({ copied: 3 });
    await service.ask(`/api/v1/hosts/${host}/limit`, { method: "DELETE" });
    await service.ask("/api/v1/hosts/*/limit", { method: "DELETE" });
    const { body } = await service.ask("/api/v1/hosts");
    expect(body.default_limit).toBeNull();
    expect(body.hosts[0]).toMatchObject({ host, limit: null });
  });
});
