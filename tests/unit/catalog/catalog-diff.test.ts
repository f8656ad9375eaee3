import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { csvHead, csvLines } from "@drover/producer/catalog/csv";
import { type Change, diff } from "@drover/producer/catalog/diff";
import { type Row, toBytes } from "@drover/producer/catalog/rows";
import { test as base, describe, expect } from "vitest";
import { Rng } from "../../chaos/rng.js";

const it = base.extend<{ dir: string }>({
  // biome-ignore lint/correctness/noEmptyPattern: vitest reads what a fixture needs from the pattern
  dir: async ({}, use) => {
    const dir = mkdtempSync("/tmp/dv-");
    await use(dir);
    rmSync(dir, { recursive: true });
  },
});

const sum = (content: number) => content.toString(16).padStart(64, "0");

function row(path: string, content: number, over: Partial<Row> = {}): Row {
  return {
    path,
    sizeBytes: content,
    sha256: sum(content),
    mode: "0644",
    sourceId: "",
    version: "",
    stamp: "",
    ...over,
  };
}

/** Writes rows sorted as in an export, or in the given order. */
function write(dir: string, name: string, rows: Row[], sorted = true): string {
  const path = join(dir, name);
  const ordered = sorted ? rows.toSorted((a, b) => (a.path < b.path ? -1 : 1)) : rows;
  writeFileSync(path, `${csvHead()}${csvLines(ordered)}`, "latin1");
  return path;
}

async function changesOf(oldFile: string, newFile: string, memoryBytes?: number): Promise<string[]> {
  const found: string[] = [];
  for await (const change of diff(oldFile, newFile, memoryBytes)) found.push(text(change));
  return found;
}

function text(change: Change): string {
  const from = change.change === "renamed" ? `${change.from} -> ` : "";
  return `${change.change} ${from}${change.path}`;
}

describe("the differences between two exports", () => {
  const was = [row("a", 1), row("b", 2), row("c", 3), row("d", 4), row("e", 0), row("same", 9)];
  const is = [
    row("a", 1, { mode: "0600" }),
    row("b", 20, { mode: "0600" }),
    row("new", 5),
    row("to/c", 3, { mode: "0640" }),
    row("f", 0),
    row("same", 9),
  ];

  it("do not depend on a byte order mark, whatever the names", async ({ dir }) => {
    const names = ["ü", "Ā", "🐑", "a"].map((name, at) => row(toBytes(name), at + 1));
    const plain = write(dir, "plain.csv", names);
    const marked = join(dir, "marked.csv");
    writeFileSync(marked, Buffer.concat([Buffer.from("\ufeff"), readFileSync(plain)]));
    expect(await changesOf(plain, marked)).toEqual([]);
    expect(await changesOf(marked, plain)).toEqual([]);
  });

  it("are ordered by path", async ({ dir }) => {
    expect(await changesOf(write(dir, "old.csv", was), write(dir, "new.csv", is))).toEqual([
      "permissions a",
      "changed b",
      "permissions b",
      "removed d",
      "removed e",
      "added f",
      "added new",
      "permissions to/c",
      "renamed c -> to/c",
    ]);
  });

  it("are the same if neither file is sorted", async ({ dir }) => {
    const sorted = await changesOf(write(dir, "old.csv", was), write(dir, "new.csv", is));
    const old = write(dir, "old2.csv", was.toReversed(), false);
    const now = write(dir, "new2.csv", [...is.slice(2), ...is.slice(0, 2)], false);
    expect(await changesOf(old, now)).toEqual(sorted);
  });

  it("are empty for identical files, and contain everything for an empty one", async ({ dir }) => {
    const file = write(dir, "old.csv", was);
    expect(await changesOf(file, file)).toEqual([]);
    const empty = write(dir, "empty.csv", []);
    expect(await changesOf(empty, file)).toEqual(was.map(({ path }) => `added ${path}`));
    expect(await changesOf(file, empty)).toEqual(was.map(({ path }) => `removed ${path}`));
  });

  it("have any name, byte for byte", async ({ dir }) => {
    const names = ["=1+1", "-rf", "'q", "a\nb", "c\rd", "e,f", 'g"h', " i ", "\u00ff\u00fe", "x\ty", "j\r"];
    const file = write(
      dir,
      "new.csv",
      names.map((name, at) => row(name, at + 1)),
    );
    const paths: string[] = [];
    for await (const change of diff(write(dir, "old.csv", []), file)) paths.push(change.path);
    expect(paths).toEqual(names.toSorted());
  });

  it("do not report empty files and files without a checksum as renamed", async ({ dir }) => {
    const old = write(dir, "old.csv", [row("a", 0), row("b", 7, { sha256: "" })]);
    const now = write(dir, "new.csv", [row("c", 0), row("d", 7, { sha256: "" })]);
    expect(await changesOf(old, now)).toEqual(["removed a", "removed b", "added c", "added d"]);
  });

  it("of files without a checksum are decided by their versions", async ({ dir }) => {
    const unknown = { sha256: "" };
    const old = write(dir, "old.csv", [
      row("a", 7, { ...unknown, version: "1" }),
      row("b", 7, unknown),
      row("c", 7, unknown),
    ]);
    const now = write(dir, "new.csv", [
      row("a", 7, { ...unknown, version: "2" }),
      row("b", 7),
      row("c", 8, unknown),
    ]);
    expect(await changesOf(old, now)).toEqual(["changed a", "changed c"]);
    const foreign = join(dir, "foreign.csv");
    writeFileSync(foreign, "path,size,sha256\na,7,\nb,7,\nc,7,\n");
    expect(await changesOf(foreign, now)).toEqual(["changed c"]);
  });

  it("pair as many renamed files as there are with the same bytes", async ({ dir }) => {
    const old = write(dir, "old.csv", [row("a", 1), row("b", 1), row("c", 1)]);
    const now = write(dir, "new.csv", [row("x", 1), row("y", 1)]);
    expect(await changesOf(old, now)).toEqual(["removed c", "renamed a -> x", "renamed b -> y"]);
  });

  it("need only the columns path, size and sha256, in any order and beside others", async ({ dir }) => {
    const old = join(dir, "old.csv");
    writeFileSync(old, `\ufeffsha256,owner,path,size\r\n${sum(1)},root,a,1\r\n`);
    expect(await changesOf(old, write(dir, "new.csv", [row("a", 2)]))).toEqual(["changed a"]);
  });

  it.for<[string, string, string | RegExp]>([
    ["nothing at all", "", "is empty"],
    ["no names of columns", "a,1,2\n", "line 1: no column path, size, sha256"],
    ["a column twice", "path,size,sha256,path\n", "line 1: two columns are called path"],
    ["a short line", "path,size,sha256\na,1,\nb,1\n", "line 3: Invalid Record Length"],
    ["an open quote", 'path,size,sha256\n"a,1,\n', "Quote Not Closed"],
    ["a quote that swallows the rest", `path,size,sha256\n"a${"x".repeat(2 << 20)}`, "Max Record Size"],
    ["what is no text", `path,size,sha256\n${"\x00".repeat(99)}"\n`, /^[^,]*, line 2: .* on field 0$/],
    ["a size that is none", "path,size,sha256\na,-1,\n", "line 2: size must be"],
    ["a checksum that is none", "path,size,sha256\na,1,abc\n", "line 2: sha256 must be"],
    ["a mode that is none", "path,size,sha256,mode\na,1,,rw-r--r--\n", "line 2: mode must be"],
    ["no path", "path,size,sha256\n,1,\n", "line 2: path must be"],
    ["a path twice", "path,size,sha256\na,1,\na,1,\n", "line 3: this path comes twice"],
    ["a path twice, apart", "path,size,sha256\nb,1,\na,1,\nb,1,\n", "line 4: this path comes twice"],
  ])("are refused for a file with %s", async ([, content, message], { dir }) => {
    const bad = join(dir, "bad.csv");
    writeFileSync(bad, content);
    const good = write(dir, "good.csv", [row("a", 1)]);
    await expect(changesOf(good, bad)).rejects.toThrow(message);
    await expect(changesOf(bad, good)).rejects.toMatchObject({ name: "SettingsError" });
  });
});

