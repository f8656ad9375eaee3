import {
  type CatalogEntry,
  decodeCatalog,
  encodeCatalog,
  statStamp,
} from "@drover/shared/protocol/catalog-entry";
import { bucketOf } from "@drover/shared/protocol/keys";
import { localVersion } from "@drover/shared/storage/local/source";
import { s3Version } from "@drover/shared/storage/s3/source";
import { describe, expect, test } from "vitest";

const STAT = {
  size: 1_500_000n,
  mtimeNs: 1_790_000_000_123_456_789n,
  ctimeNs: 1_790_000_001_000_000_000n,
  ino: 12_345_678n,
  dev: 66_306n,
};
const MD5 = '"d41d8cd98f00b204e9800998ecf8427e"';
const PLAIN: CatalogEntry = {
  source: "aB3-_6789xyz",
  version: "",
  sha256: "0123456789abcdef".repeat(4),
  stamp: "",
  sizeBytes: 1_500_000,
};

describe("a catalog entry", () => {
  test.for<[string, Partial<CatalogEntry>]>([
    ["with an ETag of HTTP", { version: 'e"ü,"', stamp: statStamp(STAT) }],
    ["with a date of HTTP", { version: "mWed, 21 Oct 2015 07:28:00 GMT;1500000" }],
    ["of a local file", { version: localVersion(STAT), stamp: statStamp(STAT), mode: 0o644 }],
    ["of a file with whole seconds", { stamp: statStamp({ ...STAT, mtimeNs: 1_790_000_000_000_000_000n }) }],
    ["of a file older than 1970", { stamp: statStamp({ ...STAT, mtimeNs: -1n }) }],
    ["of a file in the first second of 1970", { stamp: statStamp({ ...STAT, mtimeNs: 5n }) }],
    ["of a file of the year 2200", { stamp: statStamp({ ...STAT, mtimeNs: 7_258_118_400_000_000_001n }) }],
    ["with an inode of 64 bits", { stamp: statStamp({ ...STAT, ino: 2n ** 64n - 1n }) }],
    ["with the stamp of another size", { stamp: statStamp({ ...STAT, size: 3n }) }],
    ["of an object", { version: s3Version(MD5, 1_500_000, 1_790_000_000_000), stamp: MD5 }],
    [
      "of an object in parts",
      { version: s3Version(`${MD5.slice(0, -1)}-12"`, 1_500_000, 1_790_000_000_999) },
    ],
    ["of an object in 10,000 parts", { stamp: `${MD5.slice(0, -1)}-10000"` }],
    ["with an ETag that is no MD5", { version: s3Version('"abc"', 1_500_000, 1), stamp: '"abc"' }],
    ["with an ETag in capitals", { stamp: MD5.toUpperCase() }],
    ["with an ETag of zero parts", { stamp: `${MD5.slice(0, -1)}-0"` }],
    ["with an ETag for another size", { version: s3Version(MD5, 7, 1_000), stamp: `${MD5};7` }],
    ["with a time before 1970", { version: s3Version(MD5, 1_500_000, -1) }],
    ["that nobody hashed", { sha256: "" }],
    ["of an empty file", { sizeBytes: 0, mode: 0 }],
    ["of a huge file", { sizeBytes: 5 * 2 ** 40, mode: 0o7777 }],
    ["with long texts", { version: `e"${"x".repeat(3_000)}"`, stamp: "ü".repeat(2_000) }],
  ])("%s is decoded as it was encoded", ([, over]) => {
    const entry = { ...PLAIN, ...over };
    expect(decodeCatalog(encodeCatalog(entry))).toEqual(entry);
  });

  test.for<[string, number, Partial<CatalogEntry>]>([
    ["from a local file", 75, { version: localVersion(STAT), stamp: statStamp(STAT), mode: 0o644 }],
    [
      "from an object to a local file",
      76,
      {
        version: s3Version(MD5, 1_500_000, 1_790_000_000_000),
        stamp: statStamp({ ...STAT, mtimeNs: 1_790_000_000_000_000_000n }),
      },
    ],
    ["from a local file to an object", 76, { version: localVersion(STAT), stamp: MD5, mode: 0o644 }],
    ["from an object to an object", 86, { version: s3Version(MD5, 1_500_000, 1e12), stamp: MD5 }],
  ])("%s takes at most %d bytes", ([, bytes, over]) => {
    expect(encodeCatalog({ ...PLAIN, ...over }).length).toBeLessThanOrEqual(bytes);
  });

  test("of another format is ignored", () => {
    const bytes = encodeCatalog(PLAIN);
    bytes[0] = 2;
    expect(decodeCatalog(bytes)).toBeUndefined();
    expect(decodeCatalog(Buffer.alloc(0))).toBeUndefined();
    expect(decodeCatalog(Buffer.from('["source","version"]'))).toBeUndefined();
  });

  test("that is invalid is refused", () => {
    expect(() => encodeCatalog({ ...PLAIN, source: "short" })).toThrow("base64url");
    expect(() => encodeCatalog({ ...PLAIN, sha256: "xy" })).toThrow("hex");
  });

  test("has another stamp if size, time in nanoseconds or inode differs", () => {
    const stamps = [
      STAT,
      { ...STAT, size: 2n },
      { ...STAT, mtimeNs: STAT.mtimeNs + 1n },
      { ...STAT, ino: 4n },
    ];
    expect(new Set(stamps.map(statStamp)).size).toBe(4);
  });

  test("has another version if any compared field of the file's stat differs", () => {
    const versions = [STAT, ...Object.keys(STAT).map((name) => ({ ...STAT, [name]: 9n }))].map((stat) =>
      localVersion(stat as typeof STAT),
    );
    expect(new Set(versions).size).toBe(6);
  });
});

test.for([
  ["numbers", (at: number) => `name-${at}-${at * 7}`],
  ["dates", (at: number) => `logs/2026/${at % 12}/${at % 31}/part-${String(at).padStart(8, "0")}.gz`],
  ["hashes", (at: number) => (at * 2_654_435_761).toString(36)],
] as const)("names of %s are distributed evenly over the buckets", ([, name]) => {
  const counts = new Array<number>(256).fill(0);
  for (let at = 0; at < 200_000; at++) {
    const bucket = bucketOf(name(at), 256);
    counts[bucket] = (counts[bucket] as number) + 1;
  }
  expect(counts).toHaveLength(256); // no other buckets
  expect(Math.max(...counts)).toBeLessThan(1.5 * Math.min(...counts));
});
