import { mkdirSync, utimesSync, writeFileSync } from "node:fs";
import { describe, expect } from "vitest";
import { pattern, sha256, toBuffer } from "../../harness/content.js";
import type { FakeRequest } from "../../harness/fake-s3.js";
import { isPart, isPut, it } from "../helpers/s3.js";

const isCopy = (request: FakeRequest) => isPut(request) && "x-amz-copy-source" in request.headers;

describe("a copy by the service", () => {
  it("is reported as verified only by what was compared", async ({ s3, to }) => {
    const noted = { "x-amz-meta-drover-sha256": sha256("content") };
    s3.put("one", "content", noted);
    s3.put("many", "content", { ...noted, etag: '"abc-3"' });
    const fileWorker = await to();
    expect(await fileWorker.through("one", "s3://bucket/one")).toMatchObject({
      checksum: sha256("content"),
      verifiedBy: "etag",
    });
    // The copy has another ETag than the parts had, and its bytes did not come by.
    s3.writes.after = (request) => {
      if (isCopy(request)) s3.put(request.key, "content");
      return false;
    };
    expect(await fileWorker.through("many", "s3://bucket/many")).toMatchObject({
      checksum: sha256("content"),
      verifiedBy: "length",
    });
  });

  it("is not mistaken for what another writer puts in its place right after", async ({ s3, to }) => {
    s3.put("from", "content", { etag: '"abc-3"' });
    let replaced = false;
    s3.writes.after = (request, answer) => {
      if (replaced || !isCopy(request)) return false;
      replaced = true;
      const etag = s3.stored(request.key)?.etag;
      s3.put(request.key, "another", { etag: '"other-1"' });
      answer.end(`<CopyObjectResult><ETag>${etag}</ETag></CopyObjectResult>`);
      return true;
    };
    const outcome = await (await to()).through("f", "s3://bucket/from");
    expect(outcome).toMatchObject({ outcome: "copied", attempts: 2 });
    expect(s3.stored("to/f")?.content.toString()).toBe("content");
  });

  it("does not update time and mode of an object that can only be copied in parts", async ({
    s3,
    space,
    to,
  }) => {
    mkdirSync(space.root, { recursive: true });
    writeFileSync(space.to("f"), toBuffer(pattern(17 << 20)));
    const fileWorker = await to({ mostCopyBytes: 16 << 20 });
    expect((await fileWorker.through("f", space.to("f"))).outcome).toBe("copied");
    const before = s3.stored("to/f");
    utimesSync(space.to("f"), 1_500_000_000, 1_500_000_000);
    const next = await to({ mostCopyBytes: 16 << 20 });
    expect((await next.through("f", space.to("f"))).outcome).toBe("unchanged");
    expect(s3.stored("to/f")).toEqual(before);
  });

  it("in parts reuses only parts of the same version, whatever times the service tells", async ({
    s3,
    to,
  }) => {
    const size = 33 << 20;
    const [old, young] = [toBuffer(pattern(size, 1)), toBuffer(pattern(size, 2))];
    s3.put("from", old, { etag: '"old-3"', "last-modified": "unknown" });
    let parts = 0;
    s3.before = (request) => {
      if (isPart(request) && ++parts === 3)
        s3.put("from", young, { etag: '"young-3"', "last-modified": "unknown" });
      return undefined;
    };
    const outcome = await (await to({ mostCopyBytes: 16 << 20 })).through("f", "s3://bucket/from");
    expect(outcome.outcome).toBe("copied");
    expect(s3.stored("to/f")?.content.equals(young)).toBe(true);
  });

  it("in parts never mixes two versions, even if the service ignores conditions on the source", async ({
    s3,
    to,
  }) => {
    const size = 33 << 20;
    const [old, young] = [toBuffer(pattern(size, 1)), toBuffer(pattern(size, 2))];
    s3.put("from", old);
    let parts = 0;
    s3.before = (request) => {
      delete request.headers["x-amz-copy-source-if-match"];
      if (isPart(request) && ++parts === 3) s3.put("from", young);
      return undefined;
    };
    const fileWorker = await to({ mostCopyBytes: 16 << 20 });
    expect(await fileWorker.once("f", "s3://bucket/from")).toMatchObject({
      is: "retry",
      error: { class: "changed" },
    });
    expect(s3.stored("to/f")).toBeUndefined();
    expect((await fileWorker.through("f", "s3://bucket/from")).outcome).toBe("copied");
    expect(s3.stored("to/f")?.content.equals(young)).toBe(true);
  });
});
