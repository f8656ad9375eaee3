import { existsSync } from "node:fs";
import { describe, expect } from "vitest";
import * as does from "../../harness/behaviours.js";
import { Gate, until } from "../../harness/gate.js";
import { it } from "../../harness/service.js";

describe("one file of a run", () => {
  it("is cancelled while it is carried, while it waits for its next try, and while it is in the backlog", async ({
    serve,
    work,
    origin,
  }) => {
    const [gate, last] = [new Gate(), new Gate()];
    const carried = origin.route("/carried", does.gated(gate, does.file("carried")));
    const held = origin.route("/held", does.gated(last, does.file("held")));
    const waits = origin.route("/waits", does.status(500, { "retry-after": "3000" }));
    const service = await serve(["--root", work.at(""), "--allow-address", "127.0.0.1"]);
    const { body: run } = await service.ask("/api/v1/runs", {
      json: { sources: [held, carried, waits], to: work.at("out"), circuit_ttl: 1, retries: 20 },
    });
    await Promise.all([gate.reached, last.reached]);
    await until("the first try", () => origin.requestsTo("/waits").length > 0);
    const cancel = (file: string) => service.ask(`/api/v1/runs/${run.id}/cancel`, { json: { file } });
    expect((await cancel("nonesuch")).status).toBe(404);
    expect((await cancel(carried)).status).toBe(202);
    expect((await cancel(work.at("out/waits"))).status).toBe(202);
    const of = async (id: string) => (await service.ask(`/api/v1/runs/${id}`)).body;
    await until("both", async () => (await of(run.id)).cancelled === 2);
    expect(await of(run.id)).toMatchObject({ state: "running", settled: 2 });
    expect((await cancel(carried)).status).toBe(404);

    await service.ask("/api/v1/dispatch/pause", { method: "POST" });
    const a = origin.route("/a", does.file("a"));
    const b = origin.route("/b", does.file("b"));
    const { body: second } = await service.ask("/api/v1/runs", {
      json: { sources: [a, b], to: work.at("two") },
    });
    await until("its files", async () => (await of(second.id)).files === 2);
    const other = await service.ask(`/api/v1/runs/${second.id}/cancel`, { json: { file: a } });
    expect(other.status).toBe(202);
    await until("its end", async () => (await of(second.id)).cancelled === 1);
    await service.ask("/api/v1/dispatch/resume", { method: "POST" });
    expect((await service.ask(`/api/v1/runs/${second.id}?wait=30`)).body).toMatchObject({
      state: "done",
      files: 2,
      copied: 1,
      cancelled: 1,
    });
    expect(origin.requestsTo("/a")).toEqual([]);

    for (const each of [gate, last]) each.open();
    expect((await service.ask(`/api/v1/runs/${run.id}?wait=30`)).body).toMatchObject({
      state: "done",
      files: 3,
      copied: 1,
      cancelled: 2,
    });
    expect(existsSync(work.at("out/carried"))).toBe(false);
    const retry = await service.ask(`/api/v1/runs/${run.id}/retry`, { json: { files: [carried] } });
    expect(retry.status).toBe(202);
    expect((await service.ask(`/api/v1/runs/${run.id}?wait=30`)).body).toMatchObject({
      copied: 2,
      cancelled: 1,
    });
  });
});
