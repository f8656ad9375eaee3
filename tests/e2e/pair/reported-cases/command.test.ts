import { chmodSync, chownSync, existsSync, mkdirSync, readdirSync, readFileSync } from "node:fs";
import { describe, expect } from "vitest";
import { Sandbox } from "../../../harness/drover.js";
import { FakeS3 } from "../../../harness/fake-s3.js";
import { Work } from "../../../harness/fixtures.js";
import { it } from "../../../harness/s3-fixtures.js";

// What went wrong with other tools in ways that only processes of their own show.

const read = (work: Work, path: string) => readFileSync(work.at(path), "utf8");
const names = (work: Work, path: string) =>
  readdirSync(work.at(path))
    .filter((name) => !name.startsWith(".drover-"))
    .sort();

/** A user that is not root. */
const NOBODY = 65_534;

describe("two syncs at once", () => {
  it("of one pair wait for each other (elsewhere: both hold rclone's lock, rclone#9793)", async ({
    box,
    work,
    fake,
  }) => {
    work.write({ "a/one": "1", "a/two": "2" });
    fake.put("p/three", "3");
    const args = ["bisync", work.at("a"), "s3://bucket/p", "--json"];
    const both = await Promise.all([box.run(args, { env: fake.env }), box.run(args, { env: fake.env })]);
    expect(both.map(({ code }) => code)).toEqual([0, 0]);
    const did = both.flatMap(({ stdout }) => (JSON.parse(stdout) as { items: unknown[] }).items);
    expect(did).toHaveLength(3);
    expect(names(work, "a")).toEqual(["one", "three", "two"]);
  });

  it("of two machines on one prefix lose nothing (elsewhere: the last one wins, syncthing#220)", async ({
    box,
    work,
    fake,
  }) => {
    work.write({ "a/same.txt": "of machine a", "b/same.txt": "of machine b", "a/x": "1", "b/y": "2" });
    const sync = (machine: string) =>
      box.run(
        [
          ...["bisync", work.at(machine), "s3://bucket/p", "--conflict", "backup-both", "--json"],
          ...["--state-dir", work.at(`state-${machine}`)],
        ],
        { env: fake.env },
      );
    await Promise.all([sync("a"), sync("b")]);
    for (const machine of ["a", "b", "a", "b"]) await sync(machine);
    expect(names(work, "a")).toEqual(names(work, "b"));
    const texts = names(work, "a").map((name) => read(work, `a/${name}`));
    expect(texts.sort()).toEqual(["1", "2", "of machine a", "of machine b"]);
    expect(JSON.parse((await sync("a")).stdout)).toMatchObject({ in_sync: true, items: [] });
  });
});

describe("a dry run", () => {
  it("says what is to be done, not that it was (elsewhere: the direction is unclear, rclone#7029)", async ({
    box,
    work,
    fake,
  }) => {
    work.write({ "a/one": "1" });
    const { code, stdout } = await box.run(["bisync", work.at("a"), "s3://bucket/p", "--dry-run"], {
      env: fake.env,
    });
    expect([code, stdout]).toEqual([
      0,
      "→ one (would push)\n1 to push, 0 to pull, 0 to delete here, 0 to delete there; not in sync, 1 files\n",
    ]);
  });
});

describe("exit codes", () => {
  it("tell what came of it (elsewhere: 0 although files failed)", async ({ box, work, fake }) => {
    const { env } = fake;
    work.write({ "a/one.txt": "1", "a/two": "2" });
    const run = (...args: string[]) => box.run(["bisync", work.at("a"), "s3://bucket/p", ...args], { env });
    expect((await run()).code).toBe(0);
    work.write({ "a/one.txt": "local edit" });
    fake.put("p/one.txt", "remote edit");
    const listed = await run("--conflict", "manual");
    expect(listed.code).toBe(1);
    expect(listed.stdout).toContain("! one.txt (conflict: both changed; drover resolve)");
    expect((await run("--conflict", "whoever")).code).toBe(2);
    expect((await run("--max-delete", "many")).code).toBe(2);
    expect((await run("--allow-empty", "both")).code).toBe(2);
    const done = await run("--conflict", "local-wins");
    expect([done.code, String(fake.stored("p/one.txt")?.content)]).toEqual([0, "local edit"]);
  });

  it("refuse sides that lie in each other (elsewhere: endless nesting, rclone#7515)", async ({
    box,
    work,
  }) => {
    work.write({ "a/one": "1", "a/b/two": "2" });
    for (const [local, remote] of [
      ["a", "a"],
      ["a", "a/b"],
      ["a/b", "a"],
    ] as const) {
      const { code, stderr } = await box.run(["bisync", work.at(local), work.at(remote)]);
      expect([local, remote, code], stderr).toEqual([local, remote, 2]);
    }
    expect(names(work, "a")).toEqual(["b", "one"]);
  });
});

