import { setImmediate } from "node:timers/promises";
import { safeKey } from "@drover/shared/paths";
import { metadataHeaders, readMetadata } from "@drover/shared/storage/s3/object/metadata";
import { S3Tree } from "@drover/shared/storage/s3/tree";
import { BufferPool } from "@drover/worker/bytes/buffer-pool";
import { partBytesOf } from "@drover/worker/destinations/s3/upload";
import { describe, expect, test } from "vitest";

const MIB = 2 ** 20;
const TIB = 2 ** 40;

describe("parts of an upload", () => {
  test.for([1, 16 * MIB, 160_000 * MIB, 160_000 * MIB + 1, TIB, 5 * TIB - 1, 5 * TIB])(
    "are at most 10,000, of at most 5 GiB each, for %i bytes",
    (size) => {
      const part = partBytesOf(1, size);
      expect(Math.ceil(size / part)).toBeLessThanOrEqual(10_000);
      expect(part).toBeLessThan(5 * 2 ** 30);
      expect(part).toBeGreaterThanOrEqual(5 * MIB);
      expect(partBytesOf(10_000, size)).toBe(part);
    },
  );

  test.for([5 * MIB, 64 * MIB, 2 ** 30])(
    "have %i bytes if that is asked for, unless they were too many",
    (least) => {
      expect(partBytesOf(1, 10_000 * least, least)).toBe(least);
      expect(partBytesOf(1, 10_000 * least + 1, least)).toBe(least + MIB);
      expect(partBytesOf(1, undefined, least)).toBe(least);
      expect(partBytesOf(10_000, undefined, least)).toBeLessThan(2 ** 31);
    },
  );

  test("hold 5 TiB if the length is unknown", () => {
    let sum = 0;
    for (let part = 1; part <= 10_000; part++) sum += partBytesOf(part, undefined);
    expect(sum).toBeGreaterThan(5 * TIB);
    expect(partBytesOf(1, undefined)).toBe(16 * MIB);
    expect(partBytesOf(10_000, undefined)).toBeLessThan(5 * 2 ** 30);
  });
});

describe("memory for uploads", () => {
  test("is given in the order of requests, and never more than there is", async () => {
    const bufferPool = new BufferPool(10 * MIB);
    const given: string[] = [];
    const ask = (name: string, bytes: number) =>
      bufferPool.take(bytes).then((lent) => {
        given.push(name);
        return lent;
      });
    const [a, b] = [await ask("a", 4 * MIB), await ask("b", 3 * MIB)];
    const [c, d] = [ask("c", 4 * MIB), ask("d", MIB)];
    await setImmediate();
    expect(given).toEqual(["a", "b"]);
    a.release();
    a.release();
    await Promise.all([c, d]);
    expect(given).toEqual(["a", "b", "c", "d"]);
    b.release();
  });

  test("is given to a part larger than the pool if no other part holds any", async () => {
    const bufferPool = new BufferPool(10 * MIB);
    const first = await bufferPool.take(MIB);
    const had: string[] = [];
    const large = bufferPool.take(50 * MIB).then((lent) => {
      had.push("large");
      return lent;
    });
    await setImmediate();
    expect(had).toEqual([]);
    first.release();
    const { memory, release } = await large;
    expect(memory.length).toBe(50 * MIB);
    const small = bufferPool.take(1).then(() => had.push("small"));
    await setImmediate();
    expect(had).toEqual(["large"]);
    release();
    await small;
  });

  test("stays available after a request for more than the machine has", async () => {
    const bufferPool = new BufferPool(10 * MIB);
    await expect(bufferPool.take(2 ** 50)).rejects.toThrow(RangeError);
    (await bufferPool.take(10 * MIB)).release();
  });

  test("is reused for requests of changing sizes", async () => {
    const bufferPool = new BufferPool(32 * MIB);
    const memories = new Set<unknown>();
    for (let round = 0; round < 50; round++) {
      const all = await Promise.all([
        bufferPool.take(16 * MIB - round),
        bufferPool.take(3 * MIB + round),
        bufferPool.take(round + 1),
      ]);
      for (const { memory, release } of all) {
        memories.add(memory.buffer);
        release();
      }
    }
    expect(memories.size).toBe(3);
  });
});

describe("the metadata of an object", () => {
  const entry = {
    sizeBytes: 1,
    version: "",
    strongEtag: "",
    mtimeMs: undefined,
    framed: true,
    ranges: false,
    encoding: "",
    digest: undefined,
  };
  test.for<[bigint, string]>([
    [1_577_934_245_123_456_789n, "1577934245.123456789"],
    [1_577_934_245_000_000_000n, "1577934245"],
    [500_000_000n, "0.5"],
    [-1_500_000_000n, "-1.5"],
    [3_345_000_000_000_000_001n, "3345000000.000000001"],
  ])("keeps the time %s in seconds, as rclone does", ([ns, text]) => {
    const headers = metadataHeaders({ ...entry, mtimeNs: ns }, undefined, "k/f.csv");
    expect(headers).toEqual({ "content-type": "text/csv", "x-amz-meta-mtime": text });
    expect(readMetadata(headers)).toMatchObject({ mtimeNs: ns, mtimeMs: Number(ns / 1000n) / 1000 });
  });

  test.for<[string, number | undefined]>([
    ["100644", 0o644],
    ["0100600", 0o600],
    ["755", 0o755],
    ["104755", undefined],
    ["33188", undefined],
    ["x", undefined],
  ])("reads from the mode %s nothing but permissions", ([text, mode]) =>
    expect(readMetadata({ "x-amz-meta-mode": text }).mode).toBe(mode),
  );

  test("is ignored where its form is unknown", () => {
    const odd = readMetadata({
      "x-amz-meta-mtime": "2026-01-01T00:00:00Z",
      "x-amz-meta-drover-sha256": "abc",
      "x-amz-meta-md5chksum": "abc",
    });
    expect(Object.values(odd)).toEqual([undefined, undefined, undefined, undefined, undefined]);
  });
});

describe("a name below a prefix", () => {
  const spec = { endpoint: "http://a", region: "r", pathStyle: true, anonymous: false, requesterPays: false };

  test.for(["", "a/", "..", "a/../b", "./a", "nul\0", "\ud800", ".drover-AAAAAAAAAAAAAAAA"])(
    "%j is refused",
    (name) => expect(() => safeKey(name)).toThrow(/refused name/),
  );

  test.for([
    "a",
    "/a",
    "a//b",
    "C:\\x",
    "..a",
    "a\nb",
    "x".repeat(900),
    "e\u0301",
    "\u00e9",
    "🐑",
    "100%",
    "a b+c?d#e",
  ])("%j is kept byte for byte", (name) => {
    expect(safeKey(name)).toBe(name);
    expect(new S3Tree("s3://bucket/p", spec).key(name)).toBe(`p/${name}`);
  });

  test("is a different destination on another service, in another bucket or below another prefix", () => {
    const leases = [
      new S3Tree("s3://bucket/p", spec),
      new S3Tree("s3://bucket", spec),
      new S3Tree("s3://bucke/p", spec),
      new S3Tree("s3://bucket/p", { ...spec, endpoint: "http://b" }),
    ].map((tree) => tree.leaseOf("a"));
    expect(new Set(leases).size).toBe(4);
    expect(new S3Tree("s3://bucket", spec).leaseOf("p/a")).toBe(leases[0]);
    expect(new S3Tree("s3://bucket/p/", spec).leaseOf("a")).not.toBe(leases[0]);
  });
});
