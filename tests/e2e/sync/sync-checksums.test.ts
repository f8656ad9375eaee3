import { existsSync, readFileSync } from "node:fs";
import { describe, expect } from "vitest";
import * as does from "../../harness/behaviours.js";
import { pattern, sha256 } from "../../harness/content.js";
import { filesBelow } from "../../harness/drover.js";
import type { Behaviour } from "../../harness/fault-origin.js";
import { it } from "../../harness/fixtures.js";

const quick = ["--backoff-factor", "1"];

describe("--checksum", () => {
  it.for([
    { name: "in lower case", sum: sha256("content") },
    { name: "in upper case", sum: sha256("content").toUpperCase() },
  ])("is accepted if it matches, $name", async ({ sum }, { box, origin, work }) => {
    const url = origin.route("/a.csv", does.file("content"));
    const { items, code } = await box.sync([url, "--checksum", `${url}=${sum}`, ...work.into]);
    expect(items[0]).toMatchObject({ outcome: "copied", verified_by: "sha256", checksum: sha256("content") });
    expect(code).toBe(0);
  });

  it("belongs to its source, which may contain an equals sign", async ({ box, origin, work }) => {
    origin.route("/*", does.file("content"));
    const sources = [origin.url("/a.csv?x=1&y=2"), origin.url("/b.csv?x=1")];
    const sums = sources.flatMap((url, i) => [
      "--checksum",
      `${url}=${sha256(i === 0 ? "content" : "other")}`,
    ]);
    const { items, code } = await box.sync([...sources, ...sums, ...work.into, ...quick]);
    expect(items.find((item) => item.source === sources[0])?.verified_by).toBe("sha256");
    expect(items.find((item) => item.source === sources[1])?.error?.class).toBe("checksum");
    expect(code).toBe(1);
  });

  it("works for a local file", async ({ box, work }) => {
    const path = work.write({ "a.txt": "local" });
    const right = await box.sync([path, "--checksum", `${path}=${sha256("local")}`, ...work.into]);
    expect(right.items[0]).toMatchObject({ outcome: "copied", verified_by: "sha256" });
    const wrong = await box.sync([path, "--checksum", `${path}=${sha256("x")}`, ...work.into, ...quick]);
    expect(wrong.items[0]).toMatchObject({ outcome: "failed", error: { class: "checksum" } });
    expect(wrong.code).toBe(3);
    expect(readFileSync(work.to("a.txt"), "utf8")).toBe("local");
  });

  it.for([
    { name: "a small file", content: pattern(1000) },
    { name: "a larger one", content: pattern(3_000_000) },
  ])(
    "fails permanently if it is wrong twice, and nothing appears: $name",
    async ({ content }, { box, origin, work }) => {
      const url = origin.route("/a.csv", does.file(content));
      const { items } = await box.sync([url, "--checksum", `${url}=${sha256("x")}`, ...work.into, ...quick]);
      expect(items[0]).toMatchObject({
        status: "failed",
        attempts: 2,
        checksum: null,
        error: { class: "checksum" },
      });
      expect(origin.requests).toHaveLength(2);
      expect(origin.requests[1]?.headers.range).toBeUndefined();
      expect(filesBelow(work.out)).toEqual([]);
    },
  );

  it("is checked again if it is wrong once", async ({ box, origin, work }) => {
    const url = origin.route("/a.csv", does.file("damaged"), does.file("content"));
    const { items } = await box.sync([
      url,
      "--checksum",
      `${url}=${sha256("content")}`,
      ...work.into,
      ...quick,
    ]);
    expect(items[0]).toMatchObject({ outcome: "copied", attempts: 2 });
    expect(readFileSync(work.to("a.csv"), "utf8")).toBe("content");
  });

  it("leaves the old file if it is wrong", async ({ box, origin, work }) => {
    work.write({ "out/a.csv": "old" });
    const url = origin.route("/a.csv", does.file("new"));
    const { code } = await box.sync([url, "--checksum", `${url}=${sha256("x")}`, ...work.into, ...quick]);
    expect(code).toBe(3);
    expect(readFileSync(work.to("a.csv"), "utf8")).toBe("old");
    expect(filesBelow(work.out)).toEqual([work.to("a.csv")]);
  });
});

