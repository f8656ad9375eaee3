import { readFileSync, statSync } from "node:fs";
import { join } from "node:path";
import { DatabaseSync } from "node:sqlite";
import { stateFiles } from "@drover/mirror/export/state-file";
import { describe, expect } from "vitest";
import { it } from "../../harness/mirror-in-process.js";

describe("initial sync", () => {
  it("copies all, records it, and exports the state to a file and a database", async ({ mirror }) => {
    const { s3 } = mirror;
    s3.put("a.txt", "a");
    s3.put("dir/=b.txt", "b");
    const report = await mirror.sync("initial");
    expect(report).toMatchObject({ status: "success", records: 2, pending: 0, operations: { copied: 2 } });
    expect(mirror.tree()).toEqual(mirror.source());
    const [, first, second] = readFileSync(report.state_file as string, "utf8").split("\n");
    expect(first).toMatch(/^a\.txt,1,[0-9a-f]{64},/);
    expect(second).toMatch(/^dir\/=b\.txt,1,/);
    const database = new DatabaseSync(mirror.context.config.database as string, { readOnly: true });
    expect(database.prepare("SELECT path, size FROM files ORDER BY path").all()).toEqual([
      { path: "a.txt", size: 1 },
      { path: "dir/=b.txt", size: 1 },
    ]);
    database.close();
  });

  it("leaves what failed pending, and the next sync tries it again", async ({ mirror }) => {
    const { s3 } = mirror;
    s3.put("good", "1");
    s3.put("bad", "2");
    s3.fault = ({ key }, answer) => {
      if (key !== "bad") return false;
      answer.writeHead(403).end();
      return true;
    };
    const first = await mirror.sync("initial");
    expect(first).toMatchObject({ status: "partial", operations_failed: 1, pending: 1 });
    expect(first.failures).toMatchObject([{ path: "bad", class: "forbidden" }]);
    s3.fault = () => false;
    expect(await mirror.sync("incremental")).toMatchObject({ status: "success", pending: 0 });
    expect(mirror.tree()).toEqual(mirror.source());
  });

  it("removes nothing when the listing is empty or fails", async ({ mirror }) => {
    const { s3 } = mirror;
    s3.put("a", "1");
    await mirror.sync("initial");
    s3.remove("a");
    const empty = await mirror.sync("reconcile");
    expect(empty.reconciled).toMatchObject({
      to_remove: 1,
      removals_refused: expect.stringContaining("empty"),
    });
    s3.put("b", "2");
    s3.fault = ({ query }, answer) => {
      if (!query.has("list-type")) return false;
      answer.writeHead(403).end();
      return true;
    };
    expect(await mirror.sync("reconcile")).toMatchObject({ status: "error", reconciled: null });
    expect(mirror.tree()).toEqual({ a: "1" });
    s3.fault = () => false;
    expect(await mirror.sync("reconcile")).toMatchObject({
      status: "success",
      operations: { copied: 1, removed: 1 },
    });
    expect(mirror.tree()).toEqual({ b: "2" });
  });
});

