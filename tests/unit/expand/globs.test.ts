import { readFileSync } from "node:fs";
import { join } from "node:path";
import { checkPatterns } from "@drover/producer/expand/check-patterns";
import { compileGlob } from "@drover/producer/expand/glob";
import { wantedBy } from "@drover/producer/expand/wanted";
import { SettingsError } from "@drover/shared/errors";
import { describe, expect, test } from "vitest";
import { REPOSITORY } from "../../harness/drover.js";

const PATHS = [
  "a/b.txt",
  "b.txt",
  "deep/er/root.csv",
  "file.???",
  "file.012",
  "file.JPG",
  "file.abc",
  "file.jpg",
  "file.png",
  "logs/a.log",
  "logs/old/b.log",
  "mylogs/c.log",
  "root.csv",
  "sub/a/b.txt",
  "sub/file.jpg",
  "sub/logs",
  "sub/x/logs/d.log",
  "x[1].txt",
  "x{1}.txt",
  ".hidden/.csv",
];

/** What `rclone lsf -R --files-only --include PATTERN` lists, from the rules of https://rclone.org/filtering. */
describe("a pattern takes what rclone's documentation says", () => {
  test.for<[string, string[]]>([
    // "If it does not start with `/` then it is matched starting at the end of the path, but only a complete element."
    ["file.jpg", ["file.jpg", "sub/file.jpg"]],
    ["/file.jpg", ["file.jpg"]],
    ["ile.jpg", []],
    ["*.jpg", ["file.jpg", "sub/file.jpg"]],
    ["/*.jpg", ["file.jpg"]],
    ["*.{jpg,png}", ["file.jpg", "file.png", "sub/file.jpg"]],
    ["a/b.txt", ["a/b.txt", "sub/a/b.txt"]],
    ["/a/b.txt", ["a/b.txt"]],
    ["*/b.txt", ["a/b.txt", "sub/a/b.txt"]],
    ["/*/b.txt", ["a/b.txt"]],
    // "dir/** matches /dir/anyfile and /subdir/dir/subsubdir/anyfile"
    ["logs/**", ["logs/a.log", "logs/old/b.log", "sub/x/logs/d.log"]],
    ["/logs/**", ["logs/a.log", "logs/old/b.log"]],
    ["logs/*", ["logs/a.log", "sub/x/logs/d.log"]],
    // A closing slash is a directory; since rclone 1.54 `--exclude dir/` is `--exclude dir/**`.
    ["logs/", ["logs/a.log", "logs/old/b.log", "sub/x/logs/d.log"]],
    ["/logs/", ["logs/a.log", "logs/old/b.log"]],
    ["logs", ["sub/logs"]],
    ["/logs", []],
    ["sub**.log", ["sub/x/logs/d.log"]],
    ["*.?[np]g", ["file.jpg", "file.png", "sub/file.jpg"]],
    ["*.[0-9]1[!3-9]", ["file.012"]],
    ["*.[^a-z?][0-9]?", ["file.012"]],
    ["*.\\?\\?\\?", ["file.???"]],
    ["*.\\d\\d\\d", ["file.012"]],
    ["*.[\\d][[:digit:]][\\-2]", ["file.012"]],
    [
      "*.\\D\\D\\D",
      ["file.???", "file.JPG", "file.abc", "file.jpg", "file.png", "sub/file.jpg"]
        .concat("b.txt", "a/b.txt", "sub/a/b.txt", "x[1].txt", "x{1}.txt")
        .concat("root.csv", "deep/er/root.csv", ".hidden/.csv")
        .concat("logs/a.log", "logs/old/b.log", "mylogs/c.log", "sub/x/logs/d.log"),
    ],
    ["*.[[:upper:]]*", ["file.JPG"]],
    ["*\\[1\\]*", ["x[1].txt"]],
    ["x\\{1\\}.txt", ["x{1}.txt"]],
    ["{logs,a}/*", ["a/b.txt", "logs/a.log", "sub/a/b.txt", "sub/x/logs/d.log"]],
    ["{a/b,root}.{txt,csv}", ["a/b.txt", "deep/er/root.csv", "root.csv", "sub/a/b.txt"]],
    ["file.{j{p,P},JP}{g,G}", ["file.JPG", "file.jpg", "sub/file.jpg"]],
    [".csv", [".hidden/.csv"]],
    ["/**", PATHS],
    ["**", PATHS],
    ["*", PATHS],
  ])("%s", ([pattern, expected]) => {
    expect(PATHS.filter((path) => compileGlob(pattern).test(path))).toEqual([...expected].sort(byPath));
  });

  test.for<[string, string[]]>([
    ["**/*.csv", ["root.csv", "deep/er/root.csv", ".hidden/.csv"]],
    ["/**/*.csv", ["root.csv", "deep/er/root.csv", ".hidden/.csv"]],
    ["**/logs/", ["logs/a.log", "logs/old/b.log", "sub/x/logs/d.log"]],
    ["/sub/**/logs/**", ["sub/x/logs/d.log"]],
    ["/logs/**/*.log", ["logs/a.log", "logs/old/b.log"]],
    ["/sub**/file.jpg", ["sub/file.jpg"]],
    ["/{**/b,root}.*", ["a/b.txt", "b.txt", "logs/old/b.log", "root.csv", "sub/a/b.txt"]],
  ])("but two stars and a slash match no directory, too, as for gitignore: %s", ([pattern, expected]) => {
    expect(PATHS.filter((path) => compileGlob(pattern).test(path))).toEqual([...expected].sort(byPath));
  });

  const byPath = (one: string, other: string) => PATHS.indexOf(one) - PATHS.indexOf(other);

  test("whatever the characters of a name: literally, they match themselves alone", () => {
    let seed = 1;
    const random = (below: number) => {
      seed = (seed * 48_271) % 2_147_483_647;
      return seed % below;
    };
    const characters = [..."ab01 .+()|^$!-~#&@=,:;'\"\t\n\u2028ü文😀[]{}*?\\"];
    for (let round = 0; round < 2_000; round++) {
      const name = Array.from({ length: 1 + random(6) }, () => characters[random(characters.length)]).join(
        "",
      );
      const escaped = name.replace(/[[\]{}*?\\]/g, "\\$&");
      expect(compileGlob(escaped).test(name), escaped).toBe(true);
      expect(compileGlob(`/${escaped}`).test(`x/${name}`), escaped).toBe(false);
      expect(compileGlob(escaped).test(`x/${name}`), escaped).toBe(true);
      expect(compileGlob(`${escaped}/`).test(`x/${name}/y/z`), escaped).toBe(true);
      expect(compileGlob(escaped).test(`${name}x`), escaped).toBe(false);
      expect(compileGlob(escaped).test(`x${name}`), escaped).toBe(false);
      expect(compileGlob(name.replace(/./gsu, "?")).test(name), name).toBe(true);
    }
  });

  test("no wildcard but ** matches a slash", () => {
    for (const pattern of ["a?b", "a*b", "a[!x]b", "a[^x]b", "a[/]b", "a[+-9]b", "a\\Db", "a[\\W]b"])
      expect([pattern, compileGlob(pattern).test("a/b")]).toEqual([pattern, false]);
    expect(compileGlob("a**b").test("a/b")).toBe(true);
  });
});