/** The same by a naive implementation that holds everything in memory. */
function naive(was: Row[], is: Row[]): string[] {
  const found: string[] = [];
  const old = new Map(was.map((each) => [each.path, each]));
  const now = new Map(is.map((each) => [each.path, each]));
  const otherMode = (a: Row, b: Row) => a.mode !== "" && b.mode !== "" && a.mode !== b.mode;
  for (const [path, each] of now) {
    const before = old.get(path);
    if (!before) continue;
    const known = before.sha256 !== "" && each.sha256 !== "";
    const versions = before.version !== "" && each.version !== "";
    const same = known ? before.sha256 === each.sha256 : !versions || before.version === each.version;
    if (before.sizeBytes !== each.sizeBytes || !same) found.push(`changed ${path}`);
    if (otherMode(before, each)) found.push(`permissions ${path}`);
  }
  const byPath = (a: Row, b: Row) => (a.path < b.path ? -1 : 1);
  const removed = was.filter(({ path }) => !now.has(path)).sort(byPath);
  for (const each of is.filter(({ path }) => !old.has(path)).sort(byPath)) {
    const at = removed.findIndex(
      (other) => other.sha256 === each.sha256 && each.sha256 !== "" && each.sizeBytes > 0,
    );
    if (at < 0) {
      found.push(`added ${each.path}`);
      continue;
    }
    const [from] = removed.splice(at, 1) as [Row];
    found.push(`renamed ${from.path} -> ${each.path}`);
    if (otherMode(from, each)) found.push(`permissions ${each.path}`);
  }
  for (const { path } of removed) found.push(`removed ${path}`);
  return found.sort();
}

describe("the differences between two random exports", () => {
  it.for(Array.from({ length: 40 }, (_, seed) => seed))(
    "equal those of a naive implementation (seed %d)",
    async (seed, { dir }) => {
      const rng = new Rng(seed);
      const any = <T>(...of: T[]) => of[rng.int(0, of.length - 1)] as T;
      const rows = () => {
        const paths = new Set(
          Array.from(
            { length: rng.int(0, 60) },
            () => `${any("", "a/", "=b/", "\u00e9/")}${any("x", "y\n", "'")}${rng.int(0, 20)}`,
          ),
        );
        return [...paths].map((path) => {
          const content = rng.int(0, 8);
          const hashed = rng.chance(0.8);
          return row(path, content, {
            sha256: hashed ? sum(content) : "",
            mode: any("0644", "0600", ""),
            version: hashed ? "" : any("v1", "v2"),
          });
        });
      };
      const [was, is] = [rows(), rows()];
      const old = write(dir, "old.csv", was, seed % 2 === 0);
      const now = write(dir, "new.csv", is, seed % 3 === 0);
      // Mostly with so little memory that everything goes through temporary files.
      const found = await changesOf(old, now, seed % 4 === 0 ? undefined : 200);
      expect(found.toSorted()).toEqual(naive(was, is));
      const paths = found.map((each) => each.replace(/^\w+ (?:.*? -> )?/s, ""));
      expect(paths).toEqual(paths.toSorted());
    },
  );
});
