import { rmSync } from "node:fs";
import { describe, expect } from "vitest";
import {
  answer,
  drop,
  type Fault,
  FaultyFileManager,
  losesAnswer,
  slow,
  storesOther,
} from "../../harness/faulty-file-manager.js";
import { fileManager } from "../../harness/file-servers.js";
import { managedTree } from "../../harness/managed-tree.js";
import { History, randomOf } from "../../harness/mirror-history.js";
import { it, MirrorInProcess } from "../../harness/mirror-in-process.js";

/** Seeds that are played: those of DROVER_TEST_SEEDS (`3` or `3-10`), else some. */
function seeds(): number[] {
  const [from = 1, to = from] = (process.env.DROVER_TEST_SEEDS ?? "1-2").split("-").map(Number);
  return Array.from({ length: to - from + 1 }, (_, at) => from + at);
}

describe("random histories at a file manager in trouble", { timeout: 300_000 }, () => {
  for (const seed of seeds())
    it(`end as the bucket says, in bytes and permissions (seed ${seed})`, async ({ engine, s3 }) => {
      const manager = await fileManager.start();
      const faulty = await FaultyFileManager.start(manager.root);
      const mirror = await MirrorInProcess.open(engine, s3, { root: faulty.root });
      const random = randomOf(seed);
      const history = new History(s3, random, (...of) => mirror.event(...of));
      const faults: [string, Fault][] = [
        ...["PUT", "POST", "PATCH", "DELETE"].flatMap((method): [string, Fault][] => [
          [method, answer(500)],
          [method, losesAnswer],
        ]),
        ["PUT", slow(100)],
        ["PUT", drop],
        ["PUT", answer(201)],
        ["PUT", storesOther(manager.root)],
        ["POST", answer(429, { "retry-after": "0" })],
      ];
      try {
        for (let round = 0; round < 4; round++) {
          const drops = round > 0 && random(2) === 0;
          await mirror.tell(...history.play(16, drops));
          for (let count = random(3); count > 0; count--)
            faulty.next(...(faults[random(faults.length)] as [string, Fault]));
          if (round === 0) await mirror.sync("initial");
          const kind = drops ? "reconcile" : "incremental";
          if (drops && random(2) === 0) await mirror.sync("incremental");
          let report = await mirror.sync(kind);
          const where = `seed ${seed}, round ${round}: ${JSON.stringify(report)}`;
          expect(report.error, where).toBeNull();
          if (report.pending > 0) report = await mirror.sync("incremental");
          expect(report, where).toMatchObject({ status: "success", pending: 0, records: s3.keys.length });
          expect(await managedTree(manager.root), where).toEqual(history.expected());
        }
      } finally {
        await faulty.stop();
        await manager.stop();
        rmSync(mirror.path, { recursive: true, force: true });
      }
    });
});

describe("a removal that failed", { timeout: 60_000 }, () => {
  it("is repeated", async ({ engine, s3 }) => {
    const manager = await fileManager.start();
    const faulty = await FaultyFileManager.start(manager.root);
    const mirror = await MirrorInProcess.open(engine, s3, { root: faulty.root });
    for (const key of ["a", "b", "stays"]) s3.put(key, key, { "x-amz-meta-mode": "100640" });
    await mirror.sync("initial");
    for (const key of ["a", "b"]) s3.remove(key);
    await mirror.tell(mirror.event("delete", { key: "a" }), mirror.event("delete", { key: "b" }));
    faulty.next("DELETE", answer(500), losesAnswer);
    expect(await mirror.sync("incremental")).toMatchObject({ status: "success", operations: { removed: 2 } });
    expect(Object.keys(await managedTree(manager.root))).toEqual(["stays"]);
    await faulty.stop();
    await manager.stop();
    rmSync(mirror.path, { recursive: true, force: true });
  });
});

describe("a file manager that is down", { timeout: 120_000 }, () => {
  it("is written to when it is back", async ({ engine, s3 }) => {
    const manager = await fileManager.start();
    const faulty = await FaultyFileManager.start(manager.root);
    const mirror = await MirrorInProcess.open(engine, s3, { root: faulty.root });
    Object.assign(mirror.context.config.request, { breaker: { ttlMs: 1_000, waitMs: 500 } });
    for (const key of ["a", "b"]) s3.put(key, key, { "x-amz-meta-mode": "100640" });
    await mirror.sync("initial");
    s3.remove("a");
    s3.put("c", "a", { "x-amz-meta-mode": "100640" });
    for (let count = 0; count < 8; count++) s3.put(`new ${count}`, "new", { "x-amz-meta-mode": "100640" });
    await mirror.tell(
      mirror.event("rename", { from: "a", to: "c" }),
      mirror.event("change_permission", { key: "b", mode: "0600" }),
      ...Array.from({ length: 8 }, (_, count) => mirror.event("create", { key: `new ${count}` })),
    );
    faulty.isDown = true;
    const down = await mirror.sync("incremental");
    expect(down).toMatchObject({ status: expect.stringMatching(/partial|error/), pending: 11 });
    faulty.isDown = false;
    expect(await mirror.sync("incremental")).toMatchObject({
      status: "success",
      pending: 0,
      operations: { copied: 8, moved: 1, permissions: 1 },
    });
    expect(Object.keys(await managedTree(manager.root)).sort()).toEqual(s3.keys);
    await faulty.stop();
    await manager.stop();
    rmSync(mirror.path, { recursive: true, force: true });
  });
});
