import {
  existsSync,
  mkdirSync,
  readFileSync,
  renameSync,
  symlinkSync,
  utimesSync,
  writeFileSync,
} from "node:fs";
import { describe, expect } from "vitest";
import { file, pausedAt } from "../../harness/behaviours.js";
import { itWithFakeS3 as it } from "../../harness/fixtures.js";
import { Gate } from "../../harness/gate.js";
import { here } from "../../harness/named-trees.js";
import { hasRclone, plant, rclone, remoteEnv } from "../../harness/rclone.js";

describe("files that somebody writes while they are carried", () => {
  it.for(["--ignore-existing", "--update"])("are left with %s", async (flag, { box, work, origin }) => {
    const gate = new Gate();
    const headers = { "last-modified": "Thu, 01 Jan 2026 00:00:00 GMT" };
    const url = origin.route("/a", pausedAt("ours, which comes late", 4, gate, { headers }));
    const syncing = box.sync([url, ...work.into, flag]);
    await gate.reached;
    work.write({ "out/a": "theirs" });
    gate.open();
    const { code, items } = await syncing;
    expect([code, items]).toMatchObject([0, [{ outcome: "unchanged", checksum: null }]]);
    expect(readFileSync(work.to("a"), "utf8")).toBe("theirs");
    expect(here(work.out)).toEqual(["a"]);
  });

  it.for(["--ignore-existing", "--update"])("are left in S3 with %s", async (flag, { box, work, s3 }) => {
    work.write({ "in/a": "ours" });
    utimesSync(work.at("in/a"), 1_767_225_600, 1_767_225_600);
    let isWritten = false;
    s3.before = async ({ method, key, headers }) => {
      if (method !== "PUT" || key !== "p/a" || isWritten) return;
      isWritten = true;
      expect(headers["if-none-match"]).toBe("*");
      s3.put("p/a", "theirs");
    };
    const { items } = await box.sync([work.at("in"), "--to", "s3://bucket/p", flag], { env: s3.env });
    expect(items).toMatchObject([{ outcome: "unchanged" }]);
    expect(s3.stored("p/a")?.content.toString()).toBe("theirs");
  });

  it("are left in S3 with --update where they replace an older object", async ({ box, work, s3 }) => {
    work.write({ "in/a": "ours" });
    utimesSync(work.at("in/a"), 1_767_225_600, 1_767_225_600);
    s3.put("p/a", "older", { "x-amz-meta-mtime": "1767225500" });
    const at: string[] = [];
    s3.before = async ({ method, key }) => {
      if (key !== "p/a") return;
      at.push(method);
      if (method === "PUT" && at.filter((each) => each === "PUT").length === 2) s3.put("p/a", "theirs");
    };
    const { items } = await box.sync([work.at("in"), "--to", "s3://bucket/p", "--update"], { env: s3.env });
    expect(items).toMatchObject([{ outcome: "unchanged" }]);
    expect(s3.stored("p/a")?.content.toString()).toBe("theirs");
  });

  it("are replaced with --update where they are older", async ({ box, work, origin }) => {
    const gate = new Gate();
    const headers = { "last-modified": "Thu, 01 Jan 2026 00:00:00 GMT" };
    const url = origin.route("/a", pausedAt("ours", 2, gate, { headers }));
    const syncing = box.sync([url, ...work.into, "--update"]);
    await gate.reached;
    const theirs = work.write({ "out/b": "theirs" });
    utimesSync(theirs, 1, 1);
    renameSync(theirs, work.to("a"));
    gate.open();
    expect((await syncing).code).toBe(0);
    expect(readFileSync(work.to("a"), "utf8")).toBe("ours");
  });
});

describe("files of URLs", () => {
  it("are compared by what their server says", async ({ box, work, origin }) => {
    const [older, newer] = ["2026-01-01", "2099-01-01"] as const;
    const urls = [
      origin.route("/older", file("other", { lastModified: new Date(older) })),
      origin.route("/newer", file("other", { lastModified: new Date(newer) })),
      origin.route("/undated", file("other", { lastModified: null })),
    ];
    for (const name of ["older", "newer", "undated"]) work.write({ [`out/${name}`]: "there" });
    const sized = await box.sync([...urls, ...work.into, "--size-only"]);
    expect(sized.items.map(({ outcome }) => outcome)).toEqual(["unchanged", "unchanged", "unchanged"]);
    const { items } = await box.sync([...urls, ...work.into, "--update"]);
    expect(Object.fromEntries(items.map(({ source, outcome }) => [source, outcome]))).toEqual(
      Object.fromEntries(urls.map((url, at) => [url, at === 0 ? "unchanged" : "copied"])),
    );
    const before = origin.requestsTo("/older").length;
    await box.sync([...urls, ...work.into, "--ignore-existing"]);
    expect(origin.requestsTo("/older")).toHaveLength(before);
  });
});

