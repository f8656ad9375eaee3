import { chmodSync, readFileSync, rmSync, statSync, truncateSync, utimesSync, writeFileSync } from "node:fs";
import { describe, expect } from "vitest";
import { etagOf, file, MutableFile } from "../../harness/behaviours.js";
import { sha256 } from "../../harness/content.js";
import { it } from "../../harness/fixtures.js";

/** What changes when a file is written again, even with the same bytes. */
function identity(path: string) {
  const { ino, mtimeNs } = statSync(path, { bigint: true });
  return { ino, mtimeNs };
}

describe("an unchanged file is not copied again", () => {
  it.for([
    { name: "with an ETag", options: { etag: '"v1"', lastModified: null } },
    { name: "with a weak ETag", options: { etag: 'W/"v1"', lastModified: null } },
    { name: "with Last-Modified alone", options: { etag: null } },
    { name: "with a date in the far future", options: { etag: null, lastModified: new Date("2076-01-01") } },
  ])("from a server $name", async ({ options }, { box, origin, work }) => {
    const url = origin.route("/a.csv", file("content", options));
    const first = await box.sync([url, ...work.into]);
    expect(first.items[0]?.outcome).toBe("copied");
    const before = identity(work.to("a.csv"));
    const { items, code } = await box.sync([url, ...work.into]);
    expect(items[0]).toMatchObject({ outcome: "unchanged", status: "ok", checksum: sha256("content") });
    expect(code).toBe(0);
    expect(identity(work.to("a.csv"))).toEqual(before);
    if (options.etag !== null) expect(origin.requests.at(-1)?.headers["if-none-match"]).toBeDefined();
  });

  it("from a server without validators, if its checksum is given", async ({ box, origin, work }) => {
    const url = origin.route("/a.csv", file("content", { etag: null, lastModified: null }));
    const command = [url, "--checksum", `${url}=${sha256("content")}`, ...work.into];
    await box.sync(command);
    const before = identity(work.to("a.csv"));
    const { items } = await box.sync(command);
    expect(items[0]?.outcome).toBe("unchanged");
    expect(identity(work.to("a.csv"))).toEqual(before);
  });

  it("but read again with --ignore-times, and replaced where it differs", async ({ box, origin, work }) => {
    let content = "first.";
    // A server that says of another content that it is the same.
    const url = origin.route("/a.csv", (exchange) => file(content, { etag: '"v1"' })(exchange));
    await box.sync([url, ...work.into]);
    content = "second";
    const known = await box.sync([url, ...work.into]);
    expect(known.items[0]).toMatchObject({ outcome: "unchanged" });
    const again = await box.sync([url, ...work.into, "--ignore-times"]);
    expect(again.items[0]).toMatchObject({ outcome: "copied", checksum: sha256("second") });
    expect(readFileSync(work.to("a.csv"), "utf8")).toBe("second");
  });

  it("if it is at the destination already and its checksum is given", async ({ box, origin, work }) => {
    const url = origin.route("/a.csv", file("content"));
    work.write({ "out/a.csv": "content" });
    const before = identity(work.to("a.csv"));
    const { items } = await box.sync([url, "--checksum", `${url}=${sha256("content")}`, ...work.into]);
    expect(items[0]).toMatchObject({ outcome: "unchanged", verified_by: "sha256" });
    expect(identity(work.to("a.csv"))).toEqual(before);
    expect(origin.requests.filter((request) => request.method === "GET")).toEqual([]);
  });

  it.for([
    { name: "of today", at: new Date() },
    { name: "of the year 2076", at: new Date("2076-05-04") },
    { name: "of 1980", at: new Date("1980-01-01") },
  ])("from a directory with files $name", async ({ at }, { box, work }) => {
    work.write({ "in/a.txt": "a", "in/b/c.txt": "c" });
    for (const name of ["a.txt", "b/c.txt"]) utimesSync(work.at("in", name), at, at);
    await box.sync([work.at("in"), ...work.into]);
    const before = [identity(work.to("a.txt")), identity(work.to("b/c.txt"))];
    const { items } = await box.sync([work.at("in"), ...work.into]);
    expect(items.map((item) => item.outcome)).toEqual(["unchanged", "unchanged"]);
    expect([identity(work.to("a.txt")), identity(work.to("b/c.txt"))]).toEqual(before);
  });

  it("in any number of syncs", async ({ box, origin, work }) => {
    origin.route("/*", file("same"));
    const urls = Array.from({ length: 60 }, (_, i) => origin.url(`/f${i}`));
    await box.sync([...urls, ...work.into]);
    const { items, code } = await box.sync([...urls, ...work.into]);
    expect(code).toBe(0);
    expect(new Set(items.map((item) => item.outcome))).toEqual(new Set(["unchanged"]));
    expect(items).toHaveLength(60);
  });
});

