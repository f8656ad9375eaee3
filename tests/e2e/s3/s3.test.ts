import { existsSync, readFileSync, statSync } from "node:fs";
import { describe, expect } from "vitest";
import { file } from "../../harness/behaviours.js";
import { sha256 } from "../../harness/content.js";
import { filesBelow } from "../../harness/drover.js";
import { TestFleet } from "../../harness/fleet.js";
import { onlyRun } from "../../harness/runs.js";
import { it } from "../../harness/s3-fixtures.js";

const names = (directory: string) => filesBelow(directory).map((path) => path.slice(directory.length + 1));

describe("drover sync s3://", () => {
  it("takes what matches below a prefix, and nothing of its neighbours", async ({ box, work, s3 }) => {
    await s3.putAll({
      "my/path/a.csv": "a",
      "my/path/deep/b.csv": "b",
      "my/path/c.txt": "c",
      "my/path2/d.csv": "d",
      "my/path.csv": "e",
    });
    const { code, items } = await box.sync([s3.url("my/path"), "--pattern", "**/*.csv", ...work.into], {
      env: s3.env,
    });
    expect(code).toBe(0);
    expect(names(work.out)).toEqual(["a.csv", "deep/b.csv"]);
    const found = items.find((item) => item.source === s3.url("my/path/a.csv"));
    expect(found).toMatchObject({ outcome: "copied", checksum: sha256("a"), verified_by: "etag", bytes: 1 });
  });

  it("takes an object that is called like the prefix in a list, below it where a / says so, and else refuses", async ({
    box,
    work,
    s3,
  }) => {
    await s3.putAll({ "my/path": "object", "my/path/a": "below" });
    const both = await box.sync([s3.url("my/path"), ...work.into], { env: s3.env });
    expect(both.items).toMatchObject([
      { status: "failed", error: { message: expect.stringContaining("write ") } },
    ]);
    const list = work.write({ "list.txt": s3.url("my/path") });
    await box.sync(["--from-file", list, ...work.into], { env: s3.env });
    expect(names(work.out)).toEqual(["path"]);
    await box.sync([s3.url("my/path/"), "--artifact-root", work.at("b"), "--script-name", ""], {
      env: s3.env,
    });
    expect(names(work.at("b"))).toEqual(["a"]);
  });

  it("goes together with URLs, directories and lists", async ({ box, work, origin, s3 }) => {
    await s3.putAll({ "one.txt": "1", "many/two.txt": "2", "three ü.txt": "3" });
    work.write({ "in/four.txt": "4", "list.tsv": `${s3.url("three ü.txt")}\trenamed/three.txt\n` });
    const url = origin.route("/five.txt", file("5"));
    const { code } = await box.sync(
      [
        s3.url("one.txt"),
        s3.url("many/"),
        work.at("in"),
        url,
        "--from-file",
        work.at("list.tsv"),
        ...work.into,
      ],
      { env: s3.env },
    );
    expect(code).toBe(0);
    expect(names(work.out)).toEqual(["five.txt", "four.txt", "one.txt", "renamed/three.txt", "two.txt"]);
  });

  it("asks for no object again that its listing shows unchanged, and sees what has changed", async ({
    box,
    work,
    s3,
  }) => {
    await s3.putAll({ "a/1": "one", "a/2": "two" });
    const command = [s3.url("a/"), ...work.into];
    await box.sync(command, { env: s3.env });
    const before = statSync(work.to("1"), { bigint: true });
    const again = await box.sync(command, { env: s3.env });
    expect(again.items.map((item) => [item.outcome, item.verified_by, item.attempts])).toEqual([
      ["unchanged", "catalog", 0],
      ["unchanged", "catalog", 0],
    ]);
    expect(statSync(work.to("1"), { bigint: true }).mtimeNs).toBe(before.mtimeNs);
    await s3.put("a/2", "TWO");
    const changed = await box.sync(command, { env: s3.env });
    expect(changed.items.map((item) => item.outcome).sort()).toEqual(["copied", "unchanged"]);
    expect(readFileSync(work.to("2"), "utf8")).toBe("TWO");
  });

  it("creates nothing for an object that is not there", async ({ box, work, s3 }) => {
    const { code, items } = await box.sync([s3.url("nothing/here.csv"), ...work.into], { env: s3.env });
    expect(code).toBe(3);
    expect(items[0]).toMatchObject({ status: "failed", error: { class: "not-found" } });
    expect(existsSync(work.out) ? names(work.out) : []).toEqual([]);
  });

  it("carries keys of every kind, or refuses them by name", async ({ box, work, fake }) => {
    const good = [
      "a b",
      "a+b",
      "100%",
      "%2B",
      "ü",
      "文件",
      "q?x=1#y",
      "🐑",
      "\uff5e",
      "tab\there",
      "e\u0301",
      "a@b&c;d",
    ];
    const bad = ["../x", "a/../../b", "./x", "a//b", "nul\0", "end/.", "x".repeat(256)];
    for (const name of [...good, ...bad]) fake.put(`k/${name}`, name);
    fake.put("k/directory/", "");
    fake.put("k/content/", "not empty");
    const { code, items, stderr } = await box.sync(["s3://bucket/k/", ...work.into], { env: fake.env });
    expect([code, stderr]).toEqual([
      1,
      expect.stringMatching(/^warning: left out s3:\/\/bucket\/k\/content\/: .*\n$/),
    ]);
    expect(names(work.out).sort()).toEqual([...good].sort());
    for (const name of good) expect(readFileSync(work.to(name), "utf8")).toBe(name);
    const failed = items.filter((item) => item.outcome === "failed");
    expect(failed.map((item) => item.error?.class)).toEqual(bad.map(() => "path"));
    // The name in the output names the object on a command line, too.
    const tab = items.find((item) => item.destination.endsWith("tab\there"))?.source as string;
    expect(tab).toBe("s3://bucket/k/tab%09here");
    const again = await box.sync([tab, ...work.into, "--layout", "url"], { env: fake.env });
    expect(again.code).toBe(0);
    expect(readFileSync(work.to("bucket/k/tab\there"), "utf8")).toBe("tab\there");
  });

  it("fails an object whose name is a directory's, alone", async ({ box, work, s3 }) => {
    await s3.putAll({ "k/a": "file", "k/a/b": "below", "k/c": "other" });
    const { code, items } = await box.sync([s3.url("k/"), "--retries", "1", ...work.into], { env: s3.env });
    expect(code).toBe(1);
    expect(items.filter((item) => item.outcome === "copied")).toHaveLength(2);
    expect(items.filter((item) => item.outcome === "failed")).toMatchObject([{ error: { class: "path" } }]);
  });

  it("says in one line that a bucket is not there", async ({ box, work, s3 }) => {
    const result = await box.run(["sync", "s3://no-such-bucket-of-mine/x/", ...work.into], { env: s3.env });
    expect(result.code).toBe(2);
    expect(result.stderr).toMatch(
      /^drover: cannot list s3:\/\/no-such-bucket-of-mine\/x\/: no such bucket.*\n$/m,
    );
  });

  it("is carried by a fleet's workers with their own credentials, which are nowhere to be read", async ({
    box,
    work,
    s3,
  }) => {
    await s3.putAll({ "f/1": "one", "f/2": "two" });
    work.write({ "out/.keep": "" });
    const fleet = await TestFleet.start(box, [work.out]);
    try {
      fleet.env = s3.env;
      await fleet.worker();
      const { code } = await box.sync([s3.url("f/"), ...fleet.own, ...work.into], { env: s3.env });
      expect(code).toBe(0);
      expect(names(work.out)).toEqual([".keep", "1", "2"]);
      const run = await onlyRun(box, fleet.own);
      expect(run.copied).toBe(2);
    } finally {
      await fleet.stop();
    }
  });
});
