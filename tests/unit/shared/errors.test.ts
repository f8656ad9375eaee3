import { errnoCode, fileError, messageOf, TransferError } from "@drover/shared/errors";
import { describe, expect, test } from "vitest";

const system = (code: string) => Object.assign(new Error(`${code}: described at length`), { code });

describe("a file-system error", () => {
  test.for([
    ["ENOSPC", "disk", true],
    ["EDQUOT", "disk", true],
    ["EFBIG", "disk", true],
    ["EACCES", "permission", true],
    ["EPERM", "permission", true],
    ["EROFS", "permission", true],
    ["ENOTDIR", "path", true],
    ["EISDIR", "path", true],
    ["ELOOP", "path", true],
    ["ENAMETOOLONG", "path", true],
    ["EEXIST", "path", true],
    ["ENOTEMPTY", "path", true],
    ["ENOENT", "not-found", true],
    ["EBUSY", "io", false],
    ["EIO", "io", false],
    ["EMFILE", "io", false],
    ["ESTALE", "io", false],
  ] as const)(
    "with code %s has class %s (permanent: %s) and no verdict on the host",
    ([code, cls, permanent]) => {
      const error = fileError(system(code), "write /data/a");
      expect(error).toMatchObject({ class: cls, permanent, verdict: "none" });
      expect(error.message).toContain("write /data/a");
    },
  );

  test.for([
    ["EPERM", /lsattr/],
    ["EBUSY", /mount point/],
  ] as const)("with code %s says what to look at", ([code, hint]) => {
    expect(fileError(system(code), "write /data/a").message).toMatch(hint);
  });

  test("that is classified already stays as it is", () => {
    const known = new TransferError("truncated", "x");
    expect(fileError(known, "write")).toBe(known);
  });

  test("without a code has class io and keeps its message", () => {
    expect(fileError(new Error("odd"), "write").message).toContain("odd");
    expect(fileError("odd", "write")).toMatchObject({ class: "io", permanent: false });
  });
});

test("anything thrown has a message of one line", () => {
  expect(messageOf(new Error("one\n   two\r\nthree"))).not.toMatch(/\n/);
  expect(messageOf("text")).toBe("text");
  expect(messageOf(undefined)).toBe("undefined");
  expect(errnoCode(system("EIO"))).toBe("EIO");
  expect(errnoCode(null)).toBeUndefined();
  expect(errnoCode({ code: 5 })).toBeUndefined();
});
