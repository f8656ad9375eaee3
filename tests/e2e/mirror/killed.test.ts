import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect } from "vitest";
import { fileManager, nginx } from "../../harness/file-servers.js";
import { until } from "../../harness/gate.js";
import { itMirrors as it, type TestMirror } from "../../harness/mirror.js";

describe("a sync that is killed", { timeout: 300_000 }, () => {
  for (const point of ["mirror-listed", "commit", "settled"])
    it(`is repeated without harm after the initial sync died at ${point}`, async ({ mirror }) => {
      for (const key of ["a", "b", "c"]) mirror.s3.put(key, key);
      const { signal } = await mirror.run(["initial-sync"], { DROVER_FAULT: point });
      expect(signal).toBe("SIGKILL");
      expect(await mirror.sync("initial-sync")).toMatchObject({ status: "success", records: 3, pending: 0 });
      expect(mirror.tree()).toEqual(mirror.source());
    });

  for (const point of ["mirror-exported", "mirror-replayed", "commit", "mirror-applied", "mirror-reported"])
    it(`is repeated without harm after the incremental sync died at ${point}`, async ({ mirror }) => {
      mirror.s3.put("a", "1");
      mirror.s3.put("gone", "1");
      await mirror.sync("initial-sync");
      mirror.s3.put("a", "2");
      mirror.s3.put("b", "new");
      mirror.s3.remove("gone");
      await mirror.tell(
        mirror.event("create", { key: "a" }),
        mirror.event("create", { key: "b" }),
        mirror.event("delete", { key: "gone" }),
      );
      const { signal } = await mirror.run(["incremental-sync"], { DROVER_FAULT: point });
      expect(signal).toBe("SIGKILL");
      expect(await mirror.sync("incremental-sync")).toMatchObject({
        status: "success",
        records: 2,
        pending: 0,
      });
      expect(mirror.tree()).toEqual(mirror.source());
      expect((await mirror.status()).events_waiting).toBe(0);
    });
});

describe("a move that is killed", { timeout: 300_000 }, () => {
  const killed = async (mirror: TestMirror, point: string) => {
    mirror.s3.put("a", "A");
    mirror.s3.put("over", "to be replaced");
    await mirror.sync("initial-sync");
    mirror.s3.remove("a");
    mirror.s3.put("over", "A");
    await mirror.tell(mirror.event("rename", { from: "a", to: "over" }));
    const { signal } = await mirror.run(["incremental-sync"], { DROVER_FAULT: point });
    expect(signal).toBe("SIGKILL");
    return await mirror.sync("incremental-sync");
  };
  const end = { status: "success", records: 1, pending: 0 };

  for (const point of ["linked", "taken", "moved", "settled"])
    it(`in a directory at ${point} is gone on with, and nothing is copied`, async ({ mirror }) => {
      const report = await killed(mirror, point);
      expect(report).toMatchObject({ ...end, operations: { copied: 0 } });
      if (point !== "settled") expect(report.operations.moved).toBe(1);
      expect(mirror.tree()).toEqual({ over: "A" });
    });

  for (const kind of [fileManager, nginx])
    it.skipIf(kind.absent !== undefined)(`at ${kind.name} was done already`, async ({ mirror }) => {
      const server = await kind.start();
      try {
        mirror.writeTo(server.root);
        expect(await killed(mirror, "moved")).toMatchObject({ ...end, operations: { copied: 0, moved: 1 } });
        expect(readFileSync(join(server.directory, "over"), "utf8")).toBe("A");
        expect(existsSync(join(server.directory, "a"))).toBe(false);
      } finally {
        await server.stop();
      }
    });

  for (const point of ["linked", "moved"])
    it(`in S3 at ${point} is gone on with`, async ({ mirror }) => {
      mirror.writeTo("s3://bucket/out");
      expect(await killed(mirror, point)).toMatchObject({ ...end, operations: { copied: 0, moved: 1 } });
      expect(mirror.s3.keys.filter((key) => key.startsWith("out/"))).toEqual(["out/over"]);
    });
});

describe("drover mirror daemon", { timeout: 300_000 }, () => {
  it("syncs at first and by events; another takes over when one is killed, and SIGTERM ends it", async ({
    mirror,
  }) => {
    mirror.s3.put("a", "1");
    const [first, second] = [mirror.start(["daemon"]), mirror.start(["daemon"])];
    await Promise.all([first, second].map((each) => each.waitFor("stdout", /daemon ready/, 60_000)));
    const isSame = () => JSON.stringify(mirror.tree()) === JSON.stringify(mirror.source());
    await until("the initial sync", isSame, 60_000);
    first.kill("SIGKILL");
    mirror.s3.put("b", "2");
    await mirror.tell(mirror.event("create", { key: "b" }));
    await until("the sync of the other", isSame, 60_000);
    second.kill("SIGTERM");
    expect((await second.result).code).toBe(0);
  });
});
