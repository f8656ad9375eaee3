import { chmodSync, mkdirSync, mkdtempSync, readdirSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { LocalLister } from "@drover/shared/storage/local/lister";
import { sortedNames } from "@drover/shared/storage/local/sorted-names";
import { type Found, type WalkOptions, walk } from "@drover/shared/storage/local/walk";
import { test as base, describe, expect } from "vitest";

const it = base.extend<{ root: string; names: string[] }>({
  // biome-ignore lint/correctness/noEmptyPattern: vitest reads what a fixture needs from the pattern
  root: async ({}, use) => {
    const root = mkdtempSync("/tmp/dv-");
    await use(root);
    rmSync(root, { recursive: true });
  },
  names: async ({ root }, use) => {
    const names = [
      "a-b",
      "a.b/c",
      "a/b",
      "a/b-c",
      "a/b.c/d",
      "a0",
      "Z",
      "é/ü",
      "文/字",
      "🐑/x",
      "\uff5e",
      "d/e/f/g",
    ];
    for (const name of names) write(root, name);
    await use(names.toSorted((a, b) => Buffer.compare(Buffer.from(a), Buffer.from(b))));
  },
});

function write(root: string, name: string): void {
  mkdirSync(dirname(join(root, name)), { recursive: true });
  writeFileSync(join(root, name), name);
}

async function found(root: string, options: Partial<WalkOptions> = {}): Promise<Found[]> {
  const all: Found[] = [];
  for await (const each of walk(root, { wanted: () => true, ...options })) all.push(each);
  return all;
}

async function files(root: string, options: Partial<WalkOptions> = {}): Promise<string[]> {
  return (await found(root, options)).flatMap((each) => (each.is === "file" ? [each.relative] : []));
}

describe("a walk", () => {
  it("yields files in the byte order of their paths, like a listing of S3", async ({ root, names }) => {
    expect(await files(root)).toEqual(names);
  });

  it("continues after any of them without opening finished directories", async ({ root, names }) => {
    for (const [at, after] of names.entries())
      expect(await files(root, { after }), after).toEqual(names.slice(at + 1));
    chmodSync(join(root, "a"), 0);
    try {
      const rest = await found(root, { after: "a0" });
      expect(rest.filter((each) => each.is === "failed")).toEqual([]);
      expect(rest).toHaveLength(names.length - names.indexOf("a0") - 1);
    } finally {
      chmodSync(join(root, "a"), 0o755);
    }
  });

  it("reports its progress while nothing is wanted", async ({ root }) => {
    for (let n = 1_000; n < 3_500; n++) write(root, `d/${n}`);
    const passed = (await found(root, { wanted: () => false })) as Extract<Found, { is: "passed" }>[];
    expect(passed.map((each) => each.relative)).toEqual(["d/1999", "d/2999"]);
  });

  it("leaves out Drover's own staging files and directories", async ({ root }) => {
    write(root, ".drover-0123456789abcdef");
    write(root, ".drover-0123456789abcdeF/f");
    write(root, "a");
    expect(await files(root)).toEqual(["a"]);
    expect(await found(root, { names: true })).toEqual([{ is: "named", relative: "a", kind: "f" }]);
  });

  it("says so of each that another program may have named like that", async ({ root }) => {
    write(root, "a/.drover-0123456789abcdef");
    write(root, ".drover-0123456789abcdeF/f");
    write(root, "b");
    const skipped = (all: Found[]) => all.flatMap((each) => (each.is === "skipped" ? [each] : []));
    const all = skipped(await found(root));
    expect(all.map(({ relative }) => relative)).toEqual([
      ".drover-0123456789abcdeF",
      "a/.drover-0123456789abcdef",
    ]);
    expect(all[0]?.why).toBe("such names are Drover's own staging files");
    expect(
      skipped(await found(root, { wanted: (name) => name === "b" })).map((each) => each.relative),
    ).toEqual([".drover-0123456789abcdeF"]);
    expect(skipped(await found(root, { after: "a/.drover-0123456789abcdef" }))).toEqual([]);
    expect(skipped(await found(root, { isDestination: true }))).toEqual([]);
  });

  it("says nothing of the unfinished files of a run whose destination it walks", async ({ root }) => {
    write(root, "in/.drover-0123456789abcdef");
    const skipped = async (directory: string, destination: string) => {
      const all: string[] = [];
      const lister = new LocalLister(destination);
      for await (const each of lister.list(directory, { wanted: () => true, after: undefined }))
        if (each.is === "skipped") all.push(each.location);
      return all;
    };
    expect(await skipped(root, root)).toEqual([]);
    expect(await skipped(join(root, "in"), root)).toEqual([]);
    expect(await skipped(root, join(root, "in"))).toEqual([join(root, "in")]); // the destination itself
    expect(await skipped(root, "/nowhere")).toEqual([join(root, "in/.drover-0123456789abcdef")]);
  });

  it("opens nothing and follows no links if only names are requested", async ({ root }) => {
    write(root, "d/a");
    symlinkSync("d", join(root, "link"));
    symlinkSync("nowhere", join(root, "broken"));
    expect(await found(root, { names: true })).toEqual([
      { is: "named", relative: "broken", kind: "l" },
      { is: "named", relative: "d/a", kind: "f" },
      { is: "named", relative: "link", kind: "l" },
    ]);
  });

  it("reports a directory that cannot be listed", async ({ root }) => {
    const all = await found(join(root, "nowhere"));
    expect(all).toEqual([
      expect.objectContaining({ is: "failed", error: expect.objectContaining({ class: "not-found" }) }),
    ]);
  });
});

describe("names that do not fit into memory", () => {
  it.for([1, 2, 7, 100])("are sorted on disk, %i at a time", async (most, { root, names }) => {
    const tops = [...new Set(names.map((name) => name.split("/")[0] as string))];
    const errors: unknown[] = [];
    const sorted: string[] = [];
    for await (const { name, kind } of sortedNames(root, { onError: (error) => errors.push(error) }, most))
      sorted.push(kind === "d" ? `${name}/` : name);
    expect(errors).toEqual([]);
    expect(sorted).toEqual(
      tops
        .map((top) => (names.includes(top) ? top : `${top}/`))
        .sort((a, b) => Buffer.compare(Buffer.from(a), Buffer.from(b))),
    );
  });

  it("are sorted even if there are many of maximal length", async ({ root }) => {
    const wanted = Array.from({ length: 3_000 }, (_, n) => `${(n * 7919) % 3_000}-${"é".repeat(n % 100)}`);
    for (const name of wanted) write(root, name);
    const sorted: string[] = [];
    for await (const { name } of sortedNames(root, { onError: () => {} }, 250)) sorted.push(name);
    expect(sorted).toEqual(readdirSync(root).sort((a, b) => Buffer.compare(Buffer.from(a), Buffer.from(b))));
  });
});
