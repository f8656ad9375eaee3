import { beginningOf } from "@drover/producer/expand/beginning";
import { expect, it } from "vitest";

const of = (...patterns: string[]) => beginningOf({ patterns, patternSyntax: "rclone" });

it("tells what all names begin with that patterns can match", () => {
  for (const [patterns, beginning] of [
    [["*"], ""],
    [[], ""],
    [["a/b*"], ""],
    [["/a/b*", "/a/b*/**"], "a/b"],
    [["/a/b*", "!/a/bc*"], "a/b"],
    [["!/a"], ""],
    [["/dir/"], "dir/"],
    [["/a/**/b"], "a/"],
    [["/a{b,c}"], "a"],
    [["/a,b"], "a"],
    [["/a\\[1\\]\\\\b?"], "a[1]\\b"],
    [["/a[12]"], "a"],
    [["/abc", "/abd/*"], "ab"],
    [["/abc", "/a"], "a"],
    [["/a", "/abc"], "a"],
    [["/x\u{1f600}", "/x\u{1f601}"], "x"],
    [["/a", "b"], ""],
  ] as const)
    expect(of(...patterns), patterns.join(" ")).toBe(beginning);
});

it("knows nothing of patterns of earlier versions", () => {
  expect(beginningOf({ patterns: ["/a"], patternSyntax: undefined })).toBe("");
});
