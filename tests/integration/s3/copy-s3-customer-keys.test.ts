import { chmodSync, mkdirSync, utimesSync, writeFileSync } from "node:fs";
import { inspect } from "node:util";
import { CustomerKey } from "@drover/shared/storage/s3/object/customer-key";
import { describe, expect } from "vitest";
import { pattern, sha256, toBuffer } from "../../harness/content.js";
import type { FakeRequest, FakeS3 } from "../../harness/fake-s3.js";
import { isPart, isPut, it } from "../helpers/s3.js";

const MIB = 1 << 20;
const TEXTS = {
  one: Buffer.alloc(32, "1").toString("base64"),
  two: Buffer.alloc(32, "2").toString("base64"),
};
const [ONE, TWO] = [new CustomerKey(TEXTS.one), new CustomerKey(TEXTS.two)];
const OF_ONE = { source: ONE, destination: ONE };

const keyOf = ({ headers }: FakeRequest) => headers["x-amz-server-side-encryption-customer-key"];
const copiedKeyOf = ({ headers }: FakeRequest) =>
  headers["x-amz-copy-source-server-side-encryption-customer-key"];
const kindOf = ({ method, query }: FakeRequest) =>
  [method, ...["uploads", "partNumber", "uploadId", "list-type"].filter((name) => query.has(name))].join(" ");
/** Kinds of the requests that had a key, and of those that had none. */
function kinds({ requests }: FakeS3): { with: string[]; without: string[] } {
  const of = (keyed: boolean) => [
    ...new Set(requests.filter((each) => (keyOf(each) !== undefined) === keyed).map(kindOf)),
  ];
  return { with: of(true).sort(), without: of(false).sort() };
}
const isEncryptedBy = (s3: FakeS3, key: string, by: CustomerKey) =>
  s3.stored(key)?.headers["x-amz-server-side-encryption-customer-key-md5"] === by.id;

/** An object that is encrypted with a key. */
async function putEncrypted(
  s3: FakeS3,
  key: string,
  content: Buffer | string,
  by: CustomerKey,
): Promise<void> {
  const { "x-amz-server-side-encryption-customer-key": _, ...told } = by.headers as Record<string, string>;
  s3.put(key, content, { ...told, etag: `"${sha256(content + key).slice(0, 32)}"` });
}