describe("a pattern that cannot be parsed is refused", () => {
  test.for([
    ["ab[c", "["],
    ["ab]c", "]"],
    ["[]", "empty"],
    ["[!]x", "empty"],
    ["[z-a]", "Range"],
    ["[a--b]", "Range"],
    ["[[:nope:]]", "nope"],
    ["ab{c", "{"],
    ["ab}c", "}"],
    ["ab{}}cd", "}"],
    ["{a,{b}", "{"],
    ["***", "stars"],
    ["a***b", "stars"],
    ["{{a.*}}", "regular expressions"],
    ["a\\", "\\"],
    ["\\q", "\\q"],
    ["", "empty"],
    ["/", "empty"],
    ["//", "empty"],
  ] as const)("%s", ([pattern, says]) => {
    const check = () => checkPatterns({ patterns: [pattern], filters: [] });
    expect(check).toThrow(SettingsError);
    expect(check).toThrow(says);
    expect(check).not.toThrow("(?:");
    expect(() => checkPatterns({ patterns: [], filters: [`- ${pattern}`] })).toThrow(SettingsError);
  });
});

describe("a rule that can never match is refused", () => {
  test.for<[string[], string]>([
    [["- *", "+ *.csv"], '--include "*.csv" can never match.*: put --include "*.csv" first'],
    [["- a", "- **", "+ *.csv"], 'since --exclude "\\*\\*" before it'],
    [["+ /**", "- *.tmp"], '--exclude "\\*.tmp" can never match.*: put --exclude "\\*.tmp" first'],
    [["+ *", "- *"], "can never match"],
    [["- logs/", "+ b", "+ logs/**"], 'since --exclude "logs/" before it matches the same'],
    [["+ a", "- a"], "leave one of them out"],
  ])("%j", ([filters, says]) => {
    const check = () => checkPatterns({ patterns: ["*"], filters });
    expect(check).toThrow(SettingsError);
    expect(check).toThrow(new RegExp(says.replaceAll('"*.', '"\\*.')));
  });

  test.for([[["!*"]], [["*.csv", "!**"]], [["a", "b", "!a"]], [["logs/**", "!logs/"]]])(
    "%j",
    ([patterns = []]) => {
      expect(() => checkPatterns({ patterns, filters: [] })).toThrow(SettingsError);
    },
  );

  test.for([
    [["+ *.csv", "- *"]],
    [["- /*", "+ *.csv"]],
    [["- *.tmp", "+ a.tmp"]],
    [["+ *", "+ *.csv"]],
    [["- a", "- a"]],
    [["- *a", "+ a"]],
  ])("only where that is certain: %j", ([filters = []]) => {
    expect(() => checkPatterns({ patterns: ["*", "!a"], filters })).not.toThrow();
  });
});

