import { compilePatterns } from "@drover/producer/expand/patterns";
import { SettingsError } from "@drover/shared/errors";
import { describe, expect, test } from "vitest";

const PATHS = [
  "a.csv",
  "b.txt",
  ".hidden.csv",
  "sub/c.csv",
  "sub/.d.csv",
  "sub/deep/e.csv",
  "sub/deep/f.tar.gz",
  ".git/config",
  "Ünïcode/ä.csv",
];

function matching(patterns: string[], filters: string[] = []): string[] {
  return PATHS.filter(compilePatterns(patterns, filters));
}

describe("--pattern", () => {
  test.for<[string[], string[]]>([
    [["*"], PATHS],
    [[], PATHS],
    [["*.csv"], PATHS.filter((path) => path.endsWith(".csv"))],
    [["?.csv"], ["a.csv", "sub/c.csv", "sub/deep/e.csv", "Ünïcode/ä.csv"]],
    [
      ["*.{txt,gz}", "e.*"],
      ["b.txt", "sub/deep/e.csv", "sub/deep/f.tar.gz"],
    ],
    [["[ab].*"], ["a.csv", "b.txt"]],
    [["[!a].csv"], ["sub/c.csv", "sub/deep/e.csv", "Ünïcode/ä.csv"]],
    [["sub/*.csv"], ["sub/c.csv", "sub/.d.csv"]],
    [["sub/**"], PATHS.filter((path) => path.startsWith("sub/"))],
    [["**/*.csv"], PATHS.filter((path) => path.endsWith(".csv"))],
    [["**/deep/*"], ["sub/deep/e.csv", "sub/deep/f.tar.gz"]],
    [["/a.csv"], ["a.csv"]],
    [["/*.csv"], ["a.csv", ".hidden.csv"]],
    [
      ["*.csv", "!.*"],
      ["a.csv", "sub/c.csv", "sub/deep/e.csv", "Ünïcode/ä.csv"],
    ],
    [
      ["*.csv", "!sub/**"],
      ["a.csv", ".hidden.csv", "Ünïcode/ä.csv"],
    ],
    [["!*.csv"], ["b.txt", "sub/deep/f.tar.gz", ".git/config"]],
    [
      ["!*.csv", "*"],
      ["b.txt", "sub/deep/f.tar.gz", ".git/config"],
    ],
    [["nothing"], []],
  ])("selects the right files: %j", ([patterns, expected]) => {
    expect(matching(patterns)).toEqual(expected);
  });

  test.for(["a\nb", "a\rb", "a\u2028b", "s\nub/x"])("matches a name with a line end, %j", (name) => {
    for (const pattern of ["*", "**", "dir/", "dir/**", "**/*", "dir/**/*"])
      expect(compilePatterns([pattern], [])(`dir/${name}`), pattern).toBe(true);
    expect(compilePatterns([], ["- dir/"])(`dir/${name}`)).toBe(false);
    expect(compilePatterns(["a.csv"], [])("a.csv\n")).toBe(false);
  });

  test("matches whole components only: my/path is not my/path2", () => {
    const wanted = compilePatterns(["my/path/**"], []);
    expect(wanted("my/path/a")).toBe(true);
    expect(wanted("my/path2/a")).toBe(false);
  });

  test.for(["", "/", "!", "[z-a]", "sub/{a,b", "\\"])("refuses %j", (pattern) => {
    expect(() => compilePatterns([pattern], [])).toThrow(SettingsError);
    if (pattern !== "!") expect(() => compilePatterns([], [`- ${pattern}`])).toThrow(SettingsError);
  });
});

describe("a pattern with a line break", () => {
  test.for(["\na", "a\nb", "\ra", "\u2028a", "sub/\u2029"])(
    "matches it like any other character: %j",
    (name) => {
      for (const pattern of ["*", "**", "**/*", "*/*", "?*"])
        expect([pattern, compilePatterns([pattern], [])(name)]).toEqual([
          pattern,
          pattern !== "*/*" || name.includes("/"),
        ]);
    },
  );
});

describe("--include and --exclude", () => {
  test.for<[string[], string[]]>([
    [["- *.csv"], ["b.txt", "sub/deep/f.tar.gz", ".git/config"]],
    [["+ *.txt"], ["b.txt"]],
    [["+ a.*", "- *.csv"], ["a.csv"]],
    [
      ["- a.*", "+ *.csv"],
      [".hidden.csv", "sub/c.csv", "sub/.d.csv", "sub/deep/e.csv", "Ünïcode/ä.csv"],
    ],
    [
      ["+ sub/deep/**", "- sub/**", "+ *"],
      [
        "a.csv",
        "b.txt",
        ".hidden.csv",
        "sub/deep/e.csv",
        "sub/deep/f.tar.gz",
        ".git/config",
        "Ünïcode/ä.csv",
      ],
    ],
  ])("are decided by the first that matches: %j", ([filters, expected]) => {
    expect(matching(["*"], filters)).toEqual(expected);
  });

  test("apply in addition to the patterns", () => {
    expect(matching(["*.csv"], ["- sub/**"])).toEqual(["a.csv", ".hidden.csv", "Ünïcode/ä.csv"]);
    expect(matching(["*.csv", "!a*"], ["+ a*"])).toEqual([]);
  });
});
