import { TransferError } from "@drover/shared/errors";
import { shortHash } from "@drover/shared/ids";
import { safeRelative } from "@drover/shared/paths";
import { stagingName } from "@drover/shared/storage/staging-name";
import { describe, expect, test } from "vitest";

const LEASE = shortHash("destination");

describe("a name is refused", () => {
  test.for([
    "",
    "..",
    ".",
    "../x",
    "a/..",
    "a/../b",
    "a/../../b",
    "./a",
    "a/./b",
    "/abs",
    "//host/share",
    "\\abs",
    "\\\\host\\share",
    "C:/x",
    "c:\\x",
    "..\\x",
    "a\\..\\b",
    "a/..\\..\\b",
    "a/b\\..",
    "nul\0byte",
    "\0",
    "a/",
    "a//b",
    "a/b/",
    `${"a".repeat(256)}`,
    `dir/${"ü".repeat(128)}`,
    `${"a".repeat(256)}/b`,
    `${"a/".repeat(2_048)}a`,
    stagingName(LEASE, "1"),
    `dir/${stagingName(LEASE, "2")}`,
    `${stagingName(LEASE, "2")}/file`,
  ])("%j", (name) => {
    const refused = (): unknown => {
      try {
        return safeRelative(name);
      } catch (error) {
        return error;
      }
    };
    const error = refused();
    expect(error).toBeInstanceOf(TransferError);
    expect(error).toMatchObject({ class: "path", permanent: true, verdict: "none" });
    expect((error as TransferError).message).not.toContain("\0");
    expect((error as TransferError).message).not.toContain("\n");
  });
});

describe("a name that is accepted", () => {
  test.for([
    "a",
    "a/b/c.csv",
    "...",
    "..a",
    "a..",
    ".hidden",
    "a b",
    "a+b",
    "100%",
    "%2e%2e", // already decoded: these are its own characters
    "~",
    "-rf",
    "a\nb",
    "c:x",
    "a\\b",
    "ü/文件/😀",
    "e\u0301", // NFD is not normalised
    "a".repeat(255),
    `${"x/".repeat(2_047)}x`,
    ".drover-short",
    ".drover-0123456789abcdef0",
  ])("%j", (name) => {
    expect(safeRelative(name)).toBe(name);
  });
});
