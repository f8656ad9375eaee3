import { describe, expect } from "vitest";
import * as does from "../../harness/behaviours.js";
import { Gate, until } from "../../harness/gate.js";
import { it, type TestService } from "../../harness/service.js";

/** A run whose files have all ended: one that was cancelled is over before that. */
async function settled(service: TestService, request: object) {
  const { id } = await service.runToEnd(request);
  return await until("the end of its files", async () => {
    const { body } = await service.ask(`/api/v1/runs/${id}`);
    return body.settled === body.files && body;
  });
}

describe("runs over HTTP with limits of their own", () => {
  it("stop at their deadline, which is seconds from now or an instant", async ({ serve, work, origin }) => {
    const gate = new Gate();
    const url = origin.route("/slow", does.gated(gate, does.file("x")));
    const service = await serve(["--root", work.at(""), "--allow-address", "127.0.0.1"]);
    for (const deadline of [1, new Date(Date.now() + 3_000).toISOString()]) {
      const run = await settled(service, { sources: [url], to: work.at("out"), deadline });
      expect(run).toMatchObject({ state: "cancelled", files: 1, cancelled: 1 });
      expect(run.stopped_because).toMatch(/^its deadline 2\S+Z has passed$/);
    }
    const late = { sources: [url], to: work.at("out"), deadline: "2020-01-01T00:00:00Z" };
    expect((await service.ask("/api/v1/runs", { json: late })).status).toBe(422);
    gate.open();
  });

  it("stop after so many failures; a retry goes on without", async ({ serve, work, origin }) => {
    const gate = new Gate();
    let gone = true;
    const held = origin.route("/held", does.gated(gate, does.file("held")));
    const urls = ["a", "b"].map((name) =>
      origin.route(`/${name}`, (exchange) => (gone ? does.status(404) : does.file(name))(exchange)),
    );
    const service = await serve(["--root", work.at(""), "--allow-address", "127.0.0.1"]);
    const request = { sources: [held, ...urls], to: work.at("out"), stop_after_failures: 2 };
    const run = await settled(service, request);
    expect(run).toMatchObject({
      state: "cancelled",
      failed: 2,
      cancelled: 1,
      stopped_because: "2 files failed, and it was to stop after 2",
    });
    gate.open();
    const retry = `/api/v1/runs/${run.id}/retry`;
    expect((await service.ask(retry, { json: { files: [held] } })).status).toBe(202);
    expect((await service.ask(`/api/v1/runs/${run.id}?wait=30`)).body).toMatchObject({
      state: "done",
      copied: 1,
      failed: 2,
      stopped_because: null,
    });
    gone = false;
    expect((await service.ask(retry, { method: "POST" })).status).toBe(202);
    expect((await service.ask(`/api/v1/runs/${run.id}?wait=30`)).body).toMatchObject({ copied: 3 });
  });

  it("stop when they have copied so many bytes, or cost so much where the server has prices", async ({
    serve,
    work,
    origin,
  }) => {
    const gate = new Gate();
    const held = origin.route("/held", does.gated(gate, does.file("held")));
    const urls = ["a", "b"].map((name) => origin.route(`/${name}`, does.file(name.repeat(600))));
    const prices = work.write({
      "prices.yaml": "currency: EUR\nprices:\n  - host: '*'\n    egress: 1000000\n",
    });
    const own = ["--root", work.at(""), "--allow-address", "127.0.0.1"];
    const service = await serve([...own, "--prices", prices]);
    const request = { sources: [held, ...urls] };
    const bytes = await settled(service, { ...request, to: work.at("bytes"), max_bytes: 1000 });
    expect(bytes).toMatchObject({
      state: "cancelled",
      copied: 2,
      cancelled: 1,
      stopped_because: "1,200 bytes were copied, and it was to stop at 1,000 bytes",
    });
    const cost = await settled(service, { ...request, to: work.at("cost"), max_cost: 1.2 });
    expect(cost).toMatchObject({
      state: "cancelled",
      copied: 2,
      stopped_because: "it has cost about 1.20 EUR, and it was to stop at 1.20 EUR",
    });
    gate.open();
  });

  it("are refused where costs are limited and the server knows none", async ({ serve, work }) => {
    const service = await serve(["--root", work.at("")]);
    const request = { sources: [work.write({ a: "a" })], to: work.at("out"), max_cost: 1 };
    const { status, body } = await service.ask("/api/v1/runs", { json: request });
    expect([status, body.detail]).toEqual([422, expect.stringContaining("this server has none")]);
    const nothing = { ...request, max_cost: 0 };
    expect((await service.ask("/api/v1/runs", { json: nothing })).status).toBe(422);
  });
});
