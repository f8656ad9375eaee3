import { mkdirSync, writeFileSync } from "node:fs";
import type { S3ObjectOptions } from "@drover/shared/storage/s3/object/object-options";
import { describe, expect } from "vitest";
import { pattern, toBuffer } from "../../harness/content.js";
import type { FakeRequest } from "../../harness/fake-s3.js";
import { isComplete, isPart, isPut, it } from "../helpers/s3.js";

const MIB = 1 << 20;
const OBJECTS: S3ObjectOptions = {
  storageClass: "STANDARD_IA",
  sse: "aws:kms",
  sseKmsKeyId: "alias/reports",
  acl: "bucket-owner-full-control",
  cacheControl: "max-age=60",
  contentType: "text/x-report",
  contentDisposition: "attachment",
  contentEncoding: "identity",
  contentLanguage: "de",
  metadata: { owner: "ann", "cost-centre": "a, b=c" },
  tags: { team: "data & co", stage: "" },
};
const PLACE = {
  "x-amz-storage-class": "STANDARD_IA",
  "x-amz-server-side-encryption": "aws:kms",
  "x-amz-server-side-encryption-aws-kms-key-id": "alias/reports",
  "x-amz-acl": "bucket-owner-full-control",
};
const CONTENT = {
  "cache-control": "max-age=60",
  "content-type": "text/x-report",
  "content-disposition": "attachment",
  "content-encoding": "identity",
  "content-language": "de",
  "x-amz-meta-owner": "ann",
  "x-amz-meta-cost-centre": "a, b=c",
};
const TAGS = { "x-amz-tagging": "team=data%20%26%20co&stage=" };

const isCreate = ({ method, query }: FakeRequest) => method === "POST" && query.has("uploads");
/** The headers that options may set, of the only such request to a key below `to/`. */
function askedBy(requests: FakeRequest[], is: (request: FakeRequest) => boolean): Record<string, unknown> {
  const found = requests.filter((request) => is(request) && /^to\/(?!\.)/.test(request.key));
  expect(found).toHaveLength(1);
  const names = Object.keys(found[0]?.headers ?? {}).filter((name) =>
    /^(x-amz-(?!content-sha256|date|copy|meta-m|meta-drover|checksum)|cache-control|content-(?!length|md5))/.test(
      name,
    ),
  );
  return Object.fromEntries(names.map((name) => [name, found[0]?.headers[name]]));
}

