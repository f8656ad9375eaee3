import { existsSync, mkdirSync, readFileSync, statSync, utimesSync } from "node:fs";
import { pathToFileURL } from "node:url";
import { describe, expect } from "vitest";
import { sha256 } from "../../harness/content.js";
import { it, type Work } from "../../harness/fixtures.js";

type Call = "times" | "mode" | "sync" | "rename";

/** Has every process and thread of a command note what it syncs, renames and gives a time or mode, by inode. */
function noteSyncs(work: Work) {
  const log = work.at("syncs.txt");
  const hook = work.write({
    "hook.mjs": `
      import fs from "node:fs";
      import { syncBuiltinESMExports } from "node:module";
      const { fsync, futimesSync, fchmodSync, renameSync } = fs;
      const note = (call, { ino }) => fs.appendFileSync(${JSON.stringify(log)}, call + " " + ino + "\\n");
      fs.fsync = (fd, done) => {
        const stat = fs.fstatSync(fd);
        fsync(fd, (error) => {
          if (!error) note("sync", stat);
          done(error);
        });
      };
      fs.futimesSync = (fd, ...times) => {
        note("times", fs.fstatSync(fd));
        futimesSync(fd, ...times);
      };
      fs.fchmodSync = (fd, mode) => {
        note("mode", fs.fstatSync(fd));
        fchmodSync(fd, mode);
      };
      fs.renameSync = (from, to) => {
        note("rename", fs.statSync(from));
        renameSync(from, to);
      };
      syncBuiltinESMExports();`,
  });
  return {
    env: { NODE_OPTIONS: `--import=${pathToFileURL(hook)}` },
    /** What was done with a file or directory, in order. */
    calls: (path: string): Call[] => {
      const ino = String(statSync(path).ino);
      const lines = existsSync(log) ? readFileSync(log, "utf8").trim().split("\n") : [];
      const words = lines.map((line) => line.split(" "));
      return words.filter(([, of]) => of === ino).map(([call]) => call as Call);
    },
  };
}

describe("a file counts as copied", () => {
  it("when every directory that leads to it is synced, once each and not once for each file", async ({
    box,
    work,
  }) => {
    const names = Array.from({ length: 40 }, (_, at) => `a/b/c/${at}`);
    work.write(Object.fromEntries([...names, "a/d/f"].map((name) => [`in/${name}`, name])));
    const { env, calls } = noteSyncs(work);
    const into = ["--artifact-root", work.to("new/root"), "--script-name", "", "--max-workers", "1"];
    expect((await box.sync([work.at("in"), ...into], { env })).code).toBe(0);

    expect(calls(work.to("new/root/a/b/c")).length).toBeGreaterThan(0);
    for (const directory of ["new/root/a/b", "new"]) expect(calls(work.to(directory))).toEqual(["sync"]);
    expect(calls(work.path)).toEqual(["sync"]);
    for (const directory of ["new/root/a", "new/root"]) {
      // Once for the way to a/b/c, and once for what was made in it later: a/d.
      expect(calls(work.to(directory)).length).toBeLessThanOrEqual(2);
      expect(calls(work.to(directory))).toContain("sync");
    }
  });

  it("when the directory is synced that another process has made and may not have synced", async ({
    box,
    work,
  }) => {
    work.write({ "in/a/b/f": "f" });
    mkdirSync(work.to("a/b"), { recursive: true });
    const { env, calls } = noteSyncs(work);
    expect((await box.sync([work.at("in"), ...work.into], { env })).code).toBe(0);
    for (const directory of ["a/b", "a", ""]) expect(calls(work.to(directory))).toContain("sync");
  });

  it("when its time and mode are synced with its bytes", async ({ box, work }) => {
    utimesSync(work.write({ "in/f": "f" }), 1_500_000_000, 1_500_000_000);
    const { env, calls } = noteSyncs(work);
    expect((await box.sync([work.at("in"), ...work.into], { env })).code).toBe(0);
    expect(calls(work.to("f"))).toEqual(["times", "sync", "rename"]);
    expect(statSync(work.to("f")).mtimeMs).toBe(1_500_000_000_000);
  });

  it("without any sync, if the system is to sync when it likes", async ({ box, work }) => {
    work.write({ "in/a/f": "f" });
    const { env, calls } = noteSyncs(work);
    const { code } = await box.sync([work.at("in"), ...work.into, "--durability", "rename"], { env });
    expect(code).toBe(0);
    for (const path of ["a/f", "a", ""]) expect(calls(work.to(path))).not.toContain("sync");
  });
});

it.for([{ given: "nothing" }, { given: "its checksum" }])(
  "a file that a killed command had published is synced before it counts as unchanged (given: $given)",
  async ({ given }, { box, work }) => {
    const source = work.write({ "in/f": "f" });
    const checksum = given === "nothing" ? [] : ["--checksum", `${source}=${sha256("f")}`];
    const args = [source, ...work.into, ...checksum];
    await box.run(["sync", ...args], { env: { DROVER_FAULT: "committed" } });
    expect(existsSync(work.to("f"))).toBe(true);
    const { env, calls } = noteSyncs(work);
    const { code, items } = await box.sync(args, { env });
    expect([code, items[0]?.outcome]).toEqual([0, "unchanged"]);
    for (const directory of [work.out, work.path]) expect(calls(directory)).toContain("sync");
  },
);
