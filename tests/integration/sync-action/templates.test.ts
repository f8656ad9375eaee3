import { rmSync } from "node:fs";
import { sync } from "@drover/cli/library-sync";
import { ManualResolutionRequired, PairGuardError } from "@drover/producer";
import { allPairs } from "@drover/shared/pair/store";
import { describe, expect } from "vitest";
import { type Ground, it } from "../../harness/sync-action.js";

/** The templates of the test's ground with its bucket. */
const templatesOf = (ground: Ground) => ({
  ...ground.options,
  templatePaths: [ground.path("templates")],
  storageBucket: "bucket",
});

describe("sync.templates()", () => {
  it("brings templates at any depth to both sides, and nothing else", async ({ ground }) => {
    ground.write("templates/a.html", "a");
    ground.write("templates/deep/er/b.jinja2", "b");
    ground.write("templates/notes.txt", "no template");
    ground.put("mail/c.j2", "c");
    ground.put("logo.svg", "no template");
    const result = await sync.templates(templatesOf(ground));
    expect(result.syncedItems.sort()).toEqual(["a.html", "deep/er/b.jinja2", "mail/c.j2"]);
    expect(result).toMatchObject({
      inSync: true,
      hasConflicts: false,
      dryRun: false,
      backedUp: [],
      errors: [],
    });
    expect(ground.tree("templates")).toEqual({
      ...{ "a.html": "a", "deep/er/b.jinja2": "b", "mail/c.j2": "c" },
      "notes.txt": "no template",
    });
    expect(ground.bucket()).toEqual({
      ...{ "a.html": "a", "deep/er/b.jinja2": "b", "mail/c.j2": "c" },
      "logo.svg": "no template",
    });
    const again = await sync.templates(templatesOf(ground));
    expect(again).toMatchObject({ syncedItems: [], inSync: true, runs: [] });
  });

  it("removes the cache keys of changed templates alone, once more a second later", async ({
    ground,
    redis,
  }) => {
    ground.write("templates/a.html", "1");
    ground.write("templates/b.html", "1");
    ground.write("templates/x[1]*.html", "1");
    await sync.templates(templatesOf(ground));
    const others = [
      "template:b.html",
      "template:de:b.html",
      "bccache:b.html",
      "template:aa.html",
      "xtemplate:a.html",
    ];
    const theirs = ["template:a.html", "template:de:a.html", "template:x:y:a.html", "template:x[1]*.html"];
    const bytecode = ["bccache:a.html", "bccache:v3:a.html"];
    for (const key of [...others, ...theirs, ...bytecode]) await redis.set(key, "old");
    ground.write("templates/a.html", "2, longer");
    ground.write("templates/x[1]*.html", "2, longer");
    const syncing = sync.templates(templatesOf(ground));
    // Somebody who has read the old template stores it after it was removed.
    while ((await redis.exists("template:a.html")) === 1)
      await new Promise((resolve) => setImmediate(resolve));
    await redis.set("template:late:a.html", "old");
    const result = await syncing;
    expect(result.cacheInvalidated.sort()).toEqual([...theirs, "template:late:a.html"].sort());
    expect(result.bytecodeCleared.sort()).toEqual(bytecode);
    expect(await redis.exists(...others)).toBe(others.length);
    expect(await redis.exists("template:late:a.html")).toBe(0);
  });

  it("owes the cache what it could not do, and the next sync does it", async ({ ground, redis, keys }) => {
    ground.write("templates/a.html", "1");
    await sync.templates(templatesOf(ground));
    await redis.set("template:a.html", "old");
    ground.write("templates/a.html", "2, longer");
    const away = { ...templatesOf(ground), cache: "redis://127.0.0.1:1", strategy: { retryAttempts: 0 } };
    const failed = await sync.templates(away);
    expect(failed).toMatchObject({ syncedItems: ["a.html"], inSync: false });
    expect(failed.errors[0]?.why).toMatch(/next sync/);
    const [pair] = await allPairs(redis, keys);
    expect(await redis.scard(keys.pair(pair?.id as string, "owed"))).toBe(1);
    const next = await sync.templates(templatesOf(ground));
    expect(next).toMatchObject({ syncedItems: [], cacheInvalidated: ["template:a.html"], inSync: true });
    expect(await redis.exists(keys.pair(pair?.id as string, "owed"), "template:a.html")).toBe(0);
  });

  it("makes good what a process owed that died after it had changed files", async ({
    ground,
    redis,
    keys,
  }) => {
    ground.write("templates/a.html", "1");
    await sync.templates(templatesOf(ground));
    await redis.set("template:a.html", "old");
    ground.write("templates/a.html", "2, longer");
    const stop = new AbortController();
    // It stops the moment that the file is settled: the hook is not reached, as if it had died there.
    const events = { settled: () => stop.abort() };
    await sync.templates({ ...templatesOf(ground), signal: stop.signal, events }).catch(() => {});
    expect(ground.bucket()).toEqual({ "a.html": "2, longer" });
    expect(await redis.exists("template:a.html")).toBe(1);
    const next = await sync.templates(templatesOf(ground));
    expect(next.cacheInvalidated).toEqual(["template:a.html"]);
    const [pair] = await allPairs(redis, keys);
    expect(await redis.exists(keys.pair(pair?.id as string, "owed"))).toBe(0);
  });

  it("gives a name to the first of several directories, and names the collisions", async ({ ground }) => {
    ground.write("templates/a.html", "first");
    ground.write("custom/a.html", "second");
    ground.write("custom/b.html", "b");
    ground.put("new.html", "new");
    const both = { ...templatesOf(ground), templatePaths: [ground.path("templates"), ground.path("custom")] };
    const result = await sync.templates(both);
    expect(result.collisions).toEqual([
      { path: "a.html", used: ground.path("templates"), ignored: ground.path("custom") },
    ]);
    expect(result.syncedItems.sort()).toEqual(["a.html", "b.html", "new.html"]);
    expect(ground.bucket()).toEqual({ "a.html": "first", "b.html": "b", "new.html": "new" });
    expect(ground.tree("templates")).toEqual({ "a.html": "first", "new.html": "new" });
    expect(ground.tree("custom")).toEqual({ "a.html": "second", "b.html": "b" });
    expect((await sync.templates(both)).syncedItems).toEqual([]);
    // A remote edit goes to the directory that has the file, and a deletion comes from there.
    ground.put("b.html", "b, edited");
    rmSync(ground.path("templates/new.html"));
    const next = await sync.templates({ ...both, strategy: { conflictStrategy: "REMOTE_WINS" } });
    expect(next.syncedItems.sort()).toEqual(["b.html", "new.html"]);
    expect(ground.tree("custom")).toEqual({ "a.html": "second", "b.html": "b, edited" });
    expect(Object.keys(ground.bucket())).toEqual(["a.html", "b.html"]);
  });

  it("lets a first directory take a name over without deleting the later one's file", async ({ ground }) => {
    ground.write("custom/a.html", "custom");
    ground.write("templates/z.html", "z");
    const both = { ...templatesOf(ground), templatePaths: [ground.path("templates"), ground.path("custom")] };
    await sync.templates(both);
    ground.write("templates/a.html", "overrides");
    await sync.templates({ ...both, strategy: { conflictStrategy: "LOCAL_WINS" } });
    expect(ground.bucket()).toEqual({ "a.html": "overrides", "z.html": "z" });
    rmSync(ground.path("templates/a.html"));
    await sync.templates(both);
    await sync.templates(both);
    expect(ground.tree("custom")).toEqual({ "a.html": "custom" });
    expect(ground.bucket()).toEqual({ "a.html": "custom", "z.html": "z" });
  });

  it("tells what it did with one directory where a guard stops another", async ({ ground }) => {
    ground.write("templates/a.html", "1");
    ground.write("custom/b.html", "b");
    const both = { ...templatesOf(ground), templatePaths: [ground.path("templates"), ground.path("custom")] };
    await sync.templates(both);
    ground.write("templates/a.html", "2, longer");
    rmSync(ground.path("custom/b.html"));
    const result = await sync.templates(both);
    expect(result).toMatchObject({ syncedItems: ["a.html"], inSync: false });
    expect(result.errors).toMatchObject([
      { path: "", why: expect.stringMatching(/custom was not synced: .*allow-empty/) },
    ]);
    expect(ground.bucket()).toEqual({ "a.html": "2, longer", "b.html": "b" });
    rmSync(ground.path("templates/a.html"));
    await expect(sync.templates(both)).rejects.toThrow(PairGuardError);
  });

  it("tells what it would do, and changes nothing", async ({ ground, redis, keys }) => {
    ground.write("templates/a.html", "a");
    ground.put("b.html", "b");
    await redis.set("template:a.html", "old");
    const result = await sync.templates({ ...templatesOf(ground), strategy: { dryRun: true } });
    expect(result).toMatchObject({ dryRun: true, inSync: false, cacheInvalidated: [], runs: [] });
    expect(result.syncedItems).toEqual(["a.html", "b.html"]);
    expect(ground.tree("templates")).toEqual({ "a.html": "a" });
    expect(ground.bucket()).toEqual({ "b.html": "b" });
    expect(await allPairs(redis, keys)).toEqual([]);
    expect(await redis.exists("template:a.html")).toBe(1);
  });

  it("keeps both versions under BACKUP_BOTH, with a name that no program loads", async ({ ground }) => {
    ground.write("templates/a.html", "local");
    ground.put("a.html", "remote, longer");
    const result = await sync.templates({
      ...templatesOf(ground),
      strategy: { conflictStrategy: "BACKUP_BOTH", backupOnConflict: true },
    });
    expect(result.conflicts).toMatchObject([{ path: "a.html", winner: "both" }]);
    expect(result.conflicts[0]?.localMtime).toBeInstanceOf(Date);
    expect(result.conflicts[0]?.remoteMtime).toBeInstanceOf(Date);
    expect(result.hasConflicts).toBe(true);
    expect(result.backedUp).toEqual([expect.stringMatching(/^a\.html\.conflict-local-/)]);
    const copy = result.backedUp[0] as string;
    expect(ground.tree("templates")).toEqual({ "a.html": "remote, longer", [copy]: "local" });
    expect(ground.bucket()).toEqual({ "a.html": "remote, longer", [copy]: "local" });
    expect(await sync.templates(templatesOf(ground))).toMatchObject({ syncedItems: [], inSync: true });
    // The copy belongs to the pair: it goes on both sides.
    rmSync(ground.path("templates", copy));
    await sync.templates(templatesOf(ground));
    expect(Object.keys(ground.bucket())).toEqual(["a.html"]);
  });

  it("keeps what it replaces, and says where", async ({ ground }) => {
    ground.write("templates/a.html", "local, newer");
    ground.put("a.html", "remote");
    const result = await sync.templates({
      ...templatesOf(ground),
      strategy: { conflictStrategy: "NEWEST_WINS" },
    });
    expect(result.conflicts).toMatchObject([{ path: "a.html", winner: "local" }]);
    expect(ground.bucket()).toEqual({ "a.html": "local, newer" });
    const [kept] = result.backedUp;
    expect(String(ground.s3.stored((kept as string).replace("s3://bucket/", ""))?.content)).toBe("remote");
  });

  it("rejects under MANUAL where conflicts wait, with what it did all the same", async ({ ground }) => {
    ground.write("templates/a.html", "local");
    ground.write("templates/b.html", "b");
    ground.put("a.html", "remote");
    const error = await sync
      .templates({ ...templatesOf(ground), strategy: { conflictStrategy: "MANUAL" } })
      .catch((error: unknown) => error);
    expect(error).toBeInstanceOf(ManualResolutionRequired);
    expect(error).toBeInstanceOf(Error);
    const { message, result } = error as ManualResolutionRequired;
    expect(message).toBe("Manual conflict resolution required");
    expect(result.syncedItems).toEqual(["b.html"]);
    expect(result.conflicts).toMatchObject([{ path: "a.html", reason: "both_new" }]);
    expect(ground.tree("templates")).toMatchObject({ "a.html": "local" });
    expect(ground.bucket()).toEqual({ "a.html": "remote", "b.html": "b" });
  });
});

