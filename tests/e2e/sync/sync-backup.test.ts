import {
  existsSync,
  lstatSync,
  mkdirSync,
  readFileSync,
  readlinkSync,
  rmSync,
  statSync,
  symlinkSync,
  utimesSync,
} from "node:fs";
import { describe, expect } from "vitest";
import type { Sandbox } from "../../harness/drover.js";
import { itWithFakeS3 as it, type Work } from "../../harness/fixtures.js";
import { TestFleet } from "../../harness/fleet.js";
import { here } from "../../harness/named-trees.js";
import { listRuns } from "../../harness/runs.js";

/** Files with their content, below a directory. */
function contents(directory: string): Record<string, string> {
  return Object.fromEntries(
    here(directory).map((name) => [name, readFileSync(`${directory}/${name}`, "utf8")]),
  );
}

/** Syncs one version of a tree, then has the source hold another one. */
async function synced(box: Sandbox, work: Work, options: string[] = []): Promise<void> {
  work.write({ "in/a": "a1", "in/d/b": "b1", "in/same": "same" });
  expect((await box.run(["sync", work.at("in"), ...work.into, ...options])).code).toBe(0);
  work.write({ "in/a": "a2 is longer", "in/d/b": "b2 is longer" });
}

const NEW = { a: "a2 is longer", "d/b": "b2 is longer", same: "same" };

describe("sync --backup-dir", () => {
  it("keeps what it overwrites, and nothing that is unchanged or new", async ({ box, work }) => {
    await synced(box, work);
    work.write({ "in/new": "new" });
    utimesSync(work.to("a"), 1_500_000_000, 1_500_000_000);
    const args = ["sync", work.at("in"), ...work.into, "--backup-dir", work.at("kept")];
    const { code, stderr } = await box.run(args);
    expect([code, stderr]).toEqual([0, ""]);
    expect(contents(work.out)).toEqual({ ...NEW, new: "new" });
    expect(contents(work.at("kept"))).toEqual({ a: "a1", "d/b": "b1" });
    expect(statSync(work.at("kept/a")).mtimeMs).toBe(1_500_000_000_000);
    expect(lstatSync(work.at("kept/a")).ino).not.toBe(lstatSync(work.to("a")).ino);
    // Again: what is kept is replaced, as by a deletion.
    work.write({ "in/a": "a3 is even longer" });
    expect((await box.run(args)).code).toBe(0);
    expect(contents(work.at("kept"))).toEqual({ a: "a2 is longer", "d/b": "b1" });
  });

  it("keeps what is deleted, too, with a suffix", async ({ box, work }) => {
    await synced(box, work);
    work.write({ "out/old": "old" });
    const options = ["--delete", "--backup-dir", work.at("kept"), "--suffix", ".bak"];
    const { code, stderr } = await box.run(["sync", work.at("in"), ...work.into, ...options]);
    expect([code, stderr]).toEqual([0, ""]);
    expect(contents(work.out)).toEqual(NEW);
    expect(contents(work.at("kept"))).toEqual({ "a.bak": "a1", "d/b.bak": "b1", "old.bak": "old" });
  });

  it("copies to another file system", async ({ box, work, skip }) => {
    if (!existsSync("/dev/shm")) skip("there is no /dev/shm");
    await synced(box, work);
    const kept = `/dev/shm/drover-test-backup-${process.pid}`;
    try {
      utimesSync(work.to("a"), 1_500_000_000, 1_500_000_000);
      rmSync(work.to("d/b"));
      symlinkSync("nowhere", work.to("d/b"));
      const { code, stderr } = await box.run(["sync", work.at("in"), ...work.into, "--backup-dir", kept]);
      expect([code, stderr]).toEqual([0, ""]);
      expect(contents(work.out)).toEqual(NEW);
      expect(readFileSync(`${kept}/a`, "utf8")).toBe("a1");
      expect(statSync(`${kept}/a`).mtimeMs).toBe(1_500_000_000_000);
      expect(readlinkSync(`${kept}/d/b`)).toBe("nowhere");
    } finally {
      rmSync(kept, { recursive: true, force: true });
    }
  });

  it("leaves alone what cannot be kept", async ({ box, work }) => {
    await synced(box, work);
    work.write({ "kept/d": "a file where a directory is needed" });
    mkdirSync(work.at("kept/a"));
    const { code, items } = await box.sync([
      work.at("in"),
      ...work.into,
      "--retries",
      "1",
      "--backup-dir",
      work.at("kept"),
    ]);
    expect(code).toBe(1);
    expect(items.filter(({ status }) => status === "failed")).toHaveLength(2);
    expect(contents(work.out)).toEqual({ a: "a1", "d/b": "b1", same: "same" });
  });

  it.for([
    { options: ["--backup-dir", "out/kept"], why: /the destination .*lie in each other/ },
    { options: ["--backup-dir", "in/kept"], why: /the source .*lie in each other/ },
    { options: ["--backup-dir", "s3://bucket/kept"], why: /cannot keep what is removed from/ },
    { options: ["--backup-dir", ""], why: /--backup-dir must be a directory/ },
    { options: ["--suffix", ""], why: /--suffix must be/ },
    { options: ["--suffix", "/x"], why: /--suffix must be/ },
    { options: ["--backup-dir", "kept", "--suffix", "a/b"], why: /--suffix must be/ },
  ])("is refused with $options", async ({ options, why }, { box, work }) => {
    work.write({ "in/a": "a" });
    const { code, stderr } = await box.run(["sync", "in", ...work.into, ...options], { cwd: work.path });
    expect([code, stderr]).toEqual([2, expect.stringMatching(why)]);
    expect(existsSync(work.out)).toBe(false);
  });
});