describe("a key of the user", () => {
  it("goes with everything that writes or reads an object, and with nothing else", async ({
    s3,
    space,
    to,
  }) => {
    mkdirSync(space.root, { recursive: true });
    writeFileSync(space.to("small"), "content");
    writeFileSync(space.to("large"), toBuffer(pattern(17 * MIB)));
    const worker = await to({ keysOf: OF_ONE });
    for (const name of ["small", "large"])
      expect(await worker.through(name, space.to(name))).toMatchObject({ outcome: "copied" });
    for (const name of ["small", "large"]) expect(isEncryptedBy(s3, `to/${name}`, ONE)).toBe(true);
    expect(kinds(s3)).toEqual({
      with: ["HEAD", "POST uploads", "PUT", "PUT partNumber uploadId"],
      without: ["DELETE", "DELETE uploadId", "POST uploadId"],
    });
    const again = await to({ keysOf: OF_ONE });
    for (const name of ["small", "large"])
      expect(await again.through(name, space.to(name))).toMatchObject({ outcome: "unchanged" });
  });

  it("opens the source and closes the copy, each with its own", async ({ s3, to }) => {
    await putEncrypted(s3, "from", "content", ONE);
    const worker = await to({ keysOf: { source: ONE, destination: TWO } });
    expect(await worker.through("f", "s3://bucket/from")).toMatchObject({ outcome: "copied" });
    expect(isEncryptedBy(s3, "to/f", TWO)).toBe(true);
    const copies = s3.requests.filter((each) => isPut(each) && "x-amz-copy-source" in each.headers);
    expect(copies.map((each) => [copiedKeyOf(each), keyOf(each)])).toEqual([[TEXTS.one, TEXTS.two]]);
  });

  it("opens and closes the parts of a copy", async ({ s3, to }) => {
    await putEncrypted(s3, "from", toBuffer(pattern(17 * MIB)), ONE);
    const worker = await to({ keysOf: { source: ONE, destination: TWO }, mostCopyBytes: 16 * MIB });
    expect(await worker.through("f", "s3://bucket/from")).toMatchObject({ outcome: "copied" });
    expect(isEncryptedBy(s3, "to/f", TWO)).toBe(true);
    const parts = s3.requests.filter(isPart).map((each) => [copiedKeyOf(each), keyOf(each)]);
    expect(parts).toEqual([
      [TEXTS.one, TEXTS.two],
      [TEXTS.one, TEXTS.two],
    ]);
  });

  it("is not named for an object that is not encrypted, be it source, destination or backup", async ({
    s3,
    space,
    to,
  }) => {
    mkdirSync(space.root, { recursive: true });
    s3.put("from", "content");
    s3.put("to/g", "former");
    writeFileSync(space.to("g"), "content");
    const worker = await to({ keysOf: OF_ONE, backup: "s3://bucket/old" });
    expect(await worker.through("f", "s3://bucket/from")).toMatchObject({ outcome: "copied" });
    expect(await worker.through("g", space.to("g"))).toMatchObject({ outcome: "copied" });
    expect(s3.keys).toEqual(["from", "old/g", "to/f", "to/g"]);
    for (const key of ["to/f", "to/g", "old/g"]) expect(isEncryptedBy(s3, key, ONE)).toBe(true);
  });

  it("opens what a backup keeps, and what gets another time", async ({ s3, space, to }) => {
    mkdirSync(space.root, { recursive: true });
    writeFileSync(space.to("f"), "content");
    writeFileSync(space.to("large"), toBuffer(pattern(17 * MIB)));
    const first = await to({ keysOf: OF_ONE });
    for (const name of ["f", "large"]) await first.through(name, space.to(name));
    writeFileSync(space.to("f"), "another");
    chmodSync(space.to("large"), 0o600);
    utimesSync(space.to("large"), 1_500_000_000, 1_500_000_000);
    s3.requests.length = 0;
    const second = await to({ keysOf: OF_ONE, backup: "s3://bucket/old" });
    for (const name of ["f", "large"])
      expect(await second.through(name, space.to(name))).toMatchObject({ outcome: "copied" });
    expect(s3.stored("to/large")?.headers).toMatchObject({ "x-amz-meta-mode": "100600" });
    expect(s3.requests.filter(isPart)).toEqual([]);
    for (const key of ["to/large", "old/f", "to/f"]) expect(isEncryptedBy(s3, key, ONE)).toBe(true);
  });

  it("that is wrong fails the file, and nothing is replaced", async ({ s3, space, to }) => {
    mkdirSync(space.root, { recursive: true });
    await putEncrypted(s3, "to/f", "former", TWO);
    await putEncrypted(s3, "from", "content", TWO);
    writeFileSync(space.to("f"), "content");
    const worker = await to({ keysOf: OF_ONE });
    const outcomes = [
      await worker.through("f", space.to("f")),
      await worker.through("g", "s3://bucket/from"),
    ];
    for (const { outcome, error } of outcomes) {
      expect([outcome, error?.class]).toEqual(["failed", "forbidden"]);
      expect(error?.message).not.toContain(TEXTS.one);
    }
    expect(s3.stored("to/f")?.content.toString()).toBe("former");
  });

  it("is in no JSON, no dump and no copy of what holds it", () => {
    const holder = { key: ONE };
    for (const text of [JSON.stringify(holder), inspect(holder, { showHidden: true, depth: 9 })])
      expect(text).not.toContain(TEXTS.one);
    expect(JSON.stringify(structuredClone(holder))).toBe('{"key":{}}');
  });
});