describe("what is at a local destination", () => {
  it("counts as there when it is a link", async ({ box, work }) => {
    work.write({ "in/a": "ours" });
    mkdirSync(work.out);
    symlinkSync("nowhere", work.to("a"));
    const { items } = await box.sync([work.at("in"), ...work.into, "--ignore-existing"]);
    expect(items).toMatchObject([{ outcome: "unchanged" }]);
    expect(existsSync(work.to("nowhere"))).toBe(false);
  });

  it("gets no directories for files that --existing leaves out", async ({ box, work }) => {
    work.write({ "in/d/a": "a", "in/b": "b", "out/b": "x" });
    const dry = await box.sync([work.at("in"), ...work.into, "--existing", "--dry-run"]);
    expect(dry.items).toMatchObject([{ action: "copy" }, { action: "unchanged" }]);
    expect((await box.sync([work.at("in"), ...work.into, "--existing"])).code).toBe(0);
    expect(existsSync(work.to("d"))).toBe(false);
    expect(readFileSync(work.to("b"), "utf8")).toBe("b");
    const none = await box.sync([work.at("in"), "--to", work.at("none"), "--existing", "--dry-run"]);
    expect(none.items).toMatchObject([{ action: "unchanged" }, { action: "unchanged" }]);
  });
});

describe("two runs of a fleet", () => {
  it("share no file where one of them leaves what is there", { timeout: 60_000 }, async ({
    box,
    work,
    fleet,
  }) => {
    work.write({ "in/a": "ours", "out/a": "theirs" });
    const to = [work.at("in"), "--to", work.out, ...fleet.own];
    const leaving = await box.run(["sync", ...to, "--ignore-existing", "--detach"]);
    expect(leaving.code).toBe(0);
    await fleet.worker();
    expect((await box.run(["sync", ...to])).code).toBe(0);
    expect(readFileSync(work.to("a"), "utf8")).toBe("ours");
    const again = await box.run(["sync", ...to, "--ignore-existing"]);
    expect([again.code, again.stdout]).toEqual([0, expect.stringMatching(/1 unchanged/)]);
  });
});

describe.runIf(hasRclone)("an S3 destination", () => {
  it.for<[string, string[], string[]]>([
    ["--update", ["--update"], ["--update"]],
    ["--size-only", ["--size-only"], ["--size-only"]],
    ["--checksum-only", ["--checksum-only"], ["--checksum"]],
    ["--ignore-existing", ["--ignore-existing"], ["--ignore-existing"]],
  ])("is written as by rclone with %s", async ([, flags, theirs], { box, work, s3 }) => {
    const texts = ["same", "other", "longer"];
    const day = 1_767_225_600;
    const tree = new Map(
      texts.flatMap((text) => [-40, 0, 40].map((by) => [`${text}${by}`, { text, second: 100 }])),
    );
    plant(work.at("in"), tree);
    for (const prefix of ["ours", "theirs"])
      for (const [name, { text }] of tree) {
        const by = Number(name.replace(/^[a-z]+/, ""));
        const content = name.startsWith("other") ? "OTHER" : name.startsWith("longer") ? `${text}!` : text;
        // The service says that all of them were written just now, which is no time of theirs.
        s3.put(`${prefix}/${name}`, content, { "x-amz-meta-mtime": String(day + 100 + by) });
      }
    s3.put("ours/undated", "there");
    s3.put("theirs/undated", "there");
    plant(work.at("in"), new Map([["undated", { text: "ours, which are longer", second: 0 }]]));
    const before = Object.fromEntries(s3.keys.map((key) => [key, s3.stored(key)?.content.toString()]));
    const dry = await box.sync([work.at("in"), "--to", "s3://bucket/ours", ...flags, "--dry-run"], {
      env: s3.env,
    });
    const { code, items } = await box.sync([work.at("in"), "--to", "s3://bucket/ours", ...flags], {
      env: s3.env,
    });
    expect(code).toBe(0);
    expect(
      dry.items.map((item) => (item as unknown as { action: string }).action.slice(0, 4)).sort(),
    ).toEqual(items.map(({ outcome }) => outcome.slice(0, 4).replace("copi", "copy")).sort());
    expect(
      await rclone(
        ["copy", "--no-update-modtime", ...theirs, "in", "t:bucket/theirs"],
        work.path,
        remoteEnv(s3.endpoint),
      ),
    ).toBe(0);
    const now = (prefix: string) =>
      Object.fromEntries(
        s3.keys
          .filter((key) => key.startsWith(prefix))
          .map((key) => [key.slice(prefix.length), s3.stored(key)?.content.toString()]),
      );
    const expected = now("theirs/");
    // Of the same size and time: rclone compares no more, Drover does.
    if (flags[0] === "--update") expected.other0 = "other";
    expect(now("ours/")).toEqual(expected);
    expect(now("ours/")).not.toEqual(before);
  });
});

describe("flags that exclude each other", () => {
  it.for<[string[], RegExp]>([
    [["--ignore-existing", "--existing"], /no file is copied/],
    [["--ignore-existing", "--update"], /compares nothing: leave --update out/],
    [["--ignore-existing", "--size-only"], /compares nothing: leave --size-only out/],
    [["--size-only", "--checksum-only"], /exclude each other/],
    [["--ignore-times", "--update"], /leave --update out/],
    [["--ignore-times", "--checksum-only"], /leave --checksum-only out/],
  ])("are refused: %s", async ([flags, why], { box, work }) => {
    work.write({ "in/a": "a" });
    const { code, stderr } = await box.run(["sync", work.at("in"), ...work.into, ...flags]);
    expect([code, stderr]).toEqual([2, expect.stringMatching(why)]);
    expect(existsSync(work.out)).toBe(false);
  });

  it("are refused where the destination tells no times", async ({ box, work }) => {
    writeFileSync(work.at("a"), "a");
    const to = "webdav+http://127.0.0.1:9/dav";
    const { code, stderr } = await box.run(["sync", work.at("a"), "--to", to, "--update"]);
    expect([code, stderr]).toEqual([2, expect.stringMatching(/--update needs the times/)]);
  });
});