describe("what objects are to have", () => {
  it("is said by the request that writes one at once", async ({ s3, space, to }) => {
    mkdirSync(space.root, { recursive: true });
    writeFileSync(space.to("f.txt"), "content");
    const worker = await to({ objects: OBJECTS });
    expect(await worker.through("f", space.to("f.txt"))).toMatchObject({ outcome: "copied" });
    expect(askedBy(s3.requests, isPut)).toEqual({ ...PLACE, ...CONTENT, ...TAGS });
    expect(Object.keys(s3.stored("to/f")?.headers ?? {})).toEqual(
      expect.arrayContaining(["x-amz-meta-drover-sha256", "x-amz-meta-mtime", "x-amz-meta-mode"]),
    );
  });

  it("is said by the request that begins an upload in parts, which has the size that was asked for", async ({
    s3,
    space,
    to,
  }) => {
    mkdirSync(space.root, { recursive: true });
    writeFileSync(space.to("f"), toBuffer(pattern(17 * MIB)));
    const worker = await to({ objects: { ...OBJECTS, partBytes: 5 * MIB } });
    expect(await worker.through("f", space.to("f"))).toMatchObject({ outcome: "copied" });
    expect(askedBy(s3.requests, isCreate)).toEqual({ ...PLACE, ...CONTENT, ...TAGS });
    const sizes = s3.requests.filter(isPart).map(({ headers }) => Number(headers["content-length"]));
    expect(sizes.sort()).toEqual([2 * MIB, 5 * MIB, 5 * MIB, 5 * MIB]);
    for (const { headers } of s3.requests.filter((each) => isPart(each) || isComplete(each)))
      expect(Object.keys(headers).filter((name) => name in { ...PLACE, ...TAGS })).toEqual([]);
  });

  it("leaves a file in one request that is no longer than a part", async ({ s3, space, to }) => {
    mkdirSync(space.root, { recursive: true });
    writeFileSync(space.to("f"), toBuffer(pattern(17 * MIB)));
    const worker = await to({ objects: { partBytes: 20 * MIB } });
    expect(await worker.through("f", space.to("f"))).toMatchObject({ outcome: "copied" });
    expect(s3.requests.filter(isCreate)).toEqual([]);
  });

  it("is said by a copy of the service, which keeps the rest of the metadata", async ({ s3, to }) => {
    s3.put("from", "content", {
      "content-type": "text/csv",
      "x-amz-meta-owner": "bob",
      "x-amz-meta-other": "1",
    });
    const worker = await to({ objects: { ...OBJECTS, contentType: undefined } });
    expect(await worker.through("f", "s3://bucket/from")).toMatchObject({ outcome: "copied" });
    expect(askedBy(s3.requests, isPut)).toEqual({
      ...PLACE,
      ...CONTENT,
      "content-type": "text/csv",
      "x-amz-meta-other": "1",
      "x-amz-metadata-directive": "REPLACE",
      ...TAGS,
      "x-amz-tagging-directive": "REPLACE",
    });
  });

  it("leaves metadata and tags to the service where only the storage class is asked for", async ({
    s3,
    to,
  }) => {
    s3.put("from", "content", { "x-amz-meta-owner": "bob" });
    const worker = await to({ objects: { storageClass: "STANDARD_IA" } });
    expect(await worker.through("f", "s3://bucket/from")).toMatchObject({ outcome: "copied" });
    expect(askedBy(s3.requests, isPut)).toEqual({ "x-amz-storage-class": "STANDARD_IA" });
  });

  it("is said by a copy in parts, of the size that was asked for", async ({ s3, to }) => {
    s3.put("from", toBuffer(pattern(17 * MIB)), { "x-amz-meta-other": "1" });
    const worker = await to({ objects: { ...OBJECTS, partBytes: 6 * MIB }, mostCopyBytes: 16 * MIB });
    expect(await worker.through("f", "s3://bucket/from")).toMatchObject({ outcome: "copied" });
    expect(askedBy(s3.requests, isCreate)).toEqual({
      ...PLACE,
      ...CONTENT,
      "x-amz-meta-other": "1",
      ...TAGS,
    });
    const ranges = s3.requests.filter(isPart).map(({ headers }) => headers["x-amz-copy-source-range"]);
    expect(ranges.sort()).toEqual([
      `bytes=0-${6 * MIB - 1}`,
      `bytes=${12 * MIB}-${17 * MIB - 1}`,
      `bytes=${6 * MIB}-${12 * MIB - 1}`,
    ]);
  });

  it("is no reason to write again what is unchanged", async ({ s3, space, to }) => {
    mkdirSync(space.root, { recursive: true });
    writeFileSync(space.to("f"), "content");
    s3.put("from", "content");
    expect(await (await to()).through("f", space.to("f"))).toMatchObject({ outcome: "copied" });
    expect(await (await to()).through("g", "s3://bucket/from")).toMatchObject({ outcome: "copied" });
    const stored = [s3.stored("to/f"), s3.stored("to/g")];
    const worker = await to({ objects: OBJECTS });
    expect(await worker.through("f", space.to("f"))).toMatchObject({ outcome: "unchanged" });
    expect(await worker.through("g", "s3://bucket/from")).toMatchObject({ outcome: "unchanged" });
    expect([s3.stored("to/f"), s3.stored("to/g")]).toEqual(stored);
  });

  it("is of a backup only where and how it is stored", async ({ s3, space, to }) => {
    mkdirSync(space.root, { recursive: true });
    s3.put("to/f", "former", { "x-amz-meta-owner": "bob" });
    writeFileSync(space.to("f"), "content");
    const worker = await to({ objects: OBJECTS, backup: "s3://bucket/old" });
    expect(await worker.through("f", space.to("f"))).toMatchObject({ outcome: "copied" });
    expect(s3.stored("old/f")?.headers).toMatchObject({ "x-amz-meta-owner": "bob" });
    const kept = s3.requests.find((request) => isPut(request) && request.key === "old/f");
    expect(kept?.headers).toMatchObject(PLACE);
    expect(kept?.headers).not.toHaveProperty("x-amz-tagging");
  });

  it("goes along with who pays, which every request says", async ({ s3, to }) => {
    s3.put("small", "content");
    s3.put("large", toBuffer(pattern(17 * MIB)));
    const spec = {
      ...{ endpoint: s3.endpoint, region: "us-east-1", pathStyle: true, anonymous: false },
      requesterPays: true,
    };
    const worker = await to({ s3: spec, objects: OBJECTS, mostCopyBytes: 16 * MIB });
    for (const name of ["small", "large"])
      expect(await worker.through(name, `s3://bucket/${name}`)).toMatchObject({ outcome: "copied" });
    expect(s3.requests.filter((request) => isPart(request) || isPut(request))).toHaveLength(3);
    for (const { headers } of s3.requests) expect(headers["x-amz-request-payer"]).toBe("requester");
  });
});