describe("a changed file is copied", () => {
  it("of the same size and an older date, from a path", async ({ box, work }) => {
    const path = work.write({ "a.txt": "one" });
    await box.sync([path, ...work.into]);
    writeFileSync(path, "two");
    utimesSync(path, new Date("2001-01-01"), new Date("2001-01-01"));
    const { items } = await box.sync([path, ...work.into]);
    expect(items[0]?.outcome).toBe("copied");
    expect(readFileSync(work.to("a.txt"), "utf8")).toBe("two");
  });

  it("of the same size and an older date, from a directory", async ({ box, work }) => {
    const path = work.write({ "in/a.txt": "one" });
    work.write({ "in/b.txt": "stays" });
    await box.sync([work.at("in"), ...work.into]);
    writeFileSync(path, "two");
    utimesSync(path, new Date("2001-01-01"), new Date("2001-01-01"));
    const { items } = await box.sync([work.at("in"), ...work.into]);
    expect(items.map((item) => item.outcome).sort()).toEqual(["copied", "unchanged"]);
    expect(readFileSync(work.to("a.txt"), "utf8")).toBe("two");
  });

  it.for([
    { name: "an ETag", options: {} },
    { name: "Last-Modified alone", options: { etag: null } },
  ])(
    "of the same size and an older date, from a server with $name",
    async ({ options }, { box, origin, work }) => {
      const served = new MutableFile("one", { ...options, lastModified: new Date("2024-01-01") });
      const url = origin.route("/a.txt", served.serve);
      await box.sync([url, ...work.into]);
      served.replace("two", { ...options, lastModified: new Date("2001-01-01") });
      const { items } = await box.sync([url, ...work.into]);
      expect(items[0]?.outcome).toBe("copied");
      expect(readFileSync(work.to("a.txt"), "utf8")).toBe("two");
    },
  );

  it("from another URL that gives the same ETag", async ({ box, origin, work }) => {
    const options = { etag: '"1"' };
    await box.sync([origin.route("/one/a.csv", file("one", options)), ...work.into]);
    const { items } = await box.sync([origin.route("/two/a.csv", file("two", options)), ...work.into]);
    expect(items[0]?.outcome).toBe("copied");
    expect(readFileSync(work.to("a.csv"), "utf8")).toBe("two");
  });

  it("from a server without validators", async ({ box, origin, work }) => {
    const served = new MutableFile("one", { etag: null, lastModified: null });
    const url = origin.route("/a.txt", served.serve);
    await box.sync([url, ...work.into]);
    served.replace("two", { etag: null, lastModified: null });
    await box.sync([url, ...work.into]);
    expect(readFileSync(work.to("a.txt"), "utf8")).toBe("two");
  });

  it("if the given checksum differs from that of the existing file", async ({ box, origin, work }) => {
    const served = new MutableFile("one");
    const url = origin.route("/a.txt", served.serve);
    await box.sync([url, ...work.into]);
    // The server's validators lie: they did not change with the content.
    served.replace("two", { etag: etagOf("one") });
    const { items } = await box.sync([url, "--checksum", `${url}=${sha256("two")}`, ...work.into]);
    expect(items[0]).toMatchObject({ outcome: "copied", verified_by: "sha256" });
    expect(readFileSync(work.to("a.txt"), "utf8")).toBe("two");
  });
});

it("a changed mode or time alone is copied, too", async ({ box, work }) => {
  work.write({ "in/a": "content" });
  chmodSync(work.at("in/a"), 0o644);
  utimesSync(work.at("in/a"), 1_400_000_000, 1_400_000_000);
  const command = [work.at("in"), ...work.into];
  await box.sync(command);
  for (const [mode, seconds] of [
    [0o600, 1_400_000_000],
    [0o600, 1_500_000_000],
  ] as const) {
    chmodSync(work.at("in/a"), mode);
    utimesSync(work.at("in/a"), seconds, seconds);
    expect((await box.sync(command)).items[0]?.outcome).toBe("copied");
    const stat = statSync(work.to("a"));
    expect([stat.mode & 0o777, stat.mtimeMs]).toEqual([mode, seconds * 1000]);
  }
  expect((await box.sync(command)).items[0]?.outcome).toBe("unchanged");
});

describe("a destination that was changed is repaired", () => {
  const cases: { name: string; spoil: (path: string) => void }[] = [
    { name: "removed", spoil: (path) => rmSync(path) },
    { name: "overwritten", spoil: (path) => writeFileSync(path, "tampered with") },
    { name: "overwritten with as many bytes", spoil: (path) => writeFileSync(path, "CONTENT") },
    { name: "cut short", spoil: (path) => truncateSync(path, 3) },
    {
      name: "replaced by an empty file of the same date",
      spoil: (path) => {
        const { atime, mtime } = statSync(path);
        writeFileSync(path, "");
        utimesSync(path, atime, mtime);
      },
    },
  ];
  it.for(cases)("$name", async ({ spoil }, { box, origin, work }) => {
    const path = work.write({ "local.txt": "content" });
    const sources = [origin.route("/remote.txt", file("content")), path];
    await box.sync([...sources, ...work.into]);
    spoil(work.to("remote.txt"));
    spoil(work.to("local.txt"));
    const { items, code } = await box.sync([...sources, ...work.into]);
    expect(code).toBe(0);
    expect(items.map((item) => item.outcome)).toEqual(["copied", "copied"]);
    expect(readFileSync(work.to("remote.txt"), "utf8")).toBe("content");
    expect(readFileSync(work.to("local.txt"), "utf8")).toBe("content");
  });
});

it("a sync works without the state of earlier runs", async ({ box, origin, work }) => {
  const url = origin.route("/a.csv", file("content"));
  const own = (name: string) => ["--state-dir", work.at(name)];
  await box.sync([url, ...work.into, ...own("s1")]);
  const { items, code } = await box.sync([url, ...work.into, ...own("s2")]);
  expect(code).toBe(0);
  expect(items[0]?.status).toBe("ok");
  expect(readFileSync(work.to("a.csv"), "utf8")).toBe("content");
});
