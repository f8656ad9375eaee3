import { existsSync, mkdirSync, readFileSync, rmSync } from "node:fs";
import { connect } from "@drover/shared/redis/connect";
import { describe, expect } from "vitest";
import { until } from "../../harness/gate.js";
import { Receiver } from "../../harness/receiver.js";
import { it, type TestService } from "../../harness/service.js";

/** Begins a sync, and waits until its run is over. @returns the answer. */
async function synced(service: TestService, path: string, json: object) {
  const answer = await service.ask(path, { json });
  expect(answer.status, answer.text).toBe(202);
  const { body } = await service.ask(`/api/v1/runs/${answer.body.run}?wait=30`);
  expect(body).toMatchObject({ state: "done", failed: 0 });
  return answer.body;
}

describe("templates, settings and cache over HTTP", () => {
  it("removes what the cache holds of templates that were changed", async ({ serve, fleet, box, work }) => {
    const cache = await connect(fleet.redis.address);
    const keys = async () => (await cache.keys("*")).filter((key) => !key.startsWith("{")).sort();
    const fill = () =>
      cache.mset("template:a.html", "1", "bccache:de:a.html", "1", "template:b/c.html", "1", "other", "1");
    work.write({ "data/t/a.html": "1", "data/t/b/c.html": "1", "data/t/notes.txt": "1" });
    mkdirSync(work.at("data/bucket"));
    const service = await serve(["--root", work.at("data"), "--cache", fleet.url]);
    const json = { local: work.at("data/t"), remote: work.at("data/bucket") };

    await fill();
    const dry = await service.ask("/api/v1/templates/sync", { json: { ...json, dry_run: true } });
    expect(dry.body).toMatchObject({ run: null, planned: { push: 2 } });
    // The command ends when everything is done, the second removal a second later, too.
    const first = ["templates", json.local, "--bucket", json.remote, "--cache", fleet.url];
    expect((await box.run(first)).code).toBe(0);
    expect(readFileSync(work.at("data/bucket/b/c.html"), "utf8")).toBe("1");
    expect(await keys()).toEqual(["other"]);

    await fill();
    work.write({ "data/bucket/a.html": "edited there" });
    await synced(service, "/api/v1/templates/sync", json);
    expect(readFileSync(work.at("data/t/a.html"), "utf8")).toBe("edited there");
    await until("its keys to be removed", async () => (await keys()).join() === "other,template:b/c.html");
    cache.disconnect();
  });

  it("holds invalid settings back, and tells the program of the others, once", async ({ serve, work }) => {
    await using receiver = await Receiver.start();
    work.write({
      "data/s/database.yml": "host: one\n",
      "data/s/cache.yaml": "ttl: 1\n",
      "data/s/broken.yml": "a: 1\na: 2\n",
    });
    mkdirSync(work.at("data/bucket"));
    const service = await serve([
      ...["--root", work.at("data"), "--reload-url", receiver.url],
      ...["--allow-address", "127.0.0.1"],
    ]);
    const json = { local: work.at("data/s"), remote: work.at("data/bucket") };
    const all = { ...json, all_or_nothing: true };
    const held = await service.ask("/api/v1/settings/sync", { json: all });
    expect(held.body).toMatchObject({ run: null, planned: { push: 0 } });
    const begun = await synced(service, "/api/v1/settings/sync", {
      ...json,
      adapters: ["database", "broken"],
    });
    expect(begun.left).toMatchObject([{ path: "broken.yml" }]);
    await until("the program to be told", () => receiver.deliveries.length === 1);
    expect(receiver.deliveries[0]?.body).toMatchObject({
      ...{ event: "settings.changed", adapters: ["database"], runs: [begun.run] },
    });
    const { pair } = begun;
    await until("its end", async () => (await service.ask(`/api/v1/pairs/${pair}`)).body.ended_at !== null);
    await synced(service, "/api/v1/settings/sync", { ...json, reload: false });
    expect(readFileSync(work.at("data/bucket/cache.yaml"), "utf8")).toBe("ttl: 1\n");
    expect(receiver.deliveries).toHaveLength(1);
  });

  it("runs no command because of a request: that stays owed to whoever may", async ({
    serve,
    fleet,
    box,
    work,
  }) => {
    work.write({ "data/s/database.yml": "host: one\n" });
    mkdirSync(work.at("data/bucket"));
    const command = `touch ${work.at("told")}`;
    await fleet.worker("--root", work.at("data"));
    const service = await serve([...fleet.own, "--root", work.at("data")], {
      DROVER_RELOAD_COMMAND: command,
    });
    const json = { local: work.at("data/s"), remote: work.at("data/bucket") };
    const cli = ["settings", json.local, "--bucket", json.remote, "--reload-command", command];
    const kept = work.at("data/.drover-backups");
    cli.push(...fleet.own, "--backup-dir", kept, "--remote-backup-dir", kept);
    expect((await box.run(cli)).code).toBe(0);
    rmSync(work.at("told"));
    work.write({ "data/bucket/database.yml": "host: another\n" });
    const { pair } = await synced(service, "/api/v1/settings/sync", json);
    await until("its end", async () => (await service.ask(`/api/v1/pairs/${pair}`)).body.ended_at !== null);
    expect(existsSync(work.at("told"))).toBe(false);
    expect((await box.run(cli)).code).toBe(0);
    expect(existsSync(work.at("told"))).toBe(true);
  });

  it("sees to the cache that the server's settings name", async ({ serve, fleet, work }) => {
    const cache = await connect(fleet.redis.address);
    await cache.mset("template:a", "1", "response:/", "1", "gather:x", "1", "{drover}:own", "1");
    const none = await serve(["--root", work.out]);
    expect((await none.ask("/api/v1/cache", { json: { operation: "clear" } })).status).toBe(422);
    work.write({ "out/t/a.html": "text", "elsewhere/b.html": "text" });
    const service = await serve(["--root", work.out, "--cache", fleet.url]);
    const ask = (json: object) => service.ask("/api/v1/cache", { json });
    const dry = await ask({ operation: "invalidate", dry_run: true, warm_templates: false });
    expect(dry.body).toMatchObject({ dry_run: true, invalidated: 2 });
    const done = await ask({ operation: "invalidate", warm_templates: false });
    expect(done.body).toMatchObject({ invalidated: 2, errors: [] });
    expect(done.body.invalidated_keys.sort()).toEqual(["response:/", "template:a"]);
    expect((await ask({ operation: "clear", namespaces: ["gather"] })).body.cleared).toEqual({ gather: 1 });
    const warm = { operation: "warm", namespaces: ["templates"], warm_raw: true };
    expect((await ask({ ...warm, templates: [work.at("elsewhere")] })).status).toBe(403);
    const warmed = await ask({ ...warm, templates: [work.to("t")] });
    expect(warmed.body.warmed_keys).toEqual(["template:a.html"]);
    expect(await cache.get("template:a.html")).toBe("text");
    expect((await ask({ operation: "invalidate", keys: ["{drover}:own"] })).status).toBe(422);
    expect(await cache.get("{drover}:own")).toBe("1");
    cache.disconnect();
  });

  it("writes to nothing outside of the roots", async ({ serve, work }) => {
    work.write({ "data/t/a.html": "1", "other/x.html": "1" });
    const service = await serve(["--root", work.at("data")]);
    for (const [path, json] of [
      ["templates", { local: work.at("data/t"), remote: work.at("other") }],
      ["settings", { local: work.at("other"), remote: work.at("data/t") }],
    ] as const)
      expect((await service.ask(`/api/v1/${path}/sync`, { json })).status).toBe(403);
  });
});
