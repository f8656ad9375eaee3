import { chmodSync, utimesSync } from "node:fs";
import { describe, expect } from "vitest";
import { pattern, sha256, toBuffer } from "../../harness/content.js";
import type { FakeRequest } from "../../harness/fake-s3.js";
import { itWithFakeS3 as it, type Work } from "../../harness/fixtures.js";

const large = toBuffer(pattern(20 << 20));
const isPart = ({ method, query }: FakeRequest) => method === "PUT" && query.has("partNumber");
const isCopy = ({ method, key, headers }: FakeRequest) =>
  method === "PUT" && key === "to/f" && headers["x-amz-copy-source"] !== undefined;

/** Gives the file another mode and time. */
function touch(work: Work): void {
  chmodSync(work.at("in/f"), 0o600);
  utimesSync(work.at("in/f"), 1_500_000_000, 1_500_000_000.25);
}

const touched = {
  "x-amz-meta-mode": "100600",
  "x-amz-meta-mtime": "1500000000.25",
  "x-amz-meta-drover-sha256": sha256(large),
};

describe("a time and a mode that change alone", () => {
  const to = ["--artifact-root", "s3://bucket/to"];

  it("arrive without the bytes of a large file", async ({ box, work, s3 }) => {
    work.write({ "in/f": large });
    const command = [work.at("in"), ...to];
    await box.sync(command, { env: s3.env });
    const before = s3.stored("to/f");
    const parts = s3.requests.filter(isPart).length;
    touch(work);
    const { items } = await box.sync(command, { env: s3.env });
    expect(items[0]).toMatchObject({ outcome: "copied", checksum: sha256(large) });
    expect(items[0]).not.toHaveProperty("unconditional");
    const after = s3.stored("to/f");
    expect(after?.headers).toMatchObject(touched);
    expect(after?.headers["content-type"]).toBe(before?.headers["content-type"]);
    expect(after?.content.equals(large)).toBe(true);
    expect(s3.requests.filter(isPart)).toHaveLength(parts);
    expect(s3.requests.filter(isCopy).map(({ headers }) => headers)).toEqual([
      expect.objectContaining({ "if-match": before?.etag, "x-amz-copy-source-if-match": before?.etag }),
    ]);
    // Its ETag is another now, and the catalog knows.
    expect(after?.etag).not.toBe(before?.etag);
    const again = await box.sync([...command, "--check-destination"], { env: s3.env });
    expect(again.items[0]?.outcome).toBe("unchanged");
  });

  it("arrive with the bytes where the service takes no conditions for copies", async ({ box, work, s3 }) => {
    s3.writes.conditions = "none";
    work.write({ "in/f": large });
    const command = [work.at("in"), ...to];
    await box.sync(command, { env: s3.env });
    touch(work);
    const { items } = await box.sync(command, { env: s3.env });
    expect(items[0]?.outcome).toBe("copied");
    expect(s3.stored("to/f")?.headers).toMatchObject(touched);
    expect(s3.requests.filter(isCopy)).toEqual([]);
  });

  it("arrive with the bytes where the object is archived, and could not be read", async ({
    box,
    work,
    s3,
  }) => {
    work.write({ "in/f": large });
    touch(work);
    s3.put("to/f", large, { "x-amz-meta-mtime": "1", "x-amz-storage-class": "GLACIER" });
    const fresh = ["--state-dir", work.at("state")];
    const { items } = await box.sync([work.at("in"), ...to, ...fresh], { env: s3.env });
    expect(items[0]?.outcome).toBe("copied");
    expect(s3.stored("to/f")?.headers).toMatchObject(touched);
    expect(s3.requests.filter(isCopy)).toEqual([]);
  });

  it("never come to what another writer put there meanwhile", async ({ box, work, s3 }) => {
    work.write({ "in/f": large });
    const command = [work.at("in"), ...to];
    await box.sync(command, { env: s3.env });
    touch(work);
    const other = Buffer.alloc(large.length, "x");
    const seen: Record<string, string>[] = [];
    s3.fault = (request) => {
      if (isCopy(request) && seen.length === 0) s3.put("to/f", other);
      if (isCopy(request)) seen.push(s3.stored("to/f")?.headers ?? {});
      return false;
    };
    const { items } = await box.sync(command, { env: s3.env });
    expect(items[0]).toMatchObject({ outcome: "copied", attempts: 2 });
    expect(seen).toEqual([{}]);
    const after = s3.stored("to/f");
    expect([after?.content.equals(large), after?.headers]).toEqual([true, expect.objectContaining(touched)]);
  });

  it.for([
    { noted: { "x-amz-meta-mtime": "1" }, outcome: "copied" },
    { noted: { "x-amz-meta-mode": "100644" }, outcome: "copied" },
    { noted: { "x-amz-meta-mtime": "1500000000.25" }, outcome: "unchanged" },
    { noted: {}, outcome: "unchanged" },
  ])(
    "where another tool has noted $noted, they are $outcome",
    async ({ noted, outcome }, { box, work, s3 }) => {
      for (const bytes of [large, Buffer.from("small")]) {
        work.write({ "in/f": bytes });
        touch(work);
        s3.put("to/f", bytes, noted);
        const fresh = ["--state-dir", work.at(`state-${bytes.length}`)];
        const { items } = await box.sync([work.at("in"), ...to, ...fresh], { env: s3.env });
        expect(items[0]?.outcome).toBe(outcome);
        const headers = s3.stored("to/f")?.headers;
        if (outcome === "unchanged") expect(headers).toEqual(noted);
        else expect(headers).toMatchObject({ ...touched, "x-amz-meta-drover-sha256": sha256(bytes) });
      }
    },
  );
});