describe("sync.pair()", () => {
  it("tries again what failed, as often and as soon as the strategy says", async ({ ground }) => {
    ground.write("one/a", "a");
    const puts: number[] = [];
    ground.s3.fault = ({ method, key }, answer) => {
      if (method !== "PUT" || key !== "p/a") return false;
      puts.push(performance.now());
      if (puts.length % 3 === 0) return false;
      answer.writeHead(500).end();
      return true;
    };
    const pair = { ...ground.options, local: ground.path("one"), remote: "s3://bucket/p" };
    const failed = await sync.pair({ ...pair, strategy: { retryAttempts: 1, retryDelay: 0.01 } });
    expect(failed.errors).toMatchObject([{ path: "a" }]);
    expect(puts).toHaveLength(2);
    puts.length = 0;
    const delays: number[] = [];
    const events = {
      retrying: (...[, , , delayMs]: [unknown, unknown, unknown, number]) => delays.push(delayMs),
    };
    const done = await sync.pair({ ...pair, events, strategy: { retryAttempts: 2, retryDelay: 0.01 } });
    expect(delays).toHaveLength(2);
    expect(Math.max(...delays)).toBeLessThanOrEqual(15);
    expect(done).toMatchObject({ syncedItems: ["a"], inSync: true });
  });

  it("syncs two directories", async ({ ground }) => {
    ground.write("one/a", "a");
    ground.write("two/b", "b");
    const pair = { ...ground.options, local: ground.path("one"), remote: ground.path("two") };
    const result = await sync.pair(pair);
    expect(result).toMatchObject({ inSync: true, dryRun: false });
    expect(result.syncedItems.sort()).toEqual(["a", "b"]);
    expect(ground.tree("one")).toEqual({ a: "a", b: "b" });
    expect(ground.tree("two")).toEqual({ a: "a", b: "b" });
  });

  it("goes in another direction from one sync to the next", async ({ ground }) => {
    ground.write("one/a", "a");
    ground.write("two/b", "b");
    const pair = { ...ground.options, local: ground.path("one"), remote: ground.path("two") };
    for (const direction of ["PULL", "BIDIRECTIONAL", "PULL", "PUSH", "PUSH", "BIDIRECTIONAL"] as const) {
      ground.write(`one/from-one-${direction}`, String(Math.random()));
      ground.write(`two/from-two-${direction}`, String(Math.random()));
      expect((await sync.pair({ ...pair, strategy: { direction } })).syncedItems.length).toBeGreaterThan(0);
    }
    expect(ground.tree("one")).toEqual(ground.tree("two"));
  });

  it("writes one side alone by its direction", async ({ ground }) => {
    ground.write("one/a", "a");
    ground.write("two/b", "b");
    const pair = { ...ground.options, local: ground.path("one"), remote: ground.path("two") };
    const pull = await sync.pair({ ...pair, strategy: { direction: "PULL" } });
    expect(pull).toMatchObject({ syncedItems: ["b"], skipped: [{ path: "a", why: "local_only" }] });
    expect(ground.tree("two")).toEqual({ b: "b" });
  });
});
