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
import { file } from "../harness/behaviours.js";
import { filesBelow, parseItems, type Sandbox } from "../harness/drover.js";
import { FakeS3, sendError } from "../harness/fake-s3.js";
import { it as base, type Work } from "../harness/fixtures.js";
import { TestFleet } from "../harness/fleet.js";
import { Gate, until } from "../harness/gate.js";
import { listRuns, statusOf } from "../harness/runs.js";

const it = base.extend<{ s3: FakeS3 }>({
  // biome-ignore lint/correctness/noEmptyPattern: vitest reads what a fixture needs from the pattern
  s3: async ({}, use) => {
    const s3 = await FakeS3.start();
    await use(s3);
    await s3.stop();
  },
});

const here = (directory: string) => filesBelow(directory).map((path) => relative(directory, path));
const all = ["--delete", "--max-delete", "100%"];

/** Files by name, each holding its name. */
function named(below: string, names: readonly string[]): Record<string, string> {
  return Object.fromEntries(names.map((name) => [`${below}/${name}`, name]));
}

/** Syncs `in` once, so that Drover knows the tree. */
async function synced(box: Sandbox, work: Work, names: readonly string[]): Promise<void> {
  work.write(named("in", names));
  const { code, stderr } = await box.run(["sync", work.at("in"), ...work.into]);
  expect([code, stderr]).toEqual([0, ""]);
}

