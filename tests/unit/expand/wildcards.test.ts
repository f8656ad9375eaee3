import { escapedText, matcherOf, textOf, wildcardsOf } from "@drover/producer/expand/wildcards";
import { describe, expect, it } from "vitest";

const CONTEXT = { directory: "/", bucket: "set" };

/** The prefix that is listed, and the keys that are chosen. */
function chosen(text: string, keys: string[]) {
  const wildcards = wildcardsOf(text, CONTEXT);
  if (!wildcards) return undefined;
  const { wanted, beginning } = matcherOf(wildcards.pattern);
  const tree = wildcards.tree.text.replace("s3://bkt/", "");
  return {
    listed: tree + beginning,
    names: keys.filter((key) => key.startsWith(tree) && wanted(key.slice(tree.length))),
  };
}

describe("wildcards of a source", () => {
  it.each([
    ["s3://bkt/2026/*.gz", "2026/", ["2026/a.gz", "2026/x/y.gz", "2026/.gz"], ["2026/a.gz.txt", "a.gz"]],
    ["s3://bkt/2026/x-*", "2026/x-", ["2026/x-", "2026/x-1/2"], ["2026/y-1"]],
    [
      "s3://bkt/2026/**/x-?.csv",
      "2026/",
      ["2026/x-1.csv", "2026/q/r/x-é.csv"],
      ["2026/x-12.csv", "2026/ax-1.csv"],
    ],
    ["s3://bkt/2026/*/x", "2026/", ["2026/a/x", "2026/a/b/x", "2026//x"], ["2026/x"]],
    ["s3://bkt/{a,b/c}.txt", "", ["a.txt", "b/c.txt"], ["c.txt"]],
    ["s3://bkt/{*.gz,x*}", "", ["a/b.gz", "xy"], ["y"]],
    ["s3://bkt/p/[0-9][!x]", "p/", ["p/1a"], ["p/1x", "p/a1", "p/1/"]],
    ["s3://bkt/*/", "", ["a/b", "a/b/c"], ["a"]],
    ["s3://bkt/\\*/a*", "*/a", ["*/ab"], ["x/ab"]],
    ["s3://bkt/%2a/a%2A*", "*/a*", ["*/a*", "*/a*b"], ["*/ab"]],
    ["s3://bkt/a\\b/c\\?*", "a\\b/c?", ["a\\b/c?d"], ["a\\b/cd"]],
    ["s3://bkt/a(b)+$^|.*", "a(b)+$^|.", ["a(b)+$^|.x"], ["abx"]],
  ])("%s", (text, listed, taken, left) => {
    expect(chosen(text, [...taken, ...left])).toEqual({ listed, names: taken });
  });

  it.each([
    "s3://bkt/a",
    "s3://bkt/a\\*",
    "s3://bkt/a%2Ab",
    "s3://bkt/a]b}",
    "s3://bkt",
    "https://x/*",
    "a/*",
    "s3://bkt/a\\[1\\]",
  ])("%s has none", (text) => {
    expect(wildcardsOf(text, CONTEXT)).toBeUndefined();
  });

  it("are kept with a run as a text that means the same", () => {
    for (const [text, expected] of [
      ["s3:///p/a*", "s3://set/p/a*"],
      ["S3://set/p%41/\\[*]?", "s3://set/pA/\\[*\\]?"],
      ["s3://set/p\\[1\\]/a*", "s3://set/p\\[1\\]/a*"],
      ["s3://set/p%2A/%2A*", "s3://set/p\\*/%2A*"],
      ["s3://set/\n/\n*", "s3://set/%0A/%0A*"],
    ] as const) {
      const parsed = wildcardsOf(text.replace("*]?", "*\\]?"), CONTEXT) as NonNullable<
        ReturnType<typeof wildcardsOf>
      >;
      const kept = textOf({ ...parsed.tree, wildcards: parsed });
      expect(kept).toBe(expected);
      const again = wildcardsOf(kept, { directory: "/" });
      expect(again).toMatchObject({ tree: parsed.tree, pattern: parsed.pattern });
    }
    expect(wildcardsOf(escapedText("s3://bkt/a*[1]{2}?"), CONTEXT)).toBeUndefined();
  });

  it.each(["s3://bkt/a[", "s3://bkt/a{b", "s3://bkt/[]", "s3://bkt/*]", "s3://bkt/*%ff"])(
    "%s is refused",
    (text) => {
      expect(() => wildcardsOf(text, CONTEXT)).toThrow("has wildcards that cannot be parsed");
    },
  );
});
