import {
  existsSync,
  mkdirSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  utimesSync,
  writeFileSync,
} from "node:fs";
import { relative } from "node:path";
import { describe, expect } from "vitest";
import { file } from "../../harness/behaviours.js";
import type { Sandbox } from "../../harness/drover.js";
import { sendError } from "../../harness/fake-s3.js";
import { itWithFakeS3 as it } from "../../harness/fixtures.js";
import { here, named, synced } from "../../harness/named-trees.js";
import { listRuns, statusOf } from "../../harness/runs.js";

const all = ["--delete", "--max-delete", "100%"];

describe("sync --delete", () => {
  it("removes what the source does not have, and directories that are then empty", async ({ box, work }) => {
    await synced(box, work, ["a", "b", "d/e/f", "d/g", "z"]);
    for (const gone of ["b", "d/e/f"]) rmSync(work.at("in", gone));
    work.write({ "out/never/synced/x": "x", "in/new": "new" });
    const { code, items, stderr } = await box.sync([work.at("in"), ...work.into, ...all]);
    expect([code, stderr]).toEqual([0, ""]);
    expect(here(work.out)).toEqual(["a", "d/g", "new", "z"]);
    expect(existsSync(work.to("d/e")) || existsSync(work.to("never"))).toBe(false);
    const deleted = items.filter(({ outcome }) => outcome === "deleted");
    expect(deleted.map(({ destination }) => relative(work.out, destination)).sort()).toEqual([
      "b",
      "d/e/f",
      "never/synced/x",
    ]);
    expect(deleted[0]).toMatchObject({ source: null, status: "ok", bytes: 0, checksum: null });
    const [run] = await listRuns(box);
    expect(await statusOf(box, run?.run as string)).toMatchObject({ files: 7, copied: 1, deleted: 3 });
    // Its catalog entry is gone, too: if put back, it is copied.
    work.write({ "in/b": "b" });
    const again = await box.sync([work.at("in"), ...work.into]);
    expect(again.items.find(({ source }) => source?.endsWith("/b"))?.outcome).toBe("copied");
  });

  it("orders names by bytes, so that names beside directories are not mistaken", async ({ box, work }) => {
    const names = ["a", "a-b", "a.b/c", "a/b", "a0", "é", "文/字", "🐑", "\uff5e", "Z"].filter(
      (n) => n !== "a",
    );
    await synced(box, work, names);
    work.write(named("out", ["a!", "a.a", "a/a", "a/c", "文/字2", "🐑2", "\uff5f"]));
    const { code } = await box.run(["sync", work.at("in"), ...work.into, ...all]);
    expect(code).toBe(0);
    expect(here(work.out).sort()).toEqual(names.toSorted());
  });

  it("leaves excluded files, links and special files alone", async ({ box, work }) => {
    await synced(box, work, ["a.csv", "b.csv"]);
    work.write({ ...named("out", ["keep.txt", "old.csv", "skip/x.csv"]), "elsewhere/e.csv": "e" });
    symlinkSync(work.at("elsewhere"), work.to("link"));
    symlinkSync(work.at("elsewhere/e.csv"), work.to("link.csv"));
    const filters = ["--exclude", "skip/", "--include", "*.csv"];
    const { code, stderr } = await box.run(["sync", work.at("in"), ...work.into, ...filters, ...all]);
    expect([code, stderr]).toEqual([0, ""]);
    expect(here(work.out)).toEqual([
      "a.csv",
      "b.csv",
      "keep.txt",
      "link",
      "link.csv",
      "link/e.csv",
      "skip/x.csv",
    ]);
    expect(readFileSync(work.at("elsewhere/e.csv"), "utf8")).toBe("e");
  });

  it("keeps a file that the source has beyond the limits of size and age", async ({ box, work }) => {
    await synced(box, work, ["a", "b"]);
    work.write({ "in/b": "b".repeat(5_000), "out/c": "c" });
    const options = ["--max-size", "4K", ...all];
    const { code } = await box.run(["sync", work.at("in"), ...work.into, ...options]);
    expect(code).toBe(0);
    expect(here(work.out)).toEqual(["a", "b"]);
    expect(readFileSync(work.to("b"), "utf8")).toBe("b");
  });

  it("keeps files that may be behind a source's link to a directory", async ({ box, work }) => {
    await synced(box, work, ["a", "d/x", "d/y"]);
    rmSync(work.at("in/d"), { recursive: true });
    work.write({ "elsewhere/x": "x", "out/e": "e" });
    symlinkSync(work.at("elsewhere"), work.at("in/d"));
    const { code } = await box.run(["sync", work.at("in"), ...work.into, ...all]);
    expect(code).toBe(0);
    expect(here(work.out)).toEqual(["a", "d/x", "d/y"]);
  });

  it("treats several sources as one tree", async ({ box, work, s3 }) => {
    for (const key of ["k/s3-a", "k/d/s3-b", "k2/not"]) s3.put(key, key);
    await synced(box, work, ["a", "d/b"]);
    work.write(named("out", ["old", "d/old", "s3-a"]));
    const { code, stderr } = await box.run(["sync", work.at("in"), "s3://bucket/k/", ...work.into, ...all], {
      env: s3.env,
    });
    expect([code, stderr]).toEqual([0, ""]);
    expect(here(work.out)).toEqual(["a", "d/b", "d/s3-b", "s3-a"]);
  });

  it("moves what it deletes to --backup-dir, by its path", async ({ box, work }) => {
    await synced(box, work, ["a", "d/b", "d/c"]);
    for (const gone of ["d/b", "d/c"]) rmSync(work.at("in", gone));
    const backup = ["--backup-dir", work.at("kept")];
    const { code } = await box.run(["sync", work.at("in"), ...work.into, ...all, ...backup]);
    expect(code).toBe(0);
    expect(here(work.out)).toEqual(["a"]);
    expect(here(work.at("kept"))).toEqual(["d/b", "d/c"]);
    expect(readFileSync(work.at("kept/d/b"), "utf8")).toBe("d/b");
  });

  it("moves to another file system, too", async ({ box, work, skip }) => {
    if (!existsSync("/dev/shm")) skip("there is no /dev/shm");
    await synced(box, work, ["a", "b"]);
    rmSync(work.at("in/b"));
    const kept = `/dev/shm/drover-test-${process.pid}`;
    const left = [".drover-left_long_ago___", ".drover-left_just_now___"];
    try {
      mkdirSync(kept);
      for (const name of left) writeFileSync(`${kept}/${name}`, "of a worker that was killed");
      utimesSync(`${kept}/${left[0]}`, 0, 0);
      utimesSync(work.to("b"), 1_500_000_000, 1_500_000_000);
      const { code } = await box.run([
        ...["sync", work.at("in"), ...work.into, ...all],
        ...["--backup-dir", kept],
      ]);
      expect(code).toBe(0);
      expect([here(work.out), here(kept)]).toEqual([["a"], [left[1], "b"]]);
      expect(statSync(`${kept}/b`).mtimeMs).toBe(1_500_000_000_000);
    } finally {
      rmSync(kept, { recursive: true, force: true });
    }
  });

  it("puts a file back that cannot be backed up", async ({ box, work }) => {
    await synced(box, work, ["a", "d/b"]);
    rmSync(work.at("in/d/b"));
    work.write({ "kept/d": "a file where a directory is needed" });
    const backup = ["--backup-dir", work.at("kept")];
    const { code, items } = await box.sync([work.at("in"), ...work.into, ...all, ...backup]);
    expect(code).toBe(1);
    expect(items.at(-1)).toMatchObject({ status: "failed", error: { class: "path" } });
    expect(here(work.out)).toEqual(["a", "d/b"]);
  });
});

