import { decodeCatalog, encodeCatalog, statStamp } from "@drover/shared/catalog";
import { errnoCode, fileError, messageOf, TransferError } from "@drover/shared/errors";
import { bucketOf } from "@drover/shared/redis/keys";
import { describe, expect, test } from "vitest";

const system = (code: string) => Object.assign(new Error(`${code}: told at length`), { code });

describe("an error of the file system", () => {
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
    ["EIO", "io", false],
    ["EMFILE", "io", false],
    ["ESTALE", "io", false],
  ] as const)("%s is %s (permanent: %s) and says nothing of the host", ([code, cls, permanent]) => {
    const error = fileError(system(code), "write /data/a");
    expect(error).toMatchObject({ class: cls, permanent, verdict: "none" });
    expect(error.message).toContain("write /data/a");
  });

  test("that is known already stays what it is", () => {
    const known = new TransferError("truncated", "x");
    expect(fileError(known, "write")).toBe(known);
  });

  test("that is no system error is io, with what it says", () => {
    expect(fileError(new Error("odd"), "write").message).toContain("odd");
    expect(fileError("odd", "write")).toMatchObject({ class: "io", permanent: false });
  });
});

test("anything thrown has a message on one line", () => {
  expect(messageOf(new Error("one\n   two\r\nthree"))).not.toMatch(/\n/);
  expect(messageOf("text")).toBe("text");
  expect(messageOf(undefined)).toBe("undefined");
  expect(errnoCode(system("EIO"))).toBe("EIO");
  expect(errnoCode(null)).toBeUndefined();
  expect(errnoCode({ code: 5 })).toBeUndefined();
});

describe("an entry of the catalog", () => {
  test("is read back as it was written", () => {
    const entry = {
      source: "s",
      version: 'e"ü,"',
      sha256: "a".repeat(64),
      stamp: "1:2:3",
      sizeBytes: 2 ** 45,
    };
    expect(decodeCatalog(encodeCatalog(entry))).toEqual(entry);
    expect(decodeCatalog("")).toBeUndefined();
  });

  test("has another stamp when size, time to the nanosecond or inode is another", () => {
    const stat = { size: 1n, mtimeNs: 1_700_000_000_000_000_001n, ino: 3n };
    const stamps = [
      stat,
      { ...stat, size: 2n },
      { ...stat, mtimeNs: stat.mtimeNs + 1n },
      { ...stat, ino: 4n },
    ];
    expect(new Set(stamps.map(statStamp)).size).toBe(4);
  });
});

test("names fall into buckets evenly", () => {
  const counts = new Map<number, number>();
  for (let at = 0; at < 100_000; at++) {
    const bucket = bucketOf(`name-${at}-${at * 7}`, 64);
    expect(bucket).toBeLessThan(64);
    counts.set(bucket, (counts.get(bucket) ?? 0) + 1);
  }
  expect(counts.size).toBe(64);
  expect(Math.max(...counts.values())).toBeLessThan(3 * Math.min(...counts.values()));
});
