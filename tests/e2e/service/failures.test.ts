import { describe, expect } from "vitest";
import * as does from "../../harness/behaviours.js";
import { it } from "../../harness/service.js";

describe("failures over HTTP", () => {
  it("are told of all runs, counted, and retried by class", async ({ serve, work, origin }) => {
    let [gone, forbidden] = [true, true];
    const good = origin.route("/good", does.file("good"));
    const missing = origin.route("/missing", (exchange) =>
      (gone ? does.status(404) : does.file("found"))(exchange),
    );
    const secret = origin.route("/secret", (exchange) =>
      (forbidden ? does.status(403) : does.file("open"))(exchange),
    );
    const service = await serve(["--root", work.at(""), "--allow-address", origin.host]);
    const first = await service.runToEnd({
      sources: [good, missing, secret],
      to: work.at("one"),
      label: "one",
    });
    const second = await service.runToEnd({ sources: [missing], to: work.at("two") });
    expect(first).toMatchObject({ copied: 1, failed: 2 });
    const { host } = new URL(good);
    const all = (await service.ask("/api/v1/failures")).body;
    expect(all).toMatchObject({
      total: 3,
      by_class: { "not-found": 2, forbidden: 1 },
      by_host: { [host]: 3 },
      truncated: false,
      next: null,
    });
    expect(all.failures.map(({ run, source }: Record<string, string>) => [run, source])).toEqual([
      [second.id, missing],
      [first.id, missing],
      [first.id, secret],
    ]);
    const pages: unknown[] = [];
    for (let next: string | null = ""; next !== null; ) {
      const { body } = await service.ask(`/api/v1/failures?limit=1${next && `&cursor=${next}`}`);
      expect(body.total).toBe(3);
      pages.push(...body.failures);
      next = body.next;
    }
    expect(pages).toEqual(all.failures);
    const later = new Date(Date.now() + 60_000).toISOString();
    expect((await service.ask(`/api/v1/failures?since=${later}`)).body.total).toBe(0);
    expect((await service.ask("/api/v1/failures?host=example.com")).body.total).toBe(0);
    expect((await service.ask(`/api/v1/failures?host=${host}&class=forbidden`)).body.total).toBe(1);

    [gone, forbidden] = [false, false];
    const retried = await service.ask("/api/v1/failures/retry", { json: { class: "not-found", host } });
    expect([retried.status, retried.body]).toEqual([
      202,
      { runs: [second.id, first.id], files: 2, skipped: [], truncated: false },
    ]);
    expect((await service.ask(`/api/v1/runs/${second.id}?wait=30`)).body).toMatchObject({
      state: "done",
      copied: 1,
      failed: 0,
    });
    expect((await service.ask(`/api/v1/runs/${first.id}?wait=30`)).body).toMatchObject({
      state: "done",
      files: 3,
      settled: 3,
      copied: 2,
      failed: 1,
    });
    const left = (await service.ask("/api/v1/failures")).body;
    expect(left).toMatchObject({ total: 1, failures: [{ run: first.id, label: "one", source: secret }] });
  });

  it("of a run are retried in part: by source, destination or host", async ({ serve, work, origin }) => {
    let gone = true;
    const [a = "", b = "", c = ""] = ["a", "b", "c"].map((name) =>
      origin.route(`/${name}`, (exchange) => (gone ? does.status(404) : does.file(name))(exchange)),
    );
    const service = await serve(["--root", work.at(""), "--allow-address", origin.host]);
    const run = await service.runToEnd({ sources: [a, b, c], to: work.at("out") });
    expect(run.failed).toBe(3);
    gone = false;
    const retry = `/api/v1/runs/${run.id}/retry`;
    const waited = async () => (await service.ask(`/api/v1/runs/${run.id}?wait=30`)).body;
    for (const json of [{ files: ["nonesuch"] }, { class: "timeout" }, { host: "example.com" }]) {
      const { status, body } = await service.ask(retry, { json });
      expect([status, body.detail]).toEqual([422, expect.stringContaining("is meant by this")]);
    }
    expect((await service.ask(retry, { json: { nonsense: 1 } })).status).toBe(422);
    expect((await service.ask(retry, { json: { files: [a] } })).status).toBe(202);
    expect(await waited()).toMatchObject({ state: "done", files: 3, settled: 3, copied: 1, failed: 2 });
    expect((await service.ask(retry, { json: { files: [work.at("out/b")] } })).status).toBe(202);
    expect(await waited()).toMatchObject({ state: "done", settled: 3, copied: 2, failed: 1 });
    expect((await service.ask(retry, { json: { host: new URL(c).host } })).status).toBe(202);
    expect(await waited()).toMatchObject({ state: "done", settled: 3, copied: 3, failed: 0 });
  });
});
