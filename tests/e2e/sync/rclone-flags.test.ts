import { readFileSync, rmSync, statSync, symlinkSync, utimesSync, writeFileSync } from "node:fs";
import { describe, expect } from "vitest";
import { itWithFakeS3 as it } from "../../harness/fixtures.js";
import { here } from "../../harness/named-trees.js";
import { hasRclone, type PlantedTree, plant, planted, random, rclone } from "../../harness/rclone.js";

const THERE = "--files-from-raw=there.txt";

/** Flags of Drover with those of rclone, which has no `--existing`: a list of what is there stands for it. */
const FLAGS: [string, drover: string[], rclone: string[]][] = [
  ["nothing", [], []],
  ["--update", ["--update"], ["--update"]],
  ["--ignore-existing", ["--ignore-existing"], ["--ignore-existing"]],
  ["--existing", ["--existing"], [THERE]],
  ["--size-only", ["--size-only"], ["--size-only"]],
  ["--checksum-only", ["--checksum-only"], ["--checksum"]],
  ["--update --existing", ["--update", "--existing"], ["--update", THERE]],
  ["--update --checksum-only", ["--update", "--checksum-only"], ["--update", "--checksum"]],
  ["--existing --size-only", ["--existing", "--size-only"], [THERE, "--size-only"]],
];

/** Two trees whose common files have each size, time and bytes in each relation to each other. */
function pair(seed: number): { source: PlantedTree; there: PlantedTree } {
  const next = random(seed);
  const source: PlantedTree = new Map();
  const there: PlantedTree = new Map();
  let count = 0;
  for (const bytes of ["same", "other", "longer"])
    for (const time of [-40, 0, 40])
      for (let each = 0; each < 2; each++) {
        const name = `${next() < 0.5 ? "" : "d/e/"}${bytes}${time}-${count++}`;
        const text = `${name}:${Math.floor(next() * 1e6)}`;
        const second = 1000 + Math.floor(next() * 1000);
        source.set(name, { text, second });
        const their = { same: text, other: `${text.slice(0, -1)}!`, longer: `${text}!` }[bytes] as string;
        there.set(name, { text: their, second: second + time });
      }
  for (let each = 0; each < 3; each++) {
    source.set(`new/s${each}`, { text: `s${each}`, second: each });
    there.set(`old/t${each}`, { text: `t${each}`, second: each });
  }
  return { source, there };
}

/** Files that rclone takes for the same by size and time, and does not read. Drover does. */
const unread = (flags: string[]) =>
  flags.some((flag) => /^--(size-only|checksum|ignore-existing)$/.test(flag)) ? /^$/ : /other0-/;

