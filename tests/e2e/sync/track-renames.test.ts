import { cpSync, mkdirSync, readFileSync, renameSync, rmSync, statSync, writeFileSync } from "node:fs";
import { describe, expect } from "vitest";
import { itWithFakeS3 as it, type Work } from "../../harness/fixtures.js";
import { hasRclone, type PlantedTree, plant, planted, rclone } from "../../harness/rclone.js";

const FILES: PlantedTree = new Map(
  ["a", "b", "d/c", "d/e", "twin1", "twin2"].map((name, at) => [
    name,
    { text: name.startsWith("twin") ? "twins" : `this is ${name}`, second: name.startsWith("twin") ? 5 : at },
  ]),
);

/** Renames, removes, changes and adds files of the source. */
function change(work: Work): void {
  const at = (name: string) => work.at("in", name);
  renameSync(at("a"), at("A"));
  renameSync(at("d"), at("moved"));
  renameSync(at("twin1"), at("twin3"));
  rmSync(at("b"));
  plant(work.at("in"), new Map([["new", { text: "this is new", second: 7 }]]));
}

const track = ["--delete", "--track-renames"];

describe("sync --track-renames", () => {
  it.runIf(hasRclone)("ends as rclone does, and copies only what is new", async ({ box, work }) => {
    plant(work.at("in"), FILES);
    const args = [work.at("in"), ...work.into];
    await box.sync(args);
    await rclone(["copy", "in", "theirs"], work.path);
    const inode = statSync(work.to("a")).ino;
    change(work);
    const dry = await box.sync([...args, ...track, "--max-delete", "1", "--dry-run"]);
    const told = dry.items as unknown as { destination: string; action: string; reason: string }[];
    expect(told.filter(({ action }) => action === "delete").map(({ destination }) => destination)).toEqual([
      work.to("b"),
    ]);
    expect(told.filter(({ reason }) => reason.endsWith("which is moved"))).toHaveLength(4);
    // One removal is within the limit: a file that is moved is none.
    const { code, items } = await box.sync([...args, ...track, "--max-delete", "1"]);
    expect(code).toBe(0);
    expect(await rclone(["sync", "--track-renames", "--max-delete", "1", "in", "theirs"], work.path)).toBe(0);
    expect(planted(work.out)).toEqual(planted(work.at("theirs")));
    expect(statSync(work.to("A")).ino).toBe(inode);
    expect(items.filter(({ outcome }) => outcome === "deleted")).toHaveLength(1);
    const again = await box.sync([...args, ...track]);
    expect(again.items.map(({ outcome }) => outcome)).toEqual(new Array(6).fill("unchanged"));
  });

  it("moves nothing that the catalog does not vouch for, or that is another file", async ({ box, work }) => {
    plant(work.at("in"), FILES);
    const args = [work.at("in"), ...work.into];
    await box.sync(args);
    // Edited at the destination; of another time; copied, so that the former name is still there.
    writeFileSync(work.to("a"), "THIS IS A");
    const inodes = ["a", "b", "d/c"].map((name) => statSync(work.to(name)).ino);
    renameSync(work.at("in/a"), work.at("in/A"));
    renameSync(work.at("in/b"), work.at("in/B"));
    plant(work.at("in"), new Map([["B", { text: "this is b", second: 99 }]]));
    cpSync(work.at("in/d/c"), work.at("in/C"), { preserveTimestamps: true });
    const { code } = await box.sync([...args, ...track]);
    expect(code).toBe(0);
    expect(planted(work.out)).toEqual(planted(work.at("in")));
    expect(["A", "B", "C"].map((name) => inodes.includes(statSync(work.to(name)).ino))).toEqual([
      false,
      false,
      false,
    ]);
    expect(statSync(work.to("d/c")).ino).toBe(inodes[2]);
  });

  it("moves objects at an S3 destination", async ({ box, work, s3 }) => {
    plant(work.at("in"), FILES);
    const args = [work.at("in"), "--to", "s3://bucket/p"];
    await box.sync(args, { env: s3.env });
    change(work);
    s3.requests.length = 0;
    const { code } = await box.sync([...args, ...track, "--max-delete", "1"], { env: s3.env });
    expect(code).toBe(0);
    expect(s3.keys).toEqual(["p/A", "p/moved/c", "p/moved/e", "p/new", "p/twin2", "p/twin3"]);
    const sent = s3.requests.filter(
      ({ method, headers }) => method === "PUT" && !headers["x-amz-copy-source"],
    );
    expect(sent.map(({ key }) => key).filter((key) => !key.includes(".drover-"))).toEqual(["p/new"]);
    expect(s3.stored("p/A")?.content.toString()).toBe("this is a");
  });

  it("keeps with --backup-dir what it would move", async ({ box, work }) => {
    plant(work.at("in"), FILES);
    await box.sync([work.at("in"), ...work.into]);
    change(work);
    const { code } = await box.sync([
      work.at("in"),
      ...work.into,
      ...track,
      "--max-delete",
      "9",
      "--backup-dir",
      work.at("kept"),
    ]);
    expect(code).toBe(0);
    expect(planted(work.out)).toEqual(planted(work.at("in")));
    expect(readFileSync(work.at("kept/a"), "utf8")).toBe("this is a");
  });

  it.for<[string[], RegExp]>([
    [["--track-renames"], /needs --delete/],
    [[...track, "--existing"], /brings no new name/],
    [[...track, "--ignore-times"], /read again/],
  ])("is refused with %s", async ([flags, why], { box, work }) => {
    mkdirSync(work.at("in"));
    const { code, stderr } = await box.run(["sync", work.at("in"), ...work.into, ...flags]);
    expect([code, stderr]).toEqual([2, expect.stringMatching(why)]);
  });
});