describe("sync --suffix", () => {
  it("keeps former versions beside the new ones, which --delete leaves", async ({ box, work }) => {
    await synced(box, work);
    work.write({ "out/old": "old" });
    const args = ["sync", work.at("in"), ...work.into, "--delete", "--suffix", ".bak"];
    const first = await box.run(args);
    expect([first.code, first.stderr]).toEqual([0, ""]);
    const all = { ...NEW, "a.bak": "a1", "d/b.bak": "b1", "old.bak": "old" };
    expect(contents(work.out)).toEqual(all);
    const second = await box.run(args);
    expect([second.code, second.stderr]).toEqual([0, ""]);
    expect(contents(work.out)).toEqual(all);
  });

  it("refuses a file by whose name a former version could be kept", async ({ box, work }) => {
    work.write({ "in/a": "a", "in/a.bak": "of the source" });
    const { code, items } = await box.sync([work.at("in"), ...work.into, "--suffix", ".bak"]);
    expect(code).toBe(1);
    expect(items.find(({ status }) => status === "failed")).toMatchObject({ error: { class: "path" } });
    expect(here(work.out)).toEqual(["a"]);
  });

  it("refuses that file in a dry run, too", async ({ box, work }) => {
    work.write({ "in/a": "a", "in/a.bak": "of the source" });
    const args = ["sync", work.at("in"), ...work.into, "--suffix", ".bak"];
    const dry = await box.run([...args, "-n"]);
    expect([dry.code, dry.stdout]).toEqual([
      1,
      expect.stringMatching(/a\.bak \(a\.bak ends in \.bak: by such names --suffix keeps former versions\)/),
    ]);
    expect(dry.stdout).toContain("1 file would be copied, 0 left unchanged;");
    const beside = await box.run([...args, "-n", "--backup-dir", work.at("kept")]);
    expect([beside.code, beside.stdout]).toEqual([0, expect.stringContaining("2 files would be copied")]);
  });
});

describe("a sync killed while it overwrites", () => {
  for (const [where, options] of [
    ["a directory", ["--backup-dir", "kept"]],
    ["another file system", ["--backup-dir", "SHM"]],
    ["the destination", ["--suffix", ".bak"]],
  ] as const)
    it.for([
      "open",
      "stage",
      "verify",
      "keep",
      "keep:2",
      "kept",
      "commit",
      "commit:2",
      "committed",
      "settled",
    ])(`at %s loses no former version, kept in ${where}`, async (point, { box, work, skip }) => {
      if (options[1] === "SHM" && !existsSync("/dev/shm")) skip("there is no /dev/shm");
      const shm = `/dev/shm/drover-test-kill-${process.pid}-${point.replace(":", "-")}`;
      const place = options[1] === "SHM" ? shm : work.at("kept");
      const given = options[0] === "--suffix" ? options : (["--backup-dir", place] as const);
      const [kept, suffix] = options[0] === "--suffix" ? [work.out, ".bak"] : [place, ""];
      const own = ["--state-dir", work.at("s")];
      try {
        await synced(box, work, own);
        const args = ["sync", work.at("in"), ...work.into, ...given, ...own, "--max-workers", "1"];
        const killed = await box.run(args, { env: { DROVER_FAULT: point } });
        expect(killed.signal, killed.stderr).toBe("SIGKILL");
        for (const [name, old, now] of [
          ["a", "a1", NEW.a],
          ["d/b", "b1", NEW["d/b"]],
        ] as const) {
          const there = readFileSync(work.to(name), "utf8"); // never without a file
          expect([old, now]).toContain(there);
          if (there === now) expect(readFileSync(`${kept}/${name}${suffix}`, "utf8")).toBe(old);
        }
        const [run] = await listRuns(box, own);
        const resumed = await box.run(["resume", run?.run as string, ...own]);
        expect([resumed.code, resumed.stderr]).toEqual([0, ""]);
        const backups = { [`a${suffix}`]: "a1", [`d/b${suffix}`]: "b1" };
        expect(contents(kept)).toEqual(suffix === "" ? backups : { ...NEW, ...backups });
        expect(contents(work.out)).toMatchObject(NEW);
      } finally {
        rmSync(shm, { recursive: true, force: true });
      }
    });
});

describe("a fleet", () => {
  it("keeps what it overwrites, where its workers may write", async ({ box, work }) => {
    mkdirSync(work.out);
    mkdirSync(work.at("kept"));
    const fleet = await TestFleet.start(box, [work.out, work.at("kept")]);
    try {
      await fleet.worker();
      await synced(box, work, fleet.own);
      const args = ["sync", work.at("in"), ...work.into, ...fleet.own, "--suffix", ".1"];
      const outside = await box.run([...args, "--backup-dir", work.at("elsewhere")]);
      expect([outside.code, outside.stderr]).toEqual([
        2,
        expect.stringMatching(/choose a --backup-dir below/),
      ]);
      const { code, stderr } = await box.run([...args, "--backup-dir", work.at("kept")]);
      expect([code, stderr]).toEqual([0, expect.not.stringMatching(/drover:/)]);
      expect(contents(work.out)).toEqual(NEW);
      expect(contents(work.at("kept"))).toEqual({ "a.1": "a1", "d/b.1": "b1" });
    } finally {
      await fleet.stop();
    }
  });
});
