import { relative } from "node:path";
import { describe, expect } from "vitest";
import { file } from "../../harness/behaviours.js";
import { filesBelow } from "../../harness/drover.js";
import { it } from "../../harness/fixtures.js";

const FILES = [
  ".dot/f.csv",
  ".hidden.csv",
  "a.csv",
  "b.txt",
  "sub/c.csv",
  "sub/deep/d.csv",
  "sub/deep/e.json",
  "we[i]rd.csv",
];
const CSV = FILES.filter((name) => name.endsWith(".csv"));

describe("the files of a directory are selected", () => {
  const cases: { options: string[]; expected: string[] }[] = [
    { options: [], expected: FILES },
    { options: ["--pattern", "*"], expected: FILES },
    { options: ["--pattern", "**"], expected: FILES },
    { options: ["--pattern", "*.csv"], expected: CSV },
    { options: ["--pattern", "**/*.csv"], expected: CSV },
    { options: ["--pattern", "sub/*.csv"], expected: ["sub/c.csv"] },
    { options: ["--pattern", "sub/**"], expected: ["sub/c.csv", "sub/deep/d.csv", "sub/deep/e.json"] },
    { options: ["--pattern", "*/*.csv"], expected: [".dot/f.csv", "sub/c.csv", "sub/deep/d.csv"] },
    { options: ["--pattern", "/*/*.csv"], expected: [".dot/f.csv", "sub/c.csv"] },
    { options: ["--pattern", "**/deep/*"], expected: ["sub/deep/d.csv", "sub/deep/e.json"] },
    { options: ["--pattern", "?.csv"], expected: [".dot/f.csv", "a.csv", "sub/c.csv", "sub/deep/d.csv"] },
    { options: ["--pattern", "{a,b}.*"], expected: ["a.csv", "b.txt"] },
    { options: ["--pattern", "[ac].csv"], expected: ["a.csv", "sub/c.csv"] },
    { options: ["--pattern", "[!a].csv"], expected: [".dot/f.csv", "sub/c.csv", "sub/deep/d.csv"] },
    { options: ["--pattern", ".*"], expected: [".hidden.csv"] },
    { options: ["--pattern", "*.json", "--pattern", "*.txt"], expected: ["b.txt", "sub/deep/e.json"] },
    { options: ["--pattern", "!*.csv"], expected: ["b.txt", "sub/deep/e.json"] },
    {
      options: ["--pattern", "*.csv", "--pattern", "!sub/**"],
      expected: CSV.filter((name) => !name.startsWith("sub/")),
    },
    { options: ["--pattern", "*.CSV"], expected: [] },
    { options: ["--pattern", "csv"], expected: [] },
    { options: ["--exclude", "*.csv"], expected: ["b.txt", "sub/deep/e.json"] },
    { options: ["--include", "*.json", "--exclude", "*"], expected: ["sub/deep/e.json"] },
    { options: ["--include", "*.csv"], expected: CSV },
    {
      options: ["--include", "a.csv", "--exclude", "*.csv", "--include", "*.txt"],
      expected: ["a.csv", "b.txt"],
    },
    { options: ["--exclude", "sub/**", "--include", "*.json", "--include", "*.txt"], expected: ["b.txt"] },
    {
      options: ["--pattern", "*.csv", "--exclude", "sub/deep/**"],
      expected: CSV.filter((n) => !n.includes("deep")),
    },
  ];
  it.for(cases)("by $options", async ({ options, expected }, { box, work }) => {
    for (const name of FILES) work.write({ [`in/${name}`]: name });
    const { code, stderr } = await box.run(["sync", work.at("in"), ...options, ...work.into]);
    expect(code, stderr).toBe(0);
    expect(filesBelow(work.out).map((path) => relative(work.out, path))).toEqual(expected);
    if (expected.length === 0) expect(stderr).not.toBe("");
  });
});

it("patterns apply to directories: a file or URL given by name is always copied", async ({
  box,
  origin,
  work,
}) => {
  work.write({ "x.txt": "x", "in/y.txt": "y" });
  const sources = [work.at("x.txt"), origin.route("/z.txt", file("z")), work.at("in")];
  const { items } = await box.sync([...sources, "--pattern", "*.csv", ...work.into]);
  expect(items.map((item) => relative(work.out, item.destination)).sort()).toEqual(["x.txt", "z.txt"]);
});