describe("incremental sync", () => {
  it("makes no run and no file where nothing waits", async ({ mirror }) => {
    mirror.s3.put("a", "1");
    await mirror.sync("initial");
    const files = stateFiles(mirror.context.config.dataDir);
    const requests = mirror.s3.requests.length;
    expect(await mirror.sync("incremental")).toMatchObject({ status: "success", runs: [], state_file: null });
    expect(stateFiles(mirror.context.config.dataDir)).toEqual(files);
    expect(mirror.s3.requests).toHaveLength(requests);
  });

  it("follows all kinds of events, and tells the changes apart", async ({ mirror }) => {
    const { s3 } = mirror;
    for (const key of ["gone", "old name", "there", "same"]) s3.put(key, `content of ${key}`);
    await mirror.sync("initial");
    s3.remove("gone");
    s3.remove("old name");
    s3.put("new name", "content of old name");
    s3.put("fresh", "new");
    s3.put("there", "changed");
    await mirror.tell(
      mirror.event("delete", { key: "gone" }),
      mirror.event("move", { from: "old name", to: "new name" }),
      mirror.event("create", { key: "fresh", size: 3 }),
      mirror.event("create", { key: "there" }),
      mirror.event("change_permission", { key: "same", owner: "alice" }),
    );
    const report = await mirror.sync("incremental");
    expect(report).toMatchObject({
      status: "success",
      events_processed: 5,
      events: { applied: 5 },
      changes: { added: 1, removed: 1, changed: 1, renamed: 1, permissions: 1 },
      operations: { copied: 2, moved: 1, removed: 1, permissions: 0, not_kept: 1, unchanged: 1 },
      records: 4,
      pending: 0,
    });
    expect(report.convergence_lag_seconds).toBeLessThan(60);
    expect(mirror.tree()).toEqual(mirror.source());
    const database = new DatabaseSync(mirror.context.config.database as string, { readOnly: true });
    expect(database.prepare("SELECT path, owner, moved_from FROM files ORDER BY path").all()).toEqual([
      { path: "fresh", owner: null, moved_from: null },
      { path: "new name", owner: null, moved_from: "old name" },
      { path: "same", owner: "alice", moved_from: null },
      { path: "there", owner: null, moved_from: null },
    ]);
    database.close();
  });

  it("follows an event once, and none that is older than the last one of its path", async ({ mirror }) => {
    const { s3 } = mirror;
    s3.put("a", "1");
    const now = Date.now();
    const created = mirror.event("create", { key: "a" }, now - 1_000);
    await mirror.tell(created, created, mirror.event("delete", { key: "a" }, now - 5_000));
    expect((await mirror.sync("incremental")).events).toEqual({
      ...{ applied: 1, duplicate: 1, superseded: 1, ignored: 0, dead: 0 },
    });
    await mirror.tell(created);
    expect(await mirror.sync("incremental")).toMatchObject({
      events: { applied: 0, duplicate: 1 },
      runs: [],
    });
    expect(mirror.tree()).toEqual({ a: "1" });
  });

  it("follows a cycle of renames, a rename onto a file, and one of a file that never existed", async ({
    mirror,
  }) => {
    const { s3 } = mirror;
    for (const [key, content] of ["aA", "bB", "cC", "dD"]) s3.put(key as string, content as string);
    await mirror.sync("initial");
    s3.put("a", "B");
    s3.put("b", "A");
    s3.remove("c");
    s3.put("d", "C");
    await mirror.tell(
      mirror.event("rename", { from: "a", to: "b" }),
      mirror.event("rename", { from: "b", to: "a" }),
      mirror.event("rename", { from: "c", to: "d" }),
      mirror.event("rename", { from: "never", to: "nor this" }),
      mirror.event("delete", { key: "never was" }),
    );
    expect(await mirror.sync("incremental")).toMatchObject({ status: "success", records: 3, pending: 0 });
    expect(mirror.tree()).toEqual({ a: "B", b: "A", d: "C" });
  });

  it("keeps a file whose delete races its creation", async ({ mirror }) => {
    const { s3 } = mirror;
    s3.put("a", "1");
    await mirror.sync("initial");
    s3.put("a", "2"); // deleted, and created again
    await mirror.tell(mirror.event("delete", { key: "a" }));
    expect(await mirror.sync("incremental")).toMatchObject({
      records: 1,
      pending: 0,
      operations: { copied: 1 },
    });
    expect(mirror.tree()).toEqual({ a: "2" });
  });

  it("puts aside what cannot be followed, and takes it again", async ({ mirror }) => {
    await mirror.tell(
      mirror.event("explode", { key: "a" }),
      mirror.event("create", { key: "../a" }),
      mirror.event("rename", { from: "a", to: "a" }),
      "{}", // it has no type
      '{"type":"create","path":"bare","id":"1"}',
    );
    mirror.s3.put("bare", "1");
    expect((await mirror.sync("incremental")).events).toMatchObject({ applied: 1, dead: 4 });
    const letters = await mirror.context.stream.letters(10);
    expect(letters.map(({ why }) => why).sort()).toEqual(
      [
        expect.stringContaining("onto itself"),
        expect.stringContaining("component"),
        expect.stringContaining("unknown type"),
        expect.stringContaining("unknown type"),
      ].sort(),
    );
    expect(await mirror.context.stream.replay(letters)).toBe(4);
    expect(await mirror.context.stream.waiting()).toBe(4);
    expect(await mirror.context.stream.deadCount()).toBe(0);
  });
});

describe("permissions", () => {
  const modeOf = (mirror: { out: string }, name: string) => statSync(join(mirror.out, name)).mode & 0o777;

  it("are given to a file that is unchanged, kept when it changes, and are those of the metadata otherwise", async ({
    mirror,
  }) => {
    const { s3 } = mirror;
    s3.put("a", "1");
    s3.put("b", "1", { "x-amz-meta-mode": "100640" });
    await mirror.sync("initial");
    expect(modeOf(mirror, "b")).toBe(0o640);
    await mirror.tell(mirror.event("change_permission", { key: "a", mode: "0600" }));
    const report = await mirror.sync("incremental");
    expect(report).toMatchObject({
      changes: { permissions: 1 },
      operations: { permissions: 1, copied: 0, not_kept: 0 },
    });
    expect(modeOf(mirror, "a")).toBe(0o600);
    s3.put("a", "2");
    await mirror.tell(mirror.event("create", { key: "a" }));
    await mirror.sync("incremental");
    expect(modeOf(mirror, "a")).toBe(0o600);
    expect(mirror.tree().a).toBe("2");
    s3.put("a", "3"); // no event tells of it
    await mirror.sync("reconcile");
    expect(modeOf(mirror, "a")).toBe(0o600);
    expect(mirror.tree().a).toBe("3");
  });

  it("that do not exist are dead letters", async ({ mirror }) => {
    await mirror.tell(mirror.event("change_permission", { key: "a", mode: "0999" }));
    expect((await mirror.sync("incremental")).events).toMatchObject({ applied: 0, dead: 1 });
  });
});

describe("reconcile", () => {
  it("finds what events missed, and says how much and how old", async ({ mirror }) => {
    const { s3 } = mirror;
    for (const key of ["a", "b", "c", "d"]) s3.put(key, key);
    await mirror.sync("initial");
    s3.put("a", "changed", {}, new Date(Date.now() - 60_000));
    s3.put("e", "new");
    s3.remove("b");
    const report = await mirror.sync("reconcile");
    expect(report).toMatchObject({
      status: "success",
      changes: { added: 1, removed: 1, changed: 1 },
      operations: { copied: 2, removed: 1 },
      reconciled: { listed: 4, missed: 2, to_remove: 1, removals_refused: null },
    });
    expect(report.convergence_lag_seconds).toBeGreaterThan(59);
    expect(mirror.tree()).toEqual(mirror.source());
  });
});
