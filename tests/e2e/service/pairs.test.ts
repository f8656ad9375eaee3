import { existsSync, mkdirSync, readFileSync, rmSync } from "node:fs";
import { setTimeout as sleep } from "node:timers/promises";
import { describe, expect } from "vitest";
import { it, type TestService } from "../../harness/service.js";

/** Waits until the run of an answer is over. */
async function carried(service: TestService, answer: Awaited<ReturnType<TestService["ask"]>>) {
  expect(answer.status, answer.text).toBe(202);
  const { run, pair } = answer.body as { run: string; pair: string };
  const { body } = await service.ask(`/api/v1/runs/${run}?wait=30`);
  expect(body).toMatchObject({ state: "done", failed: 0 });
  // The pair is noted as synced right after that.
  for (;;) {
    const { ended_at } = (await service.ask(`/api/v1/pairs/${pair}`)).body;
    if (ended_at !== null) break;
    await sleep(20);
  }
  await sleep(60); // no later edit is of the tick of the file system in which this was written
  return { run, pair };
}

describe("pairs over HTTP", () => {
  it("are synced, their conflicts resolved, and their runs taken back", async ({ serve, work }) => {
    work.write({ "data/a/one": "1", "data/a/two": "2" });
    mkdirSync(work.at("data/b"));
    const service = await serve(["--root", work.at("data")]);
    const pair = { local: work.at("data/a"), remote: work.at("data/b"), conflict: "manual" };
    const dry = await service.ask("/api/v1/pairs", { json: { ...pair, dry_run: true } });
    expect(dry.body).toMatchObject({ run: null, planned: { push: 2, pull: 0 } });
    const { pair: id } = await carried(service, await service.ask("/api/v1/pairs", { json: pair }));
    expect(readFileSync(work.at("data/b/two"), "utf8")).toBe("2");

    work.write({ "data/a/one": "local", "data/b/one": "remote", "data/b/two": "22" });
    await carried(service, await service.ask(`/api/v1/pairs/${id}/sync`, { method: "POST" }));
    expect(readFileSync(work.at("data/a/two"), "utf8")).toBe("22");
    const { body } = await service.ask(`/api/v1/pairs/${id}/conflicts`);
    expect(body.conflicts).toMatchObject([{ path: "one", reason: "both_changed", local: { size: 5 } }]);
    expect((await service.ask("/api/v1/pairs")).body.pairs).toMatchObject([{ id, conflicts: 1 }]);

    const asked = await service.ask(`/api/v1/pairs/${id}/resolve`, { json: { take: "local" } });
    const resolved = await carried(service, asked);
    expect(readFileSync(work.at("data/b/one"), "utf8")).toBe("local");
    await carried(service, await service.ask(`/api/v1/runs/${resolved.run}/rollback`, { method: "POST" }));
    expect(readFileSync(work.at("data/b/one"), "utf8")).toBe("remote");
  });

  it("go by the terms of the last sync, whatever was resolved or taken back since", async ({
    serve,
    work,
  }) => {
    work.write({ "data/a/one": "1" });
    mkdirSync(work.at("data/b"));
    const service = await serve(["--root", work.at("data")]);
    const json = { local: work.at("data/a"), remote: work.at("data/b"), conflict: "remote-wins" };
    const { pair } = await carried(service, await service.ask("/api/v1/pairs", { json }));
    const again = `/api/v1/pairs/${pair}/sync`;
    work.write({ "data/a/one": "local", "data/b/one": "remote" });
    const { run } = await carried(service, await service.ask(again, { method: "POST" }));
    await carried(service, await service.ask(`/api/v1/runs/${run}/rollback`, { method: "POST" }));
    expect(readFileSync(work.at("data/a/one"), "utf8")).toBe("local");
    await carried(service, await service.ask(again, { method: "POST" }));
    expect(readFileSync(work.at("data/a/one"), "utf8")).toBe("remote");
  });

  it("are refused outside of the roots, and where a guard stops them", async ({ serve, work }) => {
    work.write({ "data/a/one": "1", "data/a/two": "2", "other/x": "1" });
    mkdirSync(work.at("data/b"));
    const service = await serve(["--root", work.at("data")]);
    const local = work.at("data/a");
    const outside = await service.ask("/api/v1/pairs", { json: { local, remote: work.at("other") } });
    expect(outside.status).toBe(403);
    const inside = await service.ask("/api/v1/pairs", { json: { local: work.at("other"), remote: local } });
    expect(inside.status).toBe(403);
    const first = await service.ask("/api/v1/pairs", { json: { local, remote: work.at("data/b") } });
    const { pair } = await carried(service, first);
    rmSync(work.at("data/b/one"));
    rmSync(work.at("data/b/two"));
    const stopped = await service.ask(`/api/v1/pairs/${pair}/sync`, { json: {} });
    expect(stopped.status).toBe(409);
    expect(stopped.body.detail).toMatch(/the remote side has none of the 2 files.*nothing was changed/);
    expect(existsSync(work.at("data/a/one"))).toBe(true);
    expect((await service.ask("/api/v1/pairs/unknown-pair")).status).toBe(404);
    expect((await service.ask("/api/v1/runs/rnone/rollback", { method: "POST" })).status).toBe(404);
  });

  it("write objects as the last sync said, or as the request says; no request takes an access list away", async ({
    serve,
    fleet,
    box,
    work,
    fake,
  }) => {
    work.write({ "data/a/one": "1" });
    fleet.env = fake.env;
    await fleet.worker("--root", work.at("data"), "--root", "s3://bucket");
    const roots = ["--root", work.at("data"), "--root", "s3://bucket"];
    const service = await serve([...fleet.own, ...roots], fake.env);
    const pair = { local: work.at("data/a"), remote: "s3://bucket/p" };
    const options = ["--s3-acl", "bucket-owner-full-control", "--s3-storage-class", "STANDARD_IA"];
    const backup = ["--backup-dir", work.at("data/.drover-backups")];
    const first = await box.run(["bisync", pair.local, pair.remote, ...fleet.own, ...options, ...backup], {
      env: fake.env,
    });
    expect([first.code, first.stderr]).toEqual([0, ""]);
    /** Headers of the last PUT of the object. */
    const last = () => {
      const puts = fake.requests.filter(({ method, key }) => method === "PUT" && key === "p/one");
      const { headers } = puts.at(-1) as (typeof puts)[number];
      return [headers["x-amz-acl"], headers["x-amz-storage-class"], headers["x-amz-tagging"]];
    };
    expect(last()).toEqual(["bucket-owner-full-control", "STANDARD_IA", undefined]);
    const [{ id }] = (await service.ask("/api/v1/pairs")).body.pairs;
    work.write({ "data/a/one": "22" });
    await carried(service, await service.ask(`/api/v1/pairs/${id}/sync`, { method: "POST" }));
    expect(last()).toEqual(["bucket-owner-full-control", "STANDARD_IA", undefined]);
    work.write({ "data/a/one": "333" });
    const json = { ...pair, s3: { storage_class: "ONEZONE_IA", tags: { team: "data" } } };
    await carried(service, await service.ask("/api/v1/pairs", { json }));
    expect(last()).toEqual(["bucket-owner-full-control", "ONEZONE_IA", "team=data"]);
    const denied = await service.ask("/api/v1/pairs", { json: { ...pair, s3: { acl: "public-read" } } });
    expect(denied.status).toBe(422);
  });
});
