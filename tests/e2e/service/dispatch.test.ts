import { Keys } from "@drover/shared/protocol/keys";
import { connect } from "@drover/shared/redis/connect";
import { describe, expect } from "vitest";
import * as does from "../../harness/behaviours.js";
import { Gate, until } from "../../harness/gate.js";
import { it, type TestService } from "../../harness/service.js";

describe("dispatch over HTTP", () => {
  it("pauses: what is on its way ends, nothing new begins, also after restarts, until it is resumed", async ({
    serve,
    box,
    fleet,
    work,
    origin,
  }) => {
    const gate = new Gate();
    const held = origin.route("/held", does.gated(gate, does.file("held")));
    const late = origin.route("/late", does.file("late"));
    const worker = await fleet.worker("--allow-address", "127.0.0.1");
    const args = [...fleet.own, "--root", work.out];
    const first = await serve(args);
    expect((await first.ask("/api/v1/dispatch")).body).toEqual({ paused: false, since: null, by: null });
    const start = async (service: typeof first, url: string) =>
      (await service.ask("/api/v1/runs", { json: { sources: [url], to: work.out } })).body.id as string;
    const begun = await start(first, held);
    await gate.reached;
    const { body: paused } = await first.ask("/api/v1/dispatch/pause", { method: "POST" });
    expect(paused).toMatchObject({ paused: true, by: "loopback" });
    expect((await first.ask("/api/v1/dispatch/pause", { method: "POST" })).body).toEqual(paused);
    const waiting = await start(first, late);
    gate.open();
    expect((await first.ask(`/api/v1/runs/${begun}?wait=30`)).body).toMatchObject({
      state: "done",
      copied: 1,
    });
    await until("the leader to see it", () => worker.stderr.includes('"dispatch is paused"'));
    worker.kill("SIGKILL");
    await worker.result;
    await first.stop();
    const other = await fleet.worker("--allow-address", "127.0.0.1");
    const second = await serve(args);
    await until("the next leader to see it", () => other.stderr.includes('"dispatch is paused"'));
    expect((await second.ask("/api/v1/dispatch")).body).toEqual(paused);
    expect((await second.ask(`/api/v1/runs/${waiting}?wait=1`)).body).toMatchObject({
      state: "running",
      files: 1,
      settled: 0,
    });
    expect(origin.requestsTo("/late")).toEqual([]);
    const line = /^dispatch is paused since 2\S+Z by loopback: /m;
    expect((await box.run(["workers", ...fleet.own])).stdout).toMatch(line);
    expect((await box.run(["status", waiting, ...fleet.own])).stdout).toMatch(line);
    expect((await second.ask("/api/v1/dispatch/resume", { method: "POST" })).body.paused).toBe(false);
    expect((await second.ask(`/api/v1/runs/${waiting}?wait=30`)).body).toMatchObject({
      state: "done",
      copied: 1,
    });
    expect((await box.run(["workers", ...fleet.own])).stdout).not.toContain("paused");
  });

  it("waits for the window of the servers, beside pauses by people", async ({
    serve,
    box,
    fleet,
    work,
    origin,
  }) => {
    const url = origin.route("/a", does.file("a"));
    await fleet.worker("--allow-address", "127.0.0.1");
    const args = [...fleet.own, "--root", work.out];
    const inHours = (hours: number) => new Date(Date.now() + hours * 3_600_000).toISOString().slice(11, 16);
    const later = `${inHours(2)}-${inHours(3)}`;
    const ask = async (service: TestService, method = "GET", what = "") =>
      (await service.ask(`/api/v1/dispatch${what}`, { method })).body;
    const closed = await serve(args, { SYNC_WINDOW: later });
    const paused = await until("the pause", async () => {
      const body = await ask(closed);
      return body.paused && body;
    });
    expect(paused).toMatchObject({ by: "clock", window: { times: later, time_zone: "UTC" } });
    expect(new Date(paused.until).toISOString().slice(11, 16)).toBe(later.slice(0, 5));
    expect((await closed.ask("/sync/config")).body).toMatchObject({
      sync_window: later,
      sync_time_zone: "UTC",
    });
    const { body: run } = await closed.ask("/api/v1/runs", { json: { sources: [url], to: work.out } });
    await until("its file", async () => (await closed.ask(`/api/v1/runs/${run.id}`)).body.files === 1);
    expect((await box.run(["workers", ...fleet.own])).stdout).toMatch(
      /^dispatch is paused .* by clock: .* until 2\S+Z$/m,
    );

    expect(await ask(closed, "POST", "/pause")).toMatchObject({ paused: true, by: "loopback" });
    expect(await ask(closed, "POST", "/resume")).toEqual(paused);
    expect(await ask(closed, "POST", "/pause")).toMatchObject({ paused: true, by: "loopback" });
    await closed.stop();
    const open = await serve(args, { SYNC_WINDOW: `${inHours(-1)}-${inHours(1)}` });
    const redis = await connect(fleet.redis.address);
    const clock = new Keys("{drover}").dispatchWindow();
    await until("the clock's pause to end", async () => (await redis.exists(clock)) === 0);
    redis.disconnect();
    expect(await ask(open)).toMatchObject({ paused: true, by: "loopback" });
    expect(await ask(open, "POST", "/resume")).toMatchObject({ paused: false, by: null });
    expect((await open.ask(`/api/v1/runs/${run.id}?wait=30`)).body).toMatchObject({
      state: "done",
      copied: 1,
    });
  });

  it("that is paused still cancels what waits", async ({ serve, work, origin }) => {
    const url = origin.route("/a", does.file("a"));
    const service = await serve(["--root", work.at(""), "--allow-address", "127.0.0.1"]);
    await service.ask("/api/v1/dispatch/pause", { method: "POST" });
    const { body: run } = await service.ask("/api/v1/runs", { json: { sources: [url], to: work.at("out") } });
    await until("its file", async () => (await service.ask(`/api/v1/runs/${run.id}`)).body.files === 1);
    await service.ask(`/api/v1/runs/${run.id}/cancel`, { method: "POST" });
    await until("its end", async () => (await service.ask(`/api/v1/runs/${run.id}`)).body.cancelled === 1);
    expect(origin.requests).toEqual([]);
  });
});
