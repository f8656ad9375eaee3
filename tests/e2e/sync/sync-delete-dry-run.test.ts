import { readFileSync, rmSync } from "node:fs";
import { relative } from "node:path";
import { describe, expect } from "vitest";
import { itWithFakeS3 as it } from "../../harness/fixtures.js";
import { here, synced } from "../../harness/named-trees.js";
import { listRuns } from "../../harness/runs.js";

const all = ["--delete", "--max-delete", "100%"];

describe("sync --delete --dry-run", () => {
  it("reports what would be done and why, and changes nothing", async ({ box, work }) => {
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

describe("sync --delete --dry-run of a sync that would be refused", () => {
  it.for<[string, Record<string, string>, RegExp]>([
    ["two sources of one destination", { "in2/a": "other" }, /another source of this run/],
    ["a directory in the place of a file", { "in2/b": "b", "out/b/x": "x" }, /out\/b is a directory/],
    ["a file in the place of a directory", { "in2/b/x": "b", "out/b": "x" }, /out\/b is a link or a file/],
  ])("reports that nothing would be deleted: %s", async ([, files, why], { box, work }) => {
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