describe("a digest of the server", () => {
  const body = "content";
  const right: [name: string, headers: does.Headers, verifiedBy: string][] = [
    ["Repr-Digest", does.digests.repr(body), "repr-digest"],
    ["Content-Digest", does.digests.content(body), "content-digest"],
    ["Digest", does.digests.old(body), "digest"],
    ["Content-MD5", does.digests.md5(body), "content-md5"],
    ["a digest of an unknown kind", { "repr-digest": "unixsum=:AAAA:" }, "length"],
    ["a digest that is none", { "repr-digest": "nonsense", digest: ",,=", "content-md5": "?" }, "length"],
    ["nothing but the length", {}, "length"],
  ];
  it.for(right)("is used: %s", async ([, headers, verifiedBy], { box, origin, work }) => {
    const { items } = await box.sync([origin.route("/a", does.file(body, { headers })), ...work.into]);
    expect(items[0]).toMatchObject({ outcome: "copied", verified_by: verifiedBy, checksum: sha256(body) });
  });

  it.for<[string, does.Headers]>([
    ["Repr-Digest", does.digests.repr("x")],
    ["Content-Digest", does.digests.content("x")],
    ["Digest", does.digests.old("x")],
    ["Content-MD5", does.digests.md5("x")],
  ])("is trusted, so that a wrong %s fails the file", async ([, headers], { box, origin, work }) => {
    const url = origin.route("/a", does.file(body, { headers }));
    const { items } = await box.sync([url, ...work.into, ...quick]);
    expect(items[0]).toMatchObject({ status: "failed", attempts: 2, error: { class: "checksum" } });
    expect(existsSync(work.to("a"))).toBe(false);
  });

  it("is overridden by the given checksum", async ({ box, origin, work }) => {
    const url = origin.route("/a", does.file(body, { headers: does.digests.repr(body) }));
    const { items } = await box.sync([url, "--checksum", `${url}=${sha256(body)}`, ...work.into]);
    expect(items[0]?.verified_by).toBe("sha256");
  });

  it("applies to a resumed body: Content-Digest to the range, Repr-Digest to the whole", async ({
    box,
    origin,
    work,
  }) => {
    const content = pattern(4_000_000);
    const part: Behaviour = (exchange) => {
      const from = Number(/^bytes=(\d+)-/.exec(String(exchange.request.headers.range))?.[1] ?? 0);
      const sent = Buffer.concat([...content.slices(from, content.size)]);
      const headers = { ...does.digests.repr(content), ...does.digests.content(sent) };
      return does.file(content, { headers })(exchange);
    };
    const url = origin.route("/a", does.cutAt(content, 3_000_000, "close"), part);
    const { items } = await box.sync([url, ...work.into, ...quick]);
    expect(items[0]).toMatchObject({ outcome: "copied", attempts: 2, checksum: sha256(content) });
  });
});

describe("the verification of a file", () => {
  it("is reported as missing if the body ends with its connection", async ({ box, origin, work }) => {
    const url = origin.route("/a", does.closeDelimited("content"));
    const { items, code } = await box.sync([url, ...work.into]);
    expect(items[0]).toMatchObject({
      outcome: "copied",
      verified_by: "unverified",
      checksum: sha256("content"),
    });
    expect(code).toBe(0);
  });

  it("uses a given checksum", async ({ box, origin, work }) => {
    const url = origin.route("/a", does.closeDelimited("content"));
    const { items } = await box.sync([url, "--checksum", `${url}=${sha256("content")}`, ...work.into]);
    expect(items[0]).toMatchObject({ outcome: "copied", verified_by: "sha256" });
  });

  it("uses a digest of the server", async ({ box, origin, work }) => {
    const url = origin.route("/a", does.closeDelimited("content", does.digests.repr("content")));
    const { items } = await box.sync([url, ...work.into]);
    expect(items[0]).toMatchObject({ outcome: "copied", verified_by: "repr-digest" });
  });

  it("uses the length of a chunked body", async ({ box, origin, work }) => {
    const { items } = await box.sync([origin.route("/a", does.chunked("content")), ...work.into]);
    expect(items[0]).toMatchObject({ outcome: "copied", checksum: sha256("content"), bytes: 7 });
  });
});
