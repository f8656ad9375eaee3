import {
  existsSync,
  lstatSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { setImmediate } from "node:timers/promises";
import { statStamp } from "@drover/shared/protocol/catalog-entry";
import { LocalTree } from "@drover/shared/storage/local/tree";
import { stagingName } from "@drover/shared/storage/staging-name";
import { LocalBackup } from "@drover/worker/destinations/local/backup";
import { LocalRemoval } from "@drover/worker/destinations/local/removal";
import { test as base, describe, expect } from "vitest";

interface Tree {
  root: string;
  /** Writes a file. @returns its version. */
  write(name: string, text: string): string;
  removal(name: string, version: string, fence: string): LocalRemoval;
}

const it = base.extend<{ tree: Tree }>({
  // biome-ignore lint/correctness/noEmptyPattern: vitest reads what a fixture needs from the pattern
  tree: async ({}, use) => {
    const root = mkdtempSync("/tmp/dv-");
    const tree = new LocalTree(root);
    const made: LocalRemoval[] = [];
    await use({
      root,
      write(name, text) {
        const path = join(root, name);
        mkdirSync(join(path, ".."), { recursive: true });
        writeFileSync(path, text);
        return statStamp(lstatSync(path, { bigint: true }));
      },
      removal(name, version, fence) {
        const removal = new LocalRemoval(tree, name, version, "lease", fence);
        made.push(removal);
        return removal;
      },
    });
    for (const each of made) each.close();
    tree.close();
    rmSync(root, { recursive: true });
  },
});

const trusted = () => {};

describe("a removal", () => {
  it("removes the file, and the directories that are then empty", async ({ tree }) => {
    const version = tree.write("d/e/f", "f");
    tree.write("d/g", "g");
    const removal = tree.removal("d/e/f", version, "1");
    expect(removal.take(trusted)).toBe(true);
    expect(existsSync(join(tree.root, "d/e/f"))).toBe(false);
    await removal.finish(undefined, true);
    removal.prune();
    expect(readdirSync(join(tree.root, "d"))).toEqual(["g"]);
  });

  it("of a missing file is already done", ({ tree }) => {
    expect(tree.removal("a", "v", "1").take(trusted)).toBe(false);
    expect(tree.removal("d/e/a", "v", "1").take(trusted)).toBe(false);
  });

  it("leaves another version alone", ({ tree }) => {
    const version = tree.write("a", "old");
    tree.write("a", "changed");
    expect(() => tree.removal("a", version, "1").take(trusted)).toThrow(/changed since/);
    expect(readdirSync(tree.root)).toEqual(["a"]);
  });

  it("puts back a file that was written between the check and the taking", ({ tree }) => {
    const version = tree.write("a", "old");
    const removal = tree.removal("a", version, "1");
    expect(() => removal.take(() => void tree.write("a", "someone else's"))).toThrow(/changed since/);
    expect(readFileSync(join(tree.root, "a"), "utf8")).toBe("someone else's");
    expect(readdirSync(tree.root)).toEqual(["a"]);
  });

  it("does not follow a link", ({ tree }) => {
    const version = tree.write("real/a", "a");
    symlinkSync(join(tree.root, "real"), join(tree.root, "link"));
    expect(() => tree.removal("link/a", version, "1")).toThrow(/is a link or a file/);
    expect(existsSync(join(tree.root, "real/a"))).toBe(true);
  });

  it("takes nothing once a successor has started", ({ tree }) => {
    const version = tree.write("a", "old");
    const stale = tree.removal("a", version, "1");
    expect(() =>
      stale.take(() => {
        // Here the worker is suspended; another run writes an identical file meanwhile, under a lease of its
        // own.
        tree.removal("a", version, "2").adopt(["1"]);
      }),
    ).toThrow(/another worker has taken over/);
    expect(readFileSync(join(tree.root, "a"), "utf8")).toBe("old");
    expect(readdirSync(tree.root)).toEqual(["a"]);
  });

  it("takes nothing from a directory that was moved meanwhile", ({ tree }) => {
    const version = tree.write("d/a", "old");
    const removal = tree.removal("d/a", version, "1");
    renameSync(join(tree.root, "d"), join(tree.root, "aside"));
    expect(() => removal.take(trusted)).toThrow(/was moved or replaced/);
    expect(readdirSync(join(tree.root, "aside"))).toEqual(["a"]);
  });

  it("keeps nothing in a directory of the backup that was moved meanwhile", async ({ tree }) => {
    const kept = mkdtempSync("/tmp/dv-");
    const backup = new LocalTree(join(kept, "backup"));
    const keep = async (name: string, fence: string) => {
      const removal = tree.removal(name, tree.write(name, name), fence);
      removal.take(trusted);
      await removal.finish(new LocalBackup(backup, ""), false);
    };
    await keep("d/a", "1");
    renameSync(join(kept, "backup/d"), join(kept, "aside"));
    await setImmediate(); // one check of a directory serves all files of one turn
    await expect(keep("d/b", "2")).rejects.toThrow(/was moved or replaced/);
    expect(readdirSync(join(kept, "aside"))).toEqual(["a"]);
    expect(readdirSync(join(tree.root, "d"))).toEqual(["b"]);
    backup.close();
    rmSync(kept, { recursive: true });
  });

  it("follows no link where it copies to a backup on another file system", async ({ tree }) => {
    if (!existsSync("/dev/shm") || lstatSync("/dev/shm").dev === lstatSync(tree.root).dev) return;
    const kept = mkdtempSync("/dev/shm/dv-");
    const backup = new LocalTree(join(kept, "backup"));
    writeFileSync(join(kept, "victim"), "precious");
    symlinkSync(join(kept, "victim"), join(kept, "backup", stagingName(backup.leaseOf("a"), "1")));
    const removal = tree.removal("a", tree.write("a", "content"), "1");
    removal.take(trusted);
    await expect(removal.finish(new LocalBackup(backup, ""), false)).rejects.toThrow(/move a to/);
    expect(readFileSync(join(kept, "victim"), "utf8")).toBe("precious");
    expect(readdirSync(tree.root)).toEqual(["a"]);
    backup.close();
    rmSync(kept, { recursive: true });
  });

  it("puts back what a predecessor had taken wrongly when it died", ({ tree }) => {
    const version = tree.write("a", "old");
    const dead = tree.removal("a", version, "1");
    expect(() =>
      dead.take(() => {
        tree.write("a", "someone else's");
        // The predecessor dies between taking the file and checking it.
        const staged = join(tree.root, readdirSync(tree.root).find((name) => name !== "a") as string);
        renameSync(join(tree.root, "a"), join(staged, "a"));
        throw new Error("killed");
      }),
    ).toThrow(/killed/);
    tree.removal("a", version, "2").adopt(["1"]);
    expect(readFileSync(join(tree.root, "a"), "utf8")).toBe("someone else's");
    expect(readdirSync(tree.root)).toEqual(["a"]);
    expect(() => tree.removal("a", version, "3").take(trusted)).toThrow(/changed since/);
  });

  it("puts back even a directory that replaced the file", ({ tree }) => {
    const version = tree.write("a", "old");
    expect(() =>
      tree.removal("a", version, "1").take(() => {
        rmSync(join(tree.root, "a"));
        tree.write("a/b", "new");
      }),
    ).toThrow(/changed since/);
    expect(readFileSync(join(tree.root, "a/b"), "utf8")).toBe("new");
    expect(readdirSync(tree.root)).toEqual(["a"]);
  });

  it("finishes what a predecessor had taken when it died", async ({ tree }) => {
    const version = tree.write("d/a", "old");
    tree.removal("d/a", version, "1").take(trusted);
    const successor = tree.removal("d/a", version, "2");
    successor.adopt(["1"]);
    expect(successor.take(trusted)).toBe(true);
    const kept = mkdtempSync("/tmp/dv-");
    const backup = new LocalTree(kept);
    await successor.finish(new LocalBackup(backup, ""), false);
    successor.prune();
    backup.close();
    expect(readFileSync(join(kept, "d/a"), "utf8")).toBe("old");
    expect(readdirSync(tree.root)).toEqual([]);
    rmSync(kept, { recursive: true });
  });
});