describe("a whole bucket as a side", () => {
  it("does not hold its own backups (elsewhere: versions are synced as files, rclone#5685)", async ({
    box,
    work,
    fake,
  }) => {
    const { env } = fake;
    work.write({ "a/one": "1", "a/two": "2" });
    const run = () => box.run(["bisync", work.at("a"), "s3://bucket", "--json"], { env });
    expect((await run()).code).toBe(0);
    work.write({ "a/one": "edited" });
    expect((await run()).code).toBe(0);
    expect(fake.keys.some((key) => key.startsWith(".drover-backups/"))).toBe(true);
    expect(JSON.parse((await run()).stdout)).toMatchObject({ in_sync: true, items: [], paths: 2 });
    expect(names(work, "a")).toEqual(["one", "two"]);
  });
});

describe.runIf(process.getuid?.() === 0)("a user who may not all", () => {
  it("finds a directory unreadable, and nothing in it deleted (elsewhere: what cannot be read counts as gone)", async () => {
    const box = new Sandbox();
    const s3 = await FakeS3.start();
    try {
      const work = new Work(box.work());
      work.write({ "a/d/one": "1", "a/two": "2", "a/three": "3" });
      for (const path of [
        box.root,
        box.home,
        box.state,
        box.runtime,
        work.path,
        work.at("a"),
        work.at("a/d"),
      ])
        chownSync(path, NOBODY, NOBODY);
      const run = () =>
        box.run(["bisync", work.at("a"), "s3://bucket/p", "--json"], { env: s3.env, uid: NOBODY });
      const first = await run();
      expect(first.code, first.stderr).toBe(0);
      chmodSync(work.at("a/d"), 0);
      s3.put("p/four", "4");
      const told = await run();
      expect(told.code).toBe(1);
      expect(String(s3.stored("p/d/one")?.content)).toBe("1");
      expect(read(work, "a/four")).toBe("4");
      chmodSync(work.at("a/d"), 0o755);
      expect(JSON.parse((await run()).stdout)).toMatchObject({ in_sync: true, items: [] });
    } finally {
      await box.dispose();
      await s3.stop();
    }
  });

  it("cannot write to a directory, and all others go on (elsewhere: the sync ends there, owncloud/client#4445)", async () => {
    const box = new Sandbox();
    const s3 = await FakeS3.start();
    try {
      const work = new Work(box.work());
      work.write({ "a/d/one": "1", "a/two": "2" });
      mkdirSync(work.at("a/e"));
      for (const path of [
        box.root,
        box.home,
        box.state,
        box.runtime,
        work.path,
        work.at("a"),
        work.at("a/e"),
      ])
        chownSync(path, NOBODY, NOBODY);
      const run = () =>
        box.run(["bisync", work.at("a"), "s3://bucket/p", "--json"], { env: s3.env, uid: NOBODY });
      expect((await run()).code).toBe(0);
      s3.put("p/d/one", "edited");
      s3.put("p/d/new", "3");
      s3.put("p/e/new", "4");
      expect((await run()).code).toBe(1);
      expect(read(work, "a/e/new")).toBe("4");
      expect(read(work, "a/d/one")).toBe("1");
      expect(existsSync(work.at("a/d/new"))).toBe(false);
      chownSync(work.at("a/d"), NOBODY, NOBODY);
      const done = await run();
      expect(done.code, done.stdout).toBe(0);
      expect([read(work, "a/d/one"), read(work, "a/d/new")]).toEqual(["edited", "3"]);
    } finally {
      await box.dispose();
      await s3.stop();
    }
  });
});