test("a run that began with the old syntax keeps its meaning", () => {
  const paths = ["logs/a", "sub/logs/a", "root.csv", "x/a/b.txt"];
  const old = { patterns: ["*"], filters: ["- logs/**", "- a/b.txt"] };
  expect(paths.filter(wantedBy(old))).toEqual(["sub/logs/a", "root.csv", "x/a/b.txt"]);
  expect(paths.filter(wantedBy({ ...old, patternSyntax: "rclone" }))).toEqual(["root.csv"]);
  expect(paths.filter(wantedBy({ patterns: ["!(root).csv", "+(x|y)/a/*"], filters: [] }))).toEqual([
    "x/a/b.txt",
  ]);
});

test("the table of the documents is true", () => {
  const trees = readFileSync(join(REPOSITORY, "docs/trees.md"), "utf8");
  const rows = /^\| Pattern .*(\n\|.*)+/m.exec(trees)?.[0].split("\n").slice(2) ?? [];
  expect(rows.length).toBeGreaterThan(10);
  for (const row of rows) {
    const [patterns = [], taken = [], left = []] = row
      .split("|")
      .slice(1)
      .map((cell) => [...cell.matchAll(/`([^`]+)`/g)].map(([, span = ""]) => span));
    expect(patterns, row).not.toEqual([]);
    for (const pattern of patterns) {
      const glob = compileGlob(pattern);
      expect(
        [...taken, ...left].filter((path) => glob.test(path)),
        pattern,
      ).toEqual(taken);
    }
  }
});
