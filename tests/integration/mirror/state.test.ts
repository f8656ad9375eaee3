import { createHash } from "node:crypto";
import { join } from "node:path";
import { DatabaseSync } from "node:sqlite";
import { importState } from "@drover/mirror/export/import";
import { exportTo } from "@drover/mirror/export/state-file";
import { describe, expect } from "vitest";
import { FakeS3 } from "../../harness/fake-s3.js";
import { it, MirrorInProcess } from "../../harness/mirror-in-process.js";

describe("an exported state", () => {
  it("is known again after Redis has lost all, and nothing is copied anew", async ({ mirror, engine }) => {
    const { s3, context } = mirror;
    for (const key of ["a", "=b", "dir/c, d"]) s3.put(key, key);
    await mirror.sync("initial");
    await mirror.tell(mirror.event("change_permission", { key: "a", owner: "alice", mode: "0600" }));
    await mirror.sync("incremental");
    const file = join(mirror.path, "export.csv");
    expect(await exportTo(context, file, async () => {})).toBe(3);
    await engine.redis.flushall();
    await context.stream.open();
    expect(await mirror.holding((holding) => importState(context, holding, file))).toEqual({
      added: 3,
      known: 0,
    });
    expect(await mirror.holding((holding) => importState(context, holding, file))).toEqual({
      added: 0,
      known: 3,
    });
    const [entry] = await context.state.lookUp(["a"]);
    expect(entry).toMatchObject({
      owner: "alice",
      mode: 0o600,
      event: { id: expect.stringContaining("e1") },
    });
    const requests = s3.requests.length;
    const report = await mirror.sync("initial");
    expect(report).toMatchObject({ status: "success", records: 3, operations: { copied: 0, unchanged: 3 } });
    expect(s3.requests.slice(requests).filter(({ key }) => key !== "")).toEqual([]);
  });
});

describe("the database", () => {
  it("says after a sync what was found at the source, not what an event had told of it", async ({
    mirror,
  }) => {
    const { s3, context } = mirror;
    s3.put("a", "1");
    await mirror.sync("initial");
    s3.put("a", "longer");
    s3.put("b", "new");
    await mirror.tell(mirror.event("create", { key: "a" }), mirror.event("create", { key: "b" }));
    expect(await mirror.sync("incremental")).toMatchObject({ status: "success" });
    const database = new DatabaseSync(context.config.database as string, { readOnly: true });
    const rows = database.prepare("select path, size, sha256 from files order by path").all();
    database.close();
    expect(rows).toEqual(
      ["longer", "new"].map((text, at) => ({
        ...{ path: "ab"[at], size: text.length },
        sha256: createHash("sha256").update(text).digest("hex"),
      })),
    );
  });
});

describe("a second bucket", () => {
  it("gets every version that is copied", async ({ engine, s3 }) => {
    const target = await FakeS3.start();
    const mirror = await MirrorInProcess.open(engine, s3, {
      ...{ name: "kept", backup: "s3://bucket/kept", backupEndpoint: target.endpoint },
    });
    s3.put("a", "1");
    await mirror.sync("initial");
    s3.put("a", "2");
    s3.put("b", "new");
    await mirror.tell(mirror.event("create", { key: "a" }), mirror.event("create", { key: "b" }));
    expect(await mirror.sync("incremental")).toMatchObject({ status: "success", operations: { copied: 2 } });
    const kept = Object.fromEntries(target.keys.map((key) => [key, String(target.stored(key)?.content)]));
    expect(kept).toEqual({ "kept/a": "2", "kept/b": "new" });
    s3.remove("b");
    await mirror.tell(mirror.event("delete", { key: "b" }));
    await mirror.sync("incremental");
    expect(target.keys).toEqual(["kept/a", "kept/b"]);
    await target.stop();
  });
});

describe("a second bucket that cannot be written to", () => {
  for (const kind of ["initial", "incremental"] as const)
    it(`gets what it lacks by the next sync after the ${kind} one`, async ({ engine, s3 }) => {
      const target = await FakeS3.start();
      const mirror = await MirrorInProcess.open(engine, s3, {
        ...{ name: "lacks", backup: "s3://bucket/kept", backupEndpoint: target.endpoint },
      });
      if (kind === "incremental") await mirror.sync("initial");
      s3.put("a", "1");
      s3.put("b", "2");
      await mirror.tell(mirror.event("create", { key: "a" }), mirror.event("create", { key: "b" }));
      target.fault = ({ method, key }, answer) => {
        if (method !== "PUT" || key !== "kept/a") return false;
        answer.writeHead(403).end();
        return true;
      };
      expect(await mirror.sync(kind)).toMatchObject({ status: "partial", operations_failed: 1, pending: 1 });
      expect(mirror.tree()).toEqual({ a: "1", b: "2" });
      expect(target.keys).toEqual(["kept/b"]);
      target.fault = () => false;
      expect(await mirror.sync("incremental")).toMatchObject({ status: "success", pending: 0 });
      expect(target.keys).toEqual(["kept/a", "kept/b"]);
      await target.stop();
    });
});

describe("a destination in S3", () => {
  it("follows the source by moves, and keeps permissions alone as metadata", async ({ engine, s3 }) => {
    const target = await FakeS3.start();
    const mirror = await MirrorInProcess.open(engine, s3, { name: "s3", root: "s3://bucket/copy" });
    const other = await MirrorInProcess.open(engine, s3, {
      ...{ name: "s3", root: "s3://bucket/copy" },
      request: {
        ...mirror.context.config.request,
        s3: { endpoint: s3.endpoint, destination: { endpoint: target.endpoint } },
      },
    });
    for (const key of ["a", "b"]) s3.put(key, key);
    await other.sync("initial");
    s3.remove("a");
    await other.tell(
      other.event("rename", { from: "a", to: "c" }),
      other.event("change_permission", { key: "b", mode: "0600" }),
    );
    s3.put("c", "a");
    expect(await other.sync("incremental")).toMatchObject({
      ...{
        status: "success",
        operations: { copied: 0, moved: 1, removed: 0, permissions: 1, not_kept: 0 },
        changes: { renamed: 1 },
      },
    });
    expect(target.keys).toEqual(["copy/b", "copy/c"]);
    expect(target.stored("copy/b")?.headers).toMatchObject({ "x-amz-meta-mode": "100600" });
    await target.stop();
  });
});
