import { rmSync, writeFileSync } from "node:fs";
import { createServer, type IncomingMessage } from "node:http";
import type { AddressInfo } from "node:net";
import { sync } from "@drover/cli/library-sync";
import { ManualResolutionRequired, SettingsError } from "@drover/producer";
import { connect } from "@drover/shared/redis/connect";
import { describe, expect } from "vitest";
import { until } from "../../harness/gate.js";
import { type Ground, it } from "../../harness/sync-action.js";

const settingsOf = (ground: Ground) => ({
  ...ground.options,
  settingsPath: ground.path("settings"),
  storageBucket: "bucket",
});

/** A program that is posted to: it remembers what it got, and answers with `status`. */
async function program() {
  const posts: unknown[] = [];
  const here = { posts, status: 204, port: 0, stop: () => server.close() };
  const server = createServer((request: IncomingMessage, answer) => {
    let text = "";
    request.setEncoding("utf8").on("data", (some: string) => {
      text += some;
    });
    request.on("end", () => {
      posts.push(JSON.parse(text));
      answer.writeHead(here.status).end();
    });
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  here.port = (server.address() as AddressInfo).port;
  return here;
}

describe("sync.settings()", () => {
  it("brings settings to both sides, and names their adapters", async ({ ground }) => {
    ground.write("settings/database.yml", "host: a\n");
    ground.write("settings/notes.txt", "no settings");
    ground.put("cache.yaml", "url: b\n");
    const result = await sync.settings(settingsOf(ground));
    expect(result).toMatchObject({
      inSync: true,
      configReloaded: false,
      adaptersAffected: ["cache", "database"],
    });
    expect(ground.bucket()).toEqual({ "database.yml": "host: a\n", "cache.yaml": "url: b\n" });
    expect(await sync.settings(settingsOf(ground))).toMatchObject({ syncedItems: [], adaptersAffected: [] });
  });

  it("takes some adapters alone", async ({ ground }) => {
    for (const name of ["database", "cache", "email", "data*"])
      ground.write(`settings/${name}.yml`, `${name}: 1\n`);
    const some = (adapterNames: string[]) => sync.settings({ ...settingsOf(ground), adapterNames });
    expect((await some(["data*"])).adaptersAffected).toEqual(["data*"]);
    expect((await some(["database", "email"])).adaptersAffected).toEqual(["database", "email"]);
    expect(Object.keys(ground.bucket()).sort()).toEqual(["data*.yml", "database.yml", "email.yml"]);
    await expect(some(["../etc/passwd"])).rejects.toThrow(SettingsError);
  });

  it("holds an invalid file back alone, in either direction, and says where without a value", async ({
    ground,
  }) => {
    ground.write("settings/good.yml", "a: 1\n");
    ground.write("settings/bad.yml", 'a: 1\npassword: "hunter2\n');
    ground.put("worse.yml", "token: s3cr3t\ntoken: again\n");
    ground.put("fine.yml", "b: 2\n");
    const result = await sync.settings(settingsOf(ground));
    expect(result.syncedItems.sort()).toEqual(["fine.yml", "good.yml"]);
    expect(result.inSync).toBe(false);
    expect(result.skipped).toMatchObject([
      { path: "bad.yml", line: 3, column: 1 },
      { path: "worse.yml", line: 2, column: 1, why: "a key that is there already" },
    ]);
    expect(JSON.stringify(result)).not.toMatch(/hunter2|s3cr3t/);
    expect(ground.tree("settings")).not.toHaveProperty("worse.yml");
    expect(ground.bucket()).not.toHaveProperty("bad.yml");
    ground.write("settings/bad.yml", 'a: 1\npassword: "hunter2"\n');
    expect((await sync.settings(settingsOf(ground))).syncedItems).toEqual(["bad.yml"]);
  });

  it("holds all back where all or nothing is wanted", async ({ ground }) => {
    ground.write("settings/good.yml", "a: 1\n");
    ground.write("settings/bad.yml", "a: [\n");
    ground.put("fine.yml", "b: 2\n");
    const result = await sync.settings({ ...settingsOf(ground), allOrNothing: true });
    expect(result).toMatchObject({ syncedItems: [], inSync: false, runs: [] });
    expect(result.skipped.map(({ path }) => path).sort()).toEqual(["bad.yml", "fine.yml", "good.yml"]);
    expect(ground.bucket()).toEqual({ "fine.yml": "b: 2\n" });
  });

  it("asks the schema of the adapter", async ({ ground }) => {
    ground.write("schemas/database.json", JSON.stringify({ properties: { port: { type: "integer" } } }));
    ground.write("settings/database.yml", "host: a\nport: s3cr3t\n");
    const result = await sync.settings({ ...settingsOf(ground), schemaDir: ground.path("schemas") });
    expect(result.skipped).toEqual([
      { path: "database.yml", why: "schema: must be integer", line: 2, column: 7 },
    ]);
    expect(ground.bucket()).toEqual({});
  });

  it("publishes nothing that was edited after it was checked", async ({ ground }) => {
    ground.write("settings/local.yml", "a: 1\n");
    ground.put("remote.yml", "b: 1\n");
    const events = {
      // All is checked by now, and nothing is published yet.
      planned: () => {
        writeFileSync(ground.path("settings/local.yml"), "a: [ 1\n");
        ground.put("remote.yml", "b: [ 1\n");
      },
    };
    const reload = { command: ["true"] };
    const result = await sync.settings({ ...settingsOf(ground), events, reload });
    expect(result).toMatchObject({ syncedItems: [], inSync: false, configReloaded: false });
    expect(result.errors.map(({ path }) => path).sort()).toEqual(["local.yml", "remote.yml"]);
    expect(result.errors[0]?.why).toMatch(/edited after it was checked/);
    expect(ground.bucket()).toEqual({ "remote.yml": "b: [ 1\n" });
    expect(ground.tree("settings")).toEqual({ "local.yml": "a: [ 1\n" });
    const next = await sync.settings({ ...settingsOf(ground), reload });
    expect(next.configReloaded).toBe(false); // nothing was changed, and so nothing is owed
    expect(next.skipped.map(({ path }) => path)).toEqual(["local.yml", "remote.yml"]);
    ground.write("settings/local.yml", "a: [ 1 ]\n");
    expect((await sync.settings(settingsOf(ground))).syncedItems).toEqual(["local.yml"]);
  });

  it("does not publish the other side's edit in place of what was checked", async ({ ground }) => {
    ground.write("settings/a.yml", "a: 1\n");
    await sync.settings(settingsOf(ground));
    ground.write("settings/a.yml", "a: 1\nb: 2\n");
    const events = {
      // The worker finds a conflict that the remote side wins, whose version nobody has checked.
      planned: () => ground.s3.put("a.yml", "a: [ remote\n", {}, new Date(Date.now() + 5_000)),
    };
    const strategy = { conflictStrategy: "REMOTE_WINS" } as const;
    const result = await sync.settings({ ...settingsOf(ground), strategy, events });
    expect(result.errors).toMatchObject([{ path: "a.yml" }]);
    expect(ground.read("settings/a.yml")).toBe("a: 1\nb: 2\n");
  });

  it("puts the suffix of a conflict copy behind the extension, and checks the winner alone", async ({
    ground,
  }) => {
    ground.write("settings/a.yml", "local: [\n");
    ground.put("a.yml", "remote: 1\n");
    const strategy = { conflictStrategy: "BACKUP_BOTH" } as const;
    const result = await sync.settings({ ...settingsOf(ground), strategy });
    expect(result.backedUp).toEqual([
      expect.stringMatching(/^a\.yml\.conflict-local-\d{8}T\d{6}Z-[0-9a-f]{8}$/),
    ]);
    expect(ground.read("settings/a.yml")).toBe("remote: 1\n");
    expect(result.adaptersAffected).toEqual(["a"]);
  });

  it("rejects under MANUAL where conflicts wait", async ({ ground }) => {
    ground.write("settings/a.yml", "a: 1\n");
    ground.put("a.yml", "a: 2\n");
    const strategy = { conflictStrategy: "MANUAL" } as const;
    await expect(sync.settings({ ...settingsOf(ground), strategy })).rejects.toThrow(
      ManualResolutionRequired,
    );
  });
});

describe("the reload", () => {
  it("is posted once after a run that changed something, and only then", async ({ ground }) => {
    const app = await program();
    const url = `http://127.0.0.1:${app.port}/reload`;
    const options = { ...settingsOf(ground), reload: { url }, allowAddresses: [`127.0.0.1:${app.port}`] };
    ground.write("settings/a.yml", "a: 1\n");
    ground.write("settings/b.yml", "b: 1\n");
    const result = await sync.settings(options);
    expect(result).toMatchObject({ configReloaded: true, inSync: true });
    expect(app.posts).toEqual([{ event: "settings.changed", adapters: ["a", "b"], runs: result.runs }]);
    expect(await sync.settings(options)).toMatchObject({ configReloaded: false });
    ground.write("settings/a.yml", "a: 2\nmore: 1\n");
    expect(await sync.settings({ ...options, reloadConfig: false })).toMatchObject({ configReloaded: false });
    expect(app.posts).toHaveLength(1);
    ground.write("settings/a.yml", "a: [\n");
    expect(await sync.settings(options)).toMatchObject({ configReloaded: false, syncedItems: [] });
    rmSync(ground.path("settings/b.yml"));
    expect(await sync.settings(options)).toMatchObject({ configReloaded: true, syncedItems: ["b.yml"] });
    app.stop();
  });

  it("goes through the address guard", async ({ ground }) => {
    const app = await program();
    ground.write("settings/a.yml", "a: 1\n");
    const reload = { url: `http://127.0.0.1:${app.port}/` };
    const result = await sync.settings({ ...settingsOf(ground), reload, strategy: { retryAttempts: 0 } });
    expect(result).toMatchObject({ configReloaded: false, inSync: false, syncedItems: ["a.yml"] });
    expect(result.errors[0]?.why).toMatch(/private address/);
    expect(app.posts).toEqual([]);
    app.stop();
  });

  it("is owed until it has worked", async ({ ground }) => {
    const app = await program();
    app.status = 503;
    const options = {
      ...settingsOf(ground),
      reload: { url: `http://127.0.0.1:${app.port}/` },
      allowAddresses: ["127.0.0.1"],
      strategy: { retryAttempts: 1, retryDelay: 0.01 },
    };
    ground.write("settings/a.yml", "a: 1\n");
    expect(await sync.settings(options)).toMatchObject({ configReloaded: false, inSync: false });
    expect(app.posts).toHaveLength(2);
    app.status = 200;
    expect(await sync.settings(options)).toMatchObject({
      configReloaded: true,
      syncedItems: [],
      inSync: true,
    });
    expect(await sync.settings(options)).toMatchObject({ configReloaded: false });
    expect(app.posts).toHaveLength(3);
    app.stop();
  });

  it("runs a command without a shell, within its time limit", async ({ ground }) => {
    ground.write("settings/a.yml", "a: 1\n");
    const touch = "require('fs').writeFileSync(process.argv[1], process.argv[2])";
    const command = [process.execPath, "-e", touch, ground.path("told"), "$HOME; $(id)"];
    expect(await sync.settings({ ...settingsOf(ground), reload: { command } })).toMatchObject({
      configReloaded: true,
    });
    expect(ground.read("told")).toBe("$HOME; $(id)");
    ground.write("settings/a.yml", "a: 1\nb: 2\n");
    const failing = [process.execPath, "-e", "process.exit(3)"];
    const strategy = { retryAttempts: 0 };
    const failed = await sync.settings({ ...settingsOf(ground), reload: { command: failing }, strategy });
    expect(failed.errors[0]?.why).toMatch(/exit code 3/);
  });

  it("is published on a channel of the cache", async ({ ground, server }) => {
    const listener = await connect(server.address);
    const heard: string[] = [];
    await listener.subscribe("settings");
    listener.on("message", (_channel: string, message: string) => heard.push(message));
    ground.write("settings/a.yml", "a: 1\n");
    await sync.settings({ ...settingsOf(ground), reload: { channel: "settings" } });
    await until("the message", () => heard.length > 0);
    expect(heard.map((each) => JSON.parse(each))).toMatchObject([
      { event: "settings.changed", adapters: ["a"] },
    ]);
    listener.disconnect();
  });
});