describe("sync --delete", () => {
  it("removes what the source does not have, and directories that are empty then", async ({ box, work }) => {
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
    // What is gone is gone from the catalog, too: put back, it is copied.
    work.write({ "in/b": "b" });
    const again = await box.sync([work.at("in"), ...work.into]);
    expect(again.items.find(({ source }) => source?.endsWith("/b"))?.outcome).toBe("copied");
  });

  it("orders names as bytes, so that names beside directories are not mistaken", async ({ box, work }) => {
    const names = ["a", "a-b", "a.b/c", "a/b", "a0", "é", "文/字", "🐑", "\uff5e", "Z"].filter(
      (n) => n !== "a",
    );
    await synced(box, work, names);
    work.write(named("out", ["a!", "a.a", "a/a", "a/c", "文/字2", "🐑2", "\uff5f"]));
    const { code } = await box.run(["sync", work.at("in"), ...work.into, ...all]);
    expect(code).toBe(0);
    expect(here(work.out).sort()).toEqual(names.toSorted());
  });

  it("leaves alone what filters exclude, links, and what is not regular", async ({ box, work }) => {
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

  it("takes a file that limits leave out for one that the source has", async ({ box, work }) => {
    await synced(box, work, ["a", "b"]);
    work.write({ "in/b": "b".repeat(5_000), "out/c": "c" });
    const options = ["--max-size", "4K", ...all];
    const { code } = await box.run(["sync", work.at("in"), ...work.into, ...options]);
    expect(code).toBe(0);
    expect(here(work.out)).toEqual(["a", "b"]);
    expect(readFileSync(work.to("b"), "utf8")).toBe("b");
  });

  it("does not know what is behind a link to a directory, and leaves it", async ({ box, work }) => {
    await synced(box, work, ["a", "d/x", "d/y"]);
    rmSync(work.at("in/d"), { recursive: true });
    work.write({ "elsewhere/x": "x", "out/e": "e" });
    symlinkSync(work.at("elsewhere"), work.at("in/d"));
    const { code } = await box.run(["sync", work.at("in"), ...work.into, ...all]);
    expect(code).toBe(0);
    expect(here(work.out)).toEqual(["a", "d/x", "d/y"]);
  });

  it("works with several sources as one tree", async ({ box, work, s3 }) => {
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

  it("puts a file back that cannot be kept", async ({ box, work }) => {
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
  /** Syncs with --delete and expects a refusal that says why, loudly. */
  async function refused(box: Sandbox, args: string[], why: RegExp, options = {}) {
    const result = await box.run(["sync", ...args], options);
    expect(result.code, result.stdout).toBe(1);
    expect(result.stderr).toMatch(why);
    expect(result.stderr).toMatch(/^drover: nothing was deleted in /m);
    const [run] = await listRuns(box);
    return run?.run as string;
  }

  it("where it would be more than half", async ({ box, work }) => {
    await synced(box, work, ["a", "b", "c"]);
    rmSync(work.at("in/b"));
    work.write({ "out/d": "d" });
    // 2 of 4 are half; one more is not.
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

  it("for a source where nothing is", async ({ box, work, s3 }) => {
    await synced(box, work, ["a", "b"]);
    for (const name of ["a", "b"]) rmSync(work.at("in", name));
    await refused(box, [work.at("in"), ...work.into, ...all], /nothing was found in .*\/in$/m);
    mkdirSync(work.at("in/empty/directories"), { recursive: true });
    await refused(box, [work.at("in"), ...work.into, ...all], /nothing was found in .*\/in$/m);
    // One of two: perhaps a disk that is not mounted.
    s3.put("k/x", "x");
    const two = [work.at("in"), "s3://bucket/k/", ...work.into, ...all];
    await refused(box, two, /nothing was found in .*\/in$/m, { env: s3.env });
    await refused(box, ["s3://bucket/k2/", ...work.into, ...all], /nothing was found in s3:/m, {
      env: s3.env,
    });
    expect(here(work.out)).toEqual(["a", "b", "x"]);
  });

  it("where the destination does not show what has arrived", async ({ box, work, s3 }) => {
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

  it("after a file that failed, until a retry brings it", async ({ box, work, s3 }) => {
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

  it("after a listing that breaks off, the first or the second one", async ({ box, work, s3 }) => {
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
    { options: ["in/a"], why: /--delete needs directories or S3 prefixes: .*in\/a is no directory/ },
    { options: ["s3://bucket/k"], why: /write s3:\/\/bucket\/k\/ for everything below/ },
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

describe("sync --delete --dry-run", () => {
  it("says what would be done and why, and does nothing", async ({ box, work }) => {
    await synced(box, work, ["a", "b", "c"]);
    rmSync(work.at("in/b"));
    work.write({ "in/c": "changed", "in/n": "new" });
    const before = here(work.out);
    const { code, items } = await box.sync([work.at("in"), ...work.into, "--delete", "--dry-run"]);
    expect(code).toBe(0);
    const actions = items.map((item) => {
      const { destination, action, reason } = item as unknown as Record<string, string>;
      return [relative(work.out, destination as string), action, reason];
    });
    expect(actions).toEqual([
      ["a", "unchanged", "it is as the last sync left it"],
      ["c", "copy", "it is there, but not known to be this version of the file"],
      ["n", "copy", "it is not there"],
      ["b", "delete", "no source has it"],
    ]);
    expect(here(work.out)).toEqual(before);
    expect(readFileSync(work.to("c"), "utf8")).toBe("c");
    const human = await box.run(["sync", work.at("in"), ...work.into, "--delete", "--dry-run"]);
    expect(human.stdout).toMatch(/^would delete .*\/b \(no source has it\)$/m);
    expect(human.stdout).toMatch(
      /^2 files would be copied, 1 left unchanged, 1 deleted; nothing was changed$/m,
    );
    const none = await box.run([
      ...["sync", work.at("in"), ...work.into, "--delete"],
      "--max-delete",
      "0",
      "--dry-run",
    ]);
    expect([none.code, none.stderr]).toEqual([
      1,
      expect.stringMatching(/^drover: nothing would be deleted in /),
    ]);
    expect(await listRuns(box)).not.toContainEqual(expect.objectContaining({ state: "running" }));
  });
});

describe("sync --delete --dry-run of what the sync will refuse", () => {
  it.for<[string, Record<string, string>, RegExp]>([
    ["two sources of one destination", { "in2/a": "other" }, /another source of this run/],
    ["a directory in the place of a file", { "in2/b": "b", "out/b/x": "x" }, /out\/b is a directory/],
    ["a file in the place of a directory", { "in2/b/x": "b", "out/b": "x" }, /out\/b is a link or a file/],
  ])("%s: nothing would be deleted", async ([, files, why], { box, work }) => {
    work.write({ "in/a": "a", "in/e": "e", "out/old": "old", ...files });
    const args = ["sync", work.at("in"), work.at("in2"), ...work.into, ...all];
    const dry = await box.run([...args, "--dry-run"]);
    expect([dry.code, dry.stdout]).toEqual([1, expect.stringMatching(why)]);
    expect(dry.stderr).toMatch(/nothing would be deleted in .*: 1 files? cannot be copied/);
    const real = await box.run(args);
    expect([real.code, real.stdout]).toEqual([1, expect.stringMatching(why)]);
    expect(real.stderr).toMatch(/nothing was deleted/);
    expect(here(work.out)).toContain("old");
  });
});

describe("killed while it deletes", () => {
  it.for(["delete", "enqueue:2", "admit:4", "taken", "removed", "settled:4"])(
    "at %s, resume goes on, and nothing that is to be kept is lost",
    async (point, { box, work }) => {
      const own = ["--state-dir", work.at("s")];
      work.write(named("in", ["a", "b", "d/c"]));
      work.write(named("out", ["old1", "d/old2", "e/old3"]));
      const args = ["sync", work.at("in"), ...work.into, ...all, "--backup-dir", work.at("kept"), ...own];
      const killed = await box.run(args, { env: { DROVER_FAULT: point } });
      expect(killed.signal, killed.stderr).toBe("SIGKILL");
      const [run] = await listRuns(box, own);
      const resumed = await box.run(["resume", run?.run as string, ...own]);
      expect([resumed.code, resumed.stderr]).toEqual([0, ""]);
      expect(here(work.out)).toEqual(["a", "b", "d/c"]);
      expect(here(work.at("kept"))).toEqual(["d/old2", "e/old3", "old1"]);
      expect(await statusOf(box, run?.run as string, own)).toMatchObject({ files: 6, copied: 3, deleted: 3 });
      expect(existsSync(work.to("e"))).toBe(false);
    },
  );

  it("before everything has arrived: what failed meanwhile still keeps everything", async ({
    box,
    work,
    s3,
  }) => {
    const own = ["--state-dir", work.at("s")];
    s3.pageKeys = 10;
    for (let n = 10; n < 40; n++) s3.put(`k/${n}`, `${n}`);
    work.write({ "out/old": "old" });
    const options = { env: s3.env };
    const args = ["sync", "s3://bucket/k/", ...work.into, ...all, ...own];
    const killed = await box.run(args, { env: { ...s3.env, DROVER_FAULT: "settled:5" } });
    expect(killed.signal).toBe("SIGKILL");
    s3.fault = ({ key }, answer) => {
      if (key !== "k/39") return false;
      sendError(answer, 403, "AccessDenied");
      return true;
    };
    const [run] = await listRuns(box, own);
    const resumed = await box.run(["resume", run?.run as string, ...own], options);
    expect([resumed.code, resumed.stderr]).toEqual([
      1,
      expect.stringMatching(/1 of 30 files did not arrive/),
    ]);
    expect(here(work.out)).toContain("old");
    // An empty source, too (T17).
    for (let n = 10; n < 40; n++) s3.remove(`k/${n}`);
    const empty = await box.run(["retry", run?.run as string, ...own], options);
    expect([empty.code, empty.stderr]).toEqual([1, expect.stringMatching(/nothing was deleted/)]);
    expect(here(work.out)).toContain("old");
  });
});

describe("sync --delete to S3", () => {
  const to = (...more: string[]) => ["--artifact-root", "s3://bucket/dst", ...all, ...more];

  it("removes below its prefix alone, what changed meanwhile not", async ({ box, work, s3 }) => {
    work.write(named("in", ["a", "d/b", "é"]));
    for (const key of ["dst/old", "dst/d/old", "dst/keep.txt", "dst2/other", "dst", "other"])
      s3.put(key, key);
    const options = { env: s3.env };
    const dry = await box.run(["sync", work.at("in"), ...to("--exclude", "*.txt", "--dry-run")], options);
    expect([dry.code, dry.stdout]).toEqual([
      0,
      expect.stringMatching(/^would delete s3:\/\/bucket\/dst\/d\/old \(no source has it\)$/m),
    ]);
    const first = await box.sync([work.at("in"), ...to("--exclude", "*.txt")], options);
    expect([first.code, first.stderr]).toEqual([0, ""]);
    expect(
      first.items
        .filter(({ outcome }) => outcome === "deleted")
        .map((item) => item.destination)
        .sort(),
    ).toEqual(["s3://bucket/dst/d/old", "s3://bucket/dst/old"]);
    const left = ["dst", "dst/a", "dst/d/b", "dst/keep.txt", "dst/é", "dst2/other", "other"];
    expect(s3.keys).toEqual(left);

    s3.put("dst/old", "old");
    s3.fault = ({ method, key }) => {
      // Somebody writes when it has been looked at already: the condition finds out.
      if (method === "DELETE" && key === "dst/old") s3.put("dst/old", "written meanwhile");
      return false;
    };
    const second = await box.sync([work.at("in"), ...to("--exclude", "*.txt")], options);
    expect(second.code).toBe(1);
    expect(second.items.at(-1)).toMatchObject({ status: "failed", error: { class: "changed" } });
    expect(s3.keys).toContain("dst/old");
  });

  it("--dry-run counts what would come, as the sync does", async ({ box, work, s3 }) => {
    for (const key of ["dst/a", "dst/old1", "dst/old2", "dst/old3"]) s3.put(key, key);
    work.write(named("in", ["a", "b", "c", "d", "e"]));
    const options = { env: s3.env };
    const args = ["sync", work.at("in"), "--artifact-root", "s3://bucket/dst", "--delete"];
    const four = await box.run([...args, "--exclude", "[cde]", "--dry-run"], options);
    expect([four.code, four.stderr]).toEqual([1, expect.stringMatching(/would .*3 of 5 files would be/)]);
    const dry = await box.run([...args, "--dry-run"], options);
    expect([dry.code, dry.stderr]).toEqual([0, ""]);
    expect(dry.stdout).toMatch(/^5 files would be copied, 0 left unchanged, 3 deleted/m);
    const real = await box.run(args, options);
    expect([real.code, real.stderr]).toEqual([0, ""]);
    expect(s3.keys).toEqual(["a", "b", "c", "d", "e"].map((name) => `dst/${name}`));
  });

  it("forgets a file before it removes it: one that comes back is copied, though nobody resumed", async ({
    box,
    work,
    s3,
  }) => {
    const own = ["--state-dir", work.at("s")];
    const then = new Date("2026-01-02T03:04:05Z");
    for (const key of ["src/a", "src/b"]) s3.put(key, key, {}, then);
    const args = ["sync", "s3://bucket/src/", "--artifact-root", "s3://bucket/dst", ...own];
    expect((await box.run(args, { env: s3.env })).code).toBe(0);
    s3.remove("src/b");
    const killed = await box.run([...args, ...all], { env: { ...s3.env, DROVER_FAULT: "removed" } });
    expect([killed.signal, s3.keys]).toEqual(["SIGKILL", ["dst/a", "src/a"]]);
    s3.put("src/b", "src/b", {}, then);
    expect((await box.run(args, { env: s3.env })).code).toBe(0);
    expect(s3.keys).toEqual(["dst/a", "dst/b", "src/a", "src/b"]);
  });

  it("leaves alone what no sync could have written", async ({ box, work, s3 }) => {
    work.write(named("in", ["a"]));
    const odd = ["dst/../other", "dst/./x", "dst/dir/", "dst/x/../../other"];
    for (const key of [...odd, "dst/old", "other"]) s3.put(key, "same");
    const { code, stderr } = await box.run(["sync", work.at("in"), ...to()], { env: s3.env });
    expect([code, stderr]).toEqual([0, ""]);
    expect(s3.keys).toEqual([...odd, "dst/a", "other"].sort());
  });

  it("does not take a destination within the source for what the source has", async ({ box, s3 }) => {
    for (const key of ["dst/a", "dst/b"]) s3.put(key, key);
    const { code, stderr } = await box.run(["sync", "s3://bucket/", ...to()], { env: s3.env });
    expect([code, stderr]).toEqual([1, expect.stringMatching(/nothing was found in s3:/)]);
    expect(s3.keys).toEqual(["dst/a", "dst/b"]);
  });

  it("refuses as it does elsewhere", async ({ box, work, s3 }) => {
    work.write(named("in", ["a"]));
    s3.put("dst/old", "old");
    s3.put("src/b", "b");
    const options = { env: s3.env };
    const backup = await box.run(["sync", work.at("in"), ...to("--backup-dir", work.at("kept"))], options);
    expect([backup.code, backup.stderr]).toEqual([2, expect.stringMatching(/for local destinations/)]);
    const inside = await box.run(["sync", "s3://bucket/dst/sub/", ...to()], options);
    expect([inside.code, inside.stderr]).toEqual([2, expect.stringMatching(/would remove the source/)]);
    const empty = await box.run(["sync", "s3://bucket/none/", ...to()], options);
    expect([empty.code, empty.stderr]).toEqual([1, expect.stringMatching(/nothing was found in s3:/)]);
    s3.fault = ({ query }, answer) => {
      if (!query.has("list-type") || query.get("prefix") !== "dst/") return false;
      sendError(answer, 403, "AccessDenied");
      return true;
    };
    const unlisted = await box.run(["sync", "s3://bucket/src/", ...to()], options);
    expect([unlisted.code, unlisted.stderr]).toEqual([
      1,
      expect.stringMatching(/cannot list s3:\/\/bucket\/dst\//),
    ]);
    expect(s3.keys).toContain("dst/old");
  });
});

describe("stopped while it looks for what is to be deleted", () => {
  const args = (work: Work) => ["sync", work.at("in"), "--artifact-root", "s3://bucket/dst", ...all];
  /** Holds the listing of the destination back. */
  function hold(s3: FakeS3): Gate {
    const gate = new Gate();
    s3.before = ({ query }) =>
      query.has("list-type") && query.get("prefix") === "dst/" ? gate.pass() : undefined;
    return gate;
  }

  it("is cancelled, and says so", async ({ box, work, s3 }) => {
    const own = ["--state-dir", work.at("s")];
    work.write(named("in", ["a"]));
    s3.put("dst/old", "old");
    const gate = hold(s3);
    const started = box.start([...args(work), ...own], { env: s3.env });
    await gate.reached;
    const [run] = await listRuns(box, own);
    await box.run(["cancel", run?.run as string, ...own]);
    const { code, stderr } = await started.result;
    gate.open();
    expect([code, stderr]).toEqual([1, expect.stringMatching(/was cancelled$/m)]);
    expect(s3.keys).toEqual(["dst/a", "dst/old"]);
  });

  it("in a fleet, by Ctrl-C: resume goes on with it", async ({ box, work, s3 }) => {
    const fleet = await TestFleet.start(box, ["s3://bucket/dst"]);
    try {
      fleet.env = s3.env;
      await fleet.worker();
      work.write(named("in", ["a"]));
      s3.put("dst/old", "old");
      const gate = hold(s3);
      const started = box.start([...args(work), ...fleet.own], { env: s3.env });
      await gate.reached;
      started.interrupt();
      const { code, stderr } = await started.result;
      gate.open();
      expect([code, stderr]).toEqual([130, expect.stringMatching(/drover resume \S+ goes on/)]);
      const [run] = await listRuns(box, fleet.own);
      const resumed = await box.run(["resume", run?.run as string, ...fleet.own], { env: s3.env });
      expect([resumed.code, resumed.stderr]).toEqual([0, ""]);
      expect(s3.keys).toEqual(["dst/a"]);
    } finally {
      await fleet.stop();
    }
  });
});

describe("a fleet", () => {
  it("deletes as one process does; a killed producer's run is resumed", async ({ box, work }) => {
    mkdirSync(work.out);
    const fleet = await TestFleet.start(box, [work.out, work.at("kept")]);
    try {
      mkdirSync(work.at("kept"));
      await fleet.worker();
      await fleet.worker();
      work.write(named("in", ["a", "b", "d/c"]));
      work.write(named("out", ["old1", "d/old2", "e/old3"]));
      const args = [
        "sync",
        work.at("in"),
        ...work.into,
        ...all,
        "--backup-dir",
        work.at("kept"),
        ...fleet.own,
      ];
      const killed = await box.run(args, { env: { DROVER_FAULT: "delete" } });
      expect(killed.signal, killed.stderr).toBe("SIGKILL");
      const [run] = await listRuns(box, fleet.own);
      expect(run).toMatchObject({ state: "interrupted", copied: 3 });
      expect(here(work.out)).toContain("old1");
      const resumed = await box.run(["resume", run?.run as string, ...fleet.own]);
      expect([resumed.code, resumed.stderr]).toEqual([0, ""]);
      expect(here(work.out)).toEqual(["a", "b", "d/c"]);
      expect(here(work.at("kept"))).toEqual(["d/old2", "e/old3", "old1"]);
      rmSync(work.at("in/b"));
      const outside = [
        "sync",
        work.at("in"),
        ...work.into,
        ...all,
        "--backup-dir",
        work.at("no"),
        ...fleet.own,
      ];
      writeFileSync(work.to("old4"), "old4");
      const refused = await box.run(outside);
      expect([refused.code, refused.stdout]).toEqual([
        1,
        expect.stringMatching(/old4 .*no is outside of the/),
      ]);
      expect(here(work.out)).toContain("old4");
      const again = await box.sync([work.at("in"), ...work.into, "--delete", ...fleet.own]);
      expect([again.code, again.stderr]).toEqual([0, ""]);
      expect(here(work.out)).toEqual(["a", "d/c"]);

      // What changes between being listed and being removed is left alone.
      for (const worker of fleet.workers) worker.kill("SIGTERM");
      await Promise.all(fleet.workers.map((worker) => worker.result));
      work.write(named("out", ["old5", "old6"]));
      const command = ["sync", work.at("in"), ...work.into, "--delete", "--json", ...fleet.own];
      const started = box.start(command);
      await until("the removals to be registered", async () => {
        const [latest] = await listRuns(box, fleet.own);
        return latest?.state === "running" && latest.files === 4;
      });
      writeFileSync(work.to("old5"), "new content");
      await fleet.worker();
      const changed = await started.result;
      expect(changed.code).toBe(1);
      const failed = parseItems(changed).filter(({ status }) => status === "failed");
      expect(failed).toEqual([expect.objectContaining({ destination: work.to("old5") })]);
      expect(failed[0]?.error).toMatchObject({ class: "changed" });
      expect(here(work.out)).toEqual(["a", "d/c", "old5"]);
      expect(readFileSync(work.to("old5"), "utf8")).toBe("new content");
    } finally {
      await fleet.stop();
    }
  });

  it("resumes and retries removals that are decided, and decides on nothing else", async ({ box, work }) => {
    mkdirSync(work.out);
    mkdirSync(work.at("kept"));
    const fleet = await TestFleet.start(box, [work.out, work.at("kept")]);
    try {
      const first = await fleet.worker();
      work.write(named("in", ["a", "b"]));
      const args = ["sync", work.at("in"), ...work.into, ...fleet.own];
      expect((await box.run(args)).code).toBe(0);
      first.kill("SIGTERM");
      await first.result;
      work.write({ "out/d/old": "old", "kept/d": "a file where a directory is needed" });
      const started = box.start([...args, "--delete", "--max-delete", "9", "--backup-dir", work.at("kept")]);
      const registered = async () => (await listRuns(box, fleet.own))[0]?.files === 3;
      await until("the removal to be registered", registered);
      started.interrupt();
      expect((await started.result).stderr).toMatch(/the run goes on/);
      const [run] = await listRuns(box, fleet.own);
      await fleet.worker();
      const resumed = await box.run(["resume", run?.run as string, ...fleet.own]);
      expect([resumed.code, here(work.out)]).toEqual([1, ["a", "b", "d/old"]]);
      rmSync(work.at("kept/d"));
      const retried = await box.run(["retry", run?.run as string, ...fleet.own]);
      expect([retried.code, retried.stderr]).toEqual([0, ""]);
      expect(here(work.out)).toEqual(["a", "b"]);
    } finally {
      await fleet.stop();
    }
  });

  it("whose worker is killed with what it has taken away loses nothing", async ({ box, work }) => {
    for (const directory of [work.out, work.at("kept")]) mkdirSync(directory);
    const fleet = await TestFleet.start(box, [work.out, work.at("kept")]);
    try {
      const first = await fleet.worker();
      work.write(named("in", ["a", "b", "c"]));
      const args = ["sync", work.at("in"), ...work.into, ...fleet.own];
      expect((await box.run(args)).code).toBe(0);
      first.kill("SIGTERM");
      await first.result;
      work.write(named("out", ["d/old1", "old2"]));
      fleet.env = { DROVER_FAULT: "taken" };
      const doomed = await fleet.worker();
      const started = box.start([...args, "--delete", "--backup-dir", work.at("kept")]);
      expect((await doomed.result).signal).toBe("SIGKILL");
      fleet.env = {};
      await fleet.worker();
      const { code, stderr } = await started.result;
      expect([code, stderr]).toEqual([0, ""]);
      expect([here(work.out), here(work.at("kept"))]).toEqual([
        ["a", "b", "c"],
        ["d/old1", "old2"],
      ]);
      expect(await listRuns(box, fleet.own)).toMatchObject([{ files: 5, unchanged: 3, deleted: 2 }, {}]);
    } finally {
      await fleet.stop();
    }
  });
});