describe("nothing is deleted", () => {
  /** Syncs with --delete and expects a refusal with its reason. */
  async function refused(box: Sandbox, args: string[], why: RegExp, options = {}) {
    const result = await box.run(["sync", ...args], options);
    expect(result.code, result.stdout).toBe(1);
    expect(result.stderr).toMatch(why);
    expect(result.stderr).toMatch(/^drover: nothing was deleted in /m);
    const [run] = await listRuns(box);
    return run?.run as string;
  }

  it("if it would be more than half", async ({ box, work }) => {
    await synced(box, work, ["a", "b", "c"]);
    rmSync(work.at("in/b"));
    work.write({ "out/d": "d" });
    // 2 of 4 are half; one more is not allowed.
    expect((await box.run(["sync", work.at("in"), ...work.into, "--delete", "--dry-run"])).code).toBe(0);
    work.write({ "out/e": "e" });
    await refused(box, [work.at("in"), ...work.into, "--delete"], /3 of 5 files would be, .* allows 50%$/m);
    expect(here(work.out)).toEqual(["a", "b", "c", "d", "e"]);
    const two = ["--delete", "--max-delete", "2"];
    const run = await refused(box, [work.at("in"), ...work.into, ...two], /--max-delete allows 2$/m);
    expect((await box.run(["status", run])).stdout).toMatch(/^nothing was deleted: 3 of 5 files/m);
    expect((await box.run(["runs"])).stdout).toMatch(new RegExp(`^${run} .*, nothing deleted `, "m"));
    const three = ["--delete", "--max-delete", "3"];
    expect((await box.run(["sync", work.at("in"), ...work.into, ...three])).code).toBe(0);
    expect(here(work.out)).toEqual(["a", "c"]);
  });

  it("if a source is empty", async ({ box, work, s3 }) => {
    await synced(box, work, ["a", "b"]);
    for (const name of ["a", "b"]) rmSync(work.at("in", name));
    await refused(box, [work.at("in"), ...work.into, ...all], /nothing was found in .*\/in$/m);
    mkdirSync(work.at("in/empty/directories"), { recursive: true });
    await refused(box, [work.at("in"), ...work.into, ...all], /nothing was found in .*\/in$/m);
    // One of two sources is empty, perhaps an unmounted disk.
    s3.put("k/x", "x");
    const two = [work.at("in"), "s3://bucket/k/", ...work.into, ...all];
    await refused(box, two, /nothing was found in .*\/in$/m, { env: s3.env });
    await refused(box, ["s3://bucket/k2/", ...work.into, ...all], /nothing was found in s3:/m, {
      env: s3.env,
    });
    expect(here(work.out)).toEqual(["a", "b", "x"]);
  });

  it("if the destination does not show what has arrived", async ({ box, work, s3 }) => {
    work.write(named("in", ["a"]));
    s3.put("dst/old", "old");
    s3.fault = ({ query }, answer) => {
      if (!query.has("list-type") || query.get("prefix") !== "dst/") return false;
      answer.end(s3.page(new URLSearchParams({ prefix: "elsewhere/" })));
      return true;
    };
    const to = ["--artifact-root", "s3://bucket/dst"];
    await refused(box, [work.at("in"), ...to, ...all], /nothing was found there, where 1 files have/, {
      env: s3.env,
    });
    expect(s3.keys).toEqual(["dst/a", "dst/old"]);
  });

  it("after a failed file, until a retry succeeds", async ({ box, work, s3 }) => {
    for (const key of ["k/a", "k/b", "k/c"]) s3.put(key, key);
    work.write(named("out", ["old"]));
    s3.fault = ({ key }, answer) => {
      if (key !== "k/b") return false;
      sendError(answer, 403, "AccessDenied");
      return true;
    };
    const options = { env: s3.env };
    const run = await refused(
      box,
      ["s3://bucket/k/", ...work.into, ...all],
      /1 of 3 files did not arrive$/m,
      options,
    );
    expect(here(work.out)).toEqual(["a", "c", "old"]);
    s3.fault = () => false;
    const retried = await box.run(["retry", run], options);
    expect([retried.code, retried.stderr]).toEqual([0, ""]);
    expect(here(work.out)).toEqual(["a", "b", "c"]);
    expect(await statusOf(box, run)).toMatchObject({ state: "done", files: 4, copied: 3, deleted: 1 });
  });

  it("after an incomplete listing, of the first or the second source", async ({ box, work, s3 }) => {
    s3.pageKeys = 10;
    for (let n = 10; n < 60; n++) s3.put(`k/${n}`, `${n}`);
    work.write(named("out", ["old"]));
    let full = 0;
    let breaking = 1;
    s3.fault = ({ query }, answer) => {
      if (!query.has("list-type") || query.get("prefix") !== "k/" || query.has("delimiter")) return false;
      const first = !query.has("continuation-token") && !query.has("start-after");
      if (first) full++;
      if (full !== breaking || first) return false;
      sendError(answer, 500, "InternalError");
      return true;
    };
    const options = { env: s3.env };
    const args = ["s3://bucket/k/", "--retries", "1", ...work.into, ...all];
    const broken = await box.run(["sync", ...args], options);
    expect(broken.code).toBe(1);
    expect(broken.stderr).toMatch(/cannot list .*; nothing was deleted: drover resume \S+ lists on$/m);
    expect(here(work.out)).toContain("old");
    full = 0;
    breaking = 2;
    await refused(box, args, /cannot list s3:\/\/bucket\/k\/: .*InternalError/m, options);
    expect(here(work.out)).toHaveLength(51);
    breaking = -1;
    expect((await box.run(["sync", ...args], options)).code).toBe(0);
    expect(here(work.out)).toHaveLength(50);
  });

  it.for([
    { options: ["URL"], why: /--delete needs directories or S3 prefixes, which http/ },
    { options: ["in/a"], why: /--delete needs directories or S3 prefixes, which .*in\/a is not/ },
    { options: ["s3://bucket/k"], why: /cannot look at s3:\/\/bucket\/k: no AWS credentials/ },
    { options: ["in", "--from-file", "list"], why: /cannot be used with --from-file/ },
    { options: ["out/below"], why: /--delete would remove the source .*below/ },
    { options: ["in", "--backup-dir", "out/kept"], why: /lie in each other/ },
    { options: ["in", "--backup-dir", "."], why: /lie in each other/ },
    { options: ["in", "--state-dir", "out/state"], why: /would remove Drover's own state/ },
    {
      options: ["in", "--max-delete", "half"],
      why: /--max-delete must be a number of files or a percentage/,
    },
    { options: ["in", "--max-delete", "101%"], why: /--max-delete must be/ },
    { options: ["in", "--redis", "redis://127.0.0.1:1", "--detach"], why: /leave --detach out/ },
  ])("with $options", async ({ options, why }, { box, work, origin }) => {
    work.write({ "in/a": "a", "out/below/b": "b", list: "x" });
    const url = origin.route("/x", file("x"));
    const args = options.map((each) => (each === "URL" ? url : each));
    const result = await box.run(["sync", ...args, ...work.into, "--delete"], { cwd: work.path });
    expect([result.code, result.stdout]).toEqual([2, ""]);
    expect(result.stderr).toMatch(why);
    expect(here(work.out)).toEqual(["below/b"]);
  });

  it("without --delete", async ({ box, work }) => {
    await synced(box, work, ["a"]);
    work.write({ "out/old": "old" });
    expect((await box.run(["sync", work.at("in"), ...work.into])).code).toBe(0);
    expect(here(work.out)).toEqual(["a", "old"]);
    const alone = await box.run(["sync", work.at("in"), ...work.into, "--max-delete", "3"]);
    expect([alone.code, alone.stderr]).toEqual([2, expect.stringMatching(/it needs --delete/)]);
  });
});