describe.runIf(hasRclone)("sync as rclone does", () => {
  it.for(FLAGS)("of files that it does not know, with %s", async ([, flags, theirs], { box, work }) => {
    const { source, there } = pair(7);
    plant(work.at("in"), source);
    plant(work.out, there);
    plant(work.at("theirs"), there);
    const dry = await box.sync([work.at("in"), ...work.into, ...flags, "--dry-run"]);
    expect(planted(work.out)).toEqual(Object.fromEntries(there));
    const { code, items } = await box.sync([work.at("in"), ...work.into, ...flags]);
    expect(code).toBe(0);
    work.write({ "there.txt": here(work.at("theirs")).join("\n") });
    expect(await rclone(["copy", ...theirs, work.at("in"), work.at("theirs")], work.path)).toBe(0);
    const ours = planted(work.out);
    const other = planted(work.at("theirs"));
    for (const name of Object.keys(other)) {
      if (!unread(theirs).test(name)) continue;
      expect(other[name]).toEqual(there.get(name));
      other[name] = source.get(name) as (typeof other)[string];
    }
    expect(ours).toEqual(other);
    // The dry run says the same of each file.
    const said = (list: readonly object[], of: (item: Record<string, string>) => boolean) =>
      (list as Record<string, string>[])
        .filter(of)
        .map(({ destination }) => destination)
        .sort();
    expect(said(dry.items, ({ action }) => action === "copy")).toEqual(
      said(items, ({ outcome }) => outcome === "copied"),
    );
    // Nothing was noted that is not so: what differs is found afterwards.
    expect((await box.sync([work.at("in"), ...work.into])).code).toBe(0);
    const whole = { ...Object.fromEntries(there), ...Object.fromEntries(source) };
    expect(planted(work.out)).toEqual(Object.fromEntries(Object.entries(whole).sort()));
  });

  it.for(FLAGS)("of files that it has synced before, with %s", async ([, flags, theirs], { box, work }) => {
    const { source, there } = pair(8);
    const [at, other] = [work.at("in"), work.at("theirs")];
    plant(at, source);
    expect((await box.sync([at, ...work.into])).code).toBe(0);
    expect(await rclone(["copy", at, other], work.path)).toBe(0);
    // Somebody writes to both destinations, and to the source: some are as they were, and one is new.
    for (const root of [work.out, other]) plant(root, there);
    plant(at, new Map([["d/fresh", { text: "fresh", second: 5 }]]));
    work.write({ "there.txt": here(other).join("\n") });
    expect((await box.sync([at, ...work.into, ...flags])).code).toBe(0);
    expect(await rclone(["copy", ...theirs, at, other], work.path)).toBe(0);
    const found = planted(other);
    for (const name of Object.keys(found))
      if (unread(theirs).test(name)) found[name] = source.get(name) as (typeof found)[string];
    // A file that was edited and got its time back is as the catalog has it: only --checksum-only reads it.
    const ours = planted(work.out);
    for (const name of Object.keys(ours))
      if (unread(theirs).test(name)) ours[name] = source.get(name) as (typeof ours)[string];
    expect(ours).toEqual(found);
  });

  it.for<[string, string[], string[]]>([
    ["patterns", ["--exclude", "*.tmp"], ["--exclude", "*.tmp"]],
    ["a pattern of directories", ["--exclude", "d/**"], ["--exclude", "d/**"]],
    ["a tied pattern", ["--pattern", "/d/**"], ["--include", "/d/**"]],
    ["sizes", ["--min-size", "3B"], ["--min-size", "3B"]],
    ["ages", ["--max-age", "2026-01-01T00:00:30Z"], ["--max-age", "2026-01-01T00:00:30Z"]],
  ])("deletes what the filters leave out: %s", async ([, flags, theirs], { box, work }) => {
    const names = ["a.tmp", "b", "d/a.tmp", "d/b", "d/long"];
    const of = (prefix: string, from: string[]): PlantedTree =>
      new Map(
        from.map((name, at) => [
          name,
          { text: prefix + (name.endsWith("long") ? "long" : ""), second: at * 20 },
        ]),
      );
    plant(work.at("in"), of("s", names));
    for (const root of [work.out, work.at("theirs")])
      plant(root, of("s", [...names, "old", "old.tmp", "d/old"]));
    const args = [
      work.at("in"),
      ...work.into,
      "--delete",
      "--delete-excluded",
      "--max-delete",
      "100%",
      ...flags,
    ];
    const dry = await box.sync([...args, "--dry-run"]);
    const { code, items } = await box.sync(args);
    expect(code).toBe(0);
    const own = ["--delete-excluded", ...theirs, work.at("in"), work.at("theirs")];
    expect(await rclone(["sync", ...own], work.path)).toBe(0);
    expect(planted(work.out)).toEqual(planted(work.at("theirs")));
    expect(items.filter(({ outcome }) => outcome === "deleted")).toHaveLength(
      dry.items.filter((item) => "action" in item && item.action === "delete").length,
    );
  });

  it("counts what the filters leave out for --max-delete, and needs --delete", async ({ box, work }) => {
    work.write({ "in/a": "a", "in/b": "b", "out/a": "a", "out/b": "b" });
    const args = ["sync", work.at("in"), ...work.into, "--exclude", "b", "--delete-excluded"];
    expect((await box.run(args)).stderr).toMatch(/needs --delete/);
    const { code, stderr } = await box.run([...args, "--delete", "--max-delete", "0"]);
    expect([code, stderr]).toEqual([1, expect.stringMatching(/1 of 2 files would be/)]);
    expect(here(work.out)).toEqual(["a", "b"]);
  });

  it("follows links to directories with --copy-links", async ({ box, work }) => {
    work.write({ "in/a": "a", "in/d/b": "b", "in/e-": "e", "aside/x/y": "y", "aside/z": "z" });
    symlinkSync("../aside", work.at("in/e"));
    symlinkSync("../../aside/x", work.at("in/d/x"));
    symlinkSync("a", work.at("in/file"));
    const args = [work.at("in"), ...work.into, "--delete", "--max-delete", "100%", "-L"];
    expect((await box.sync(args)).code).toBe(0);
    const theirs = ["sync", "-L", work.at("in"), work.at("theirs")];
    expect(await rclone(theirs, work.path)).toBe(0);
    expect(here(work.out)).toEqual(["a", "d/b", "d/x/y", "e-", "e/x/y", "e/z", "file"]);
    expect(planted(work.out)).toEqual(planted(work.at("theirs")));
    rmSync(work.at("aside/x/y"));
    expect((await box.sync(args)).code).toBe(0);
    expect(await rclone(theirs, work.path)).toBe(0);
    expect(planted(work.out)).toEqual(planted(work.at("theirs")));
    expect(here(work.out)).toEqual(["a", "d/b", "e-", "e/z", "file"]);
  });

  it("follows no link in a circle, nor to the destination", { timeout: 30_000 }, async ({ box, work }) => {
    work.write({ "in/d/a": "a", "out/b": "b" });
    symlinkSync("..", work.at("in/d/up"));
    symlinkSync(".", work.at("in/d/self"));
    symlinkSync("../..", work.at("in/d/round"));
    symlinkSync(work.out, work.at("in/there"));
    symlinkSync("nowhere", work.at("in/nowhere"));
    symlinkSync("loop", work.at("in/loop"));
    const { stderr } = await box.run(["sync", work.at("in"), ...work.into, "-L"]);
    expect(stderr).toMatch(/d\/up: a link to a directory that it is in/);
    expect(stderr).toMatch(/there: it is the destination/);
    expect(here(work.out)).toEqual(["b", "d/a"]);
  });

  it("sees an edit under the old time with --checksum-only, at either side", async ({ box, work }) => {
    plant(work.at("in"), new Map([["a", { text: "one", second: 1 }], ["b", { text: "two", second: 1 }]])); // biome-ignore format: a pair
    expect((await box.sync([work.at("in"), ...work.into])).code).toBe(0);
    const { atime, mtime } = statSync(work.to("a"));
    writeFileSync(work.to("a"), "eno");
    utimesSync(work.to("a"), atime, mtime);
    expect((await box.sync([work.at("in"), ...work.into])).items).toMatchObject([
      { outcome: "unchanged" },
      { outcome: "unchanged" },
    ]);
    const dry = await box.sync([work.at("in"), ...work.into, "--checksum-only", "--dry-run"]);
    expect(dry.items).toMatchObject([{ action: "copy" }, { action: "unchanged" }]);
    const { items } = await box.sync([work.at("in"), ...work.into, "--checksum-only"]);
    expect(items.map(({ outcome }) => outcome).sort()).toEqual(["copied", "unchanged"]);
    expect(readFileSync(work.to("a"), "utf8")).toBe("one");
  });
});
