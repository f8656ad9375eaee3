import { linkSync, mkdtempSync, readdirSync, readFileSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { LocalTree } from "@drover/shared/storage/local/tree";
import { LocalBackup } from "@drover/worker/destinations/local/backup";
import { LocalRemoval } from "@drover/worker/destinations/local/removal";
import { test as base, describe, expect } from "vitest";

interface Ground {
  at(name: string): string;
  backup: LocalBackup;
  /** Keeps the file `a` under a fence. */
  keep(fence: string, check?: () => void): Promise<string | undefined>;
  removal(version: string): LocalRemoval;
}

const it = base.extend<{ ground: Ground }>({
  // biome-ignore lint/correctness/noEmptyPattern: vitest reads what a fixture needs from the pattern
  ground: async ({}, use) => {
    const path = mkdtempSync("/tmp/dv-");
    const [tree, kept] = [new LocalTree(join(path, "out")), new LocalTree(join(path, "kept"))];
    const backup = new LocalBackup(kept, "");
    const removals: LocalRemoval[] = [];
    await use({
      at: (name) => join(path, name),
      backup,
      async keep(fence, check = () => {}) {
        const directory = tree.directoryOf("a");
        try {
          return await backup.keep({ directory, name: "a", fence, durable: true }, check);
        } finally {
          tree.release(directory);
        }
      },
      removal(version) {
        const removal = new LocalRemoval(tree, "a", version, "lease", "9");
        removals.push(removal);
        return removal;
      },
    });
    for (const each of removals) each.close();
    kept.close();
    tree.close();
    rmSync(path, { recursive: true });
  },
});

describe("keeping a file that is about to be overwritten", () => {
  it("leaves it in its place, and replaces what was kept before", async ({ ground: { at, keep } }) => {
    writeFileSync(at("out/a"), "1");
    writeFileSync(at("kept/a"), "0");
    expect(await keep("1")).toMatch(/^1:/);
    expect(await keep("2")).toMatch(/^1:/); // a predecessor has kept it already
    expect([readFileSync(at("out/a"), "utf8"), readFileSync(at("kept/a"), "utf8")]).toEqual(["1", "1"]);
    expect(readdirSync(at("kept"))).toEqual(["a"]);
  });

  it("does nothing where there is none", async ({ ground: { at, keep } }) => {
    expect(await keep("1")).toBeUndefined();
    expect(readdirSync(at("kept"))).toEqual([]);
  });

  it("keeps nothing once the lease is lost", async ({ ground: { at, keep } }) => {
    writeFileSync(at("out/a"), "of the successor");
    writeFileSync(at("kept/a"), "1");
    const lost = () => {
      throw new Error("the lease is lost");
    };
    await expect(keep("1", lost)).rejects.toThrow(/the lease is lost/);
    expect(readFileSync(at("kept/a"), "utf8")).toBe("1");
    expect(readdirSync(at("kept"))).toEqual(["a"]);
  });

  it("by a worker that sleeps replaces nothing that was kept after its successor came", async ({
    ground: { at, keep, backup },
  }) => {
    writeFileSync(at("out/a"), "1");
    const successor = () => {
      backup.fenceOff("a", ["1"]);
      writeFileSync(at("kept/a"), "kept by a later run");
    };
    await expect(keep("1", successor)).rejects.toMatchObject({ class: "locked" });
    expect(readFileSync(at("kept/a"), "utf8")).toBe("kept by a later run");
    expect(readdirSync(at("kept"))).toEqual(["a"]);
  });

  it("lets it be removed afterwards, where it was kept and never overwritten", async ({
    ground: { at, keep, backup, removal },
  }) => {
    writeFileSync(at("out/a"), "1");
    const version = (await keep("1")) as string;
    const removing = removal(version);
    expect(removing.take(() => {})).toBe(true);
    await removing.finish(backup, true);
    expect([readdirSync(at("out")), readdirSync(at("kept"))]).toEqual([[], ["a"]]);
  });

  it("keeps what somebody else has put there meanwhile, and says which it kept", async ({
    ground: { at, keep },
  }) => {
    writeFileSync(at("out/a"), "1");
    const replaced = () => {
      writeFileSync(at("out/new"), "another");
      renameSync(at("out/new"), at("out/a"));
    };
    // The caller holds the stamp against what it is going to overwrite.
    expect(await keep("1", replaced)).toMatch(/^1:/);
    expect(readFileSync(at("kept/a"), "utf8")).toBe("1");
    linkSync(at("out/a"), at("out/b")); // a second name of its own does not matter
    expect(await keep("2")).toMatch(/^7:/);
    expect(readFileSync(at("kept/a"), "utf8")).toBe("another");
  });
});
