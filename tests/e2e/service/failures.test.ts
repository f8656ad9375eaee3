import { rmSync } from "node:fs";
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

  it("are counted by class and host, of all runs and of one, and what cannot be retried is told apart", async ({
    serve,
    work,
    origin,
  }) => {
    let gone = true;
    const answer = does.file("found");
    const missing = ["/a", "/b"].map((path) =>
      origin.route(path, (exchange) => (gone ? does.status(404) : answer)(exchange)),
    );
    const secret = origin.route("/secret", does.status(403));
    work.write({ "1/same": "one", "2/same": "other" }); // both would be written to one name
    const service = await serve(["--root", work.at(""), "--allow-address", "127.0.0.1"]);
    expect((await service.ask("/api/v1/failures/groups")).body).toMatchObject({
      groups: [],
      files: 0,
      runs: 0,
    });
    const first = await service.runToEnd({ sources: [...missing, secret], to: work.at("one") });
    const second = await service.runToEnd({
      sources: [missing[0], work.at("1"), work.at("2")],
      to: work.at("two"),
    });
    expect(second).toMatchObject({ copied: 1, failed: 2, files_per_second: null, eta_seconds: null });
    const { host } = origin;
    const collision = { class: "collision", host: "local", files: 1, retriable: 0 };
    const counts = (await service.ask("/api/v1/failures/groups?minutes=5")).body;
    expect(counts).toMatchObject({ files: 5, retriable: 4, runs: 2, truncated: false });
    expect(counts.groups[0]).toEqual({ class: "not-found", host, files: 3, retriable: 3 });
    expect(counts.groups).toContainEqual(collision);
    const ofRun = async (id: string) => (await service.ask(`/api/v1/runs/${id}/failures`)).body;
    expect(await ofRun(first.id)).toEqual({
      groups: [
        { class: "not-found", host, files: 2, retriable: 2 },
        { class: "forbidden", host, files: 1, retriable: 1 },
      ],
      files: 3,
      retriable: 3,
      truncated: false,
    });

    gone = false;
    const { body } = await service.ask("/api/v1/failures/retry", { json: {} });
    expect(body).toMatchObject({ files: 4 });
    for (const { id } of [first, second]) await service.ask(`/api/v1/runs/${id}?wait=30`);
    expect(await ofRun(second.id)).toMatchObject({ groups: [collision], files: 1, retriable: 0 });
    expect((await service.ask("/api/v1/failures/groups")).body).toMatchObject({
      files: 2,
      retriable: 1,
      runs: 2,
    });
    expect((await service.ask("/api/v1/runs/nonesuch/failures")).status).toBe(404);
    expect((await service.ask("/api/v1/failures/groups?minutes=0")).status).toBe(400);
  });

  it("of no host are retried and listed by its name, and those of a usual port too", async ({
    serve,
    work,
  }) => {
    const source = work.write({ "in/a": "content" });
    work.write({ "out/a/blocks": "" });
    const service = await serve(["--root", work.at(""), "--allow-address", "127.0.0.1"]);
    const refused = "http://127.0.0.1:80/b";
    const run = await service.runToEnd({ sources: [source, refused], to: work.at("out"), retries: 1 });
    expect(run).toMatchObject({ failed: 2 });
    const groups = (await service.ask(`/api/v1/runs/${run.id}/failures`)).body.groups as { host: string }[];
    expect(groups.map(({ host }) => host).sort()).toEqual(["127.0.0.1:80", "local"]);
    const filesAt = async (host: string) =>
      (await service.ask(`/api/v1/runs/${run.id}/files?host=${host}`)).body.files;
    expect(await filesAt("127.0.0.1:80")).toMatchObject([{ destination: work.at("out/b") }]);
    expect(await filesAt("local")).toMatchObject([{ source }]);
    rmSync(work.at("out/a"), { recursive: true });
    const retry = await service.ask(`/api/v1/runs/${run.id}/retry`, { json: { host: "local" } });
    expect([retry.status, retry.text]).toEqual([202, expect.anything()]);
    expect((await service.ask(`/api/v1/runs/${run.id}?wait=30`)).body).toMatchObject({
      copied: 1,
      failed: 1,
    });
  });
});
