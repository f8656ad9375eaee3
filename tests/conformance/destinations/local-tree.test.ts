import { existsSync, mkdirSync, symlinkSync, utimesSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { TransferError } from "@drover/shared/errors";
import { shortHash } from "@drover/shared/ids";
import { LocalTree } from "@drover/shared/storage/local/tree";
import { stagingName } from "@drover/shared/storage/staging-name";
import { describe, expect } from "vitest";
import { it, LEASE } from "../helpers/ground.js";

describe("a tree", () => {
  it("is made where it is not there, and is its real path", ({ ground }) => {
    symlinkSync(ground.root, join(ground.path, "link"));
    const tree = new LocalTree(join(ground.path, "link", "deep", "er"));
    expect(tree.root).toBe(join(ground.root, "deep", "er"));
    expect(tree.id).toBe(new LocalTree(ground.to("deep/er")).id);
    expect(tree.id).not.toBe(ground.tree.id);
    expect(tree.path("a/b")).toBe(join(ground.root, "deep/er/a/b"));
  });

  it("that is a file, or below one, is refused", ({ ground }) => {
    writeFileSync(ground.to("file"), "x");
    expect(() => new LocalTree(ground.to("file"))).toThrow(TransferError);
    expect(() => new LocalTree(ground.to("file/sub"))).toThrow(TransferError);
  });

  it("sees a link itself and not what it leads to", ({ ground }) => {
    symlinkSync("/etc/passwd", ground.to("link"));
    expect(ground.tree.stat(ground.to("link"))?.isSymbolicLink()).toBe(true);
    expect(ground.tree.stat(ground.to("none"))).toBeUndefined();
  });

  it("is swept of staging that nobody has touched for a day and more, and of nothing else", async ({
    ground,
  }) => {
    // One that is about to be published has the time of its source already.
    const dated = stagingName(LEASE, "6");
    writeFileSync(ground.to(dated), "x");
    utimesSync(ground.to(dated), new Date(), new Date(0));
    const names = [stagingName(LEASE, "1"), stagingName(LEASE, "2"), ".drover-mine", "old.csv"];
    const [old, young] = names as [string, string];
    for (const name of names) writeFileSync(ground.to(name), "x");
    const directory = stagingName(LEASE, "3");
    const link = stagingName(LEASE, "4");
    mkdirSync(ground.to(directory));
    // What somebody took away to remove it, and never came back for.
    const left = stagingName(LEASE, "5");
    mkdirSync(ground.to(left));
    for (const name of ["taken", "rewritten"]) writeFileSync(ground.to(`${left}/${name}`), "taken");
    writeFileSync(ground.to("rewritten"), "anew");
    utimesSync(ground.to(left), new Date(0), new Date(0));
    symlinkSync("/etc/passwd", ground.to(link));
    const dayBefore = Date.now() / 1_000 - 26 * 3_600;
    for (const name of names) if (name !== young) utimesSync(ground.to(name), dayBefore, dayBefore);
    const opened = ground.tree.directoryOf("file");
    await ground.tree.sweep(opened);
    const kept = [young, dated, ".drover-mine", "old.csv", directory, link, "taken", "rewritten"];
    expect(ground.names()).toEqual(kept.sort());
    expect([ground.read("taken"), ground.read("rewritten")]).toEqual(["taken", "anew"]);
    // Once per directory: a later sweep costs nothing.
    writeFileSync(ground.to(old), "x");
    utimesSync(ground.to(old), dayBefore, dayBefore);
    await ground.tree.sweep(opened);
    expect(existsSync(ground.to(old))).toBe(true);
    ground.tree.release(opened);
  });
});

describe("a staging name", () => {
  it("is another for every destination and fence, and short", () => {
    const names = new Set<string>();
    for (let lease = 0; lease < 50; lease++) {
      for (let fence = 0; fence < 50; fence++)
        names.add(stagingName(shortHash(`l${lease}`), `17636000000000${fence}`));
    }
    expect(names.size).toBe(2_500);
    for (const name of names) expect(Buffer.byteLength(name)).toBeLessThan(30);
  });
});
