import { execFileSync } from "node:child_process";
import { existsSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { open, writeFile } from "node:fs/promises";
import { relative, resolve } from "node:path";
import { pathToFileURL } from "node:url";
import { describe, expect } from "vitest";
import { after, file, gated, status } from "../../harness/behaviours.js";
import { pattern, sha256, sha256OfFile } from "../../harness/content.js";
import { filesBelow } from "../../harness/drover.js";
import { it, type Work } from "../../harness/fixtures.js";
import { Gate, until } from "../../harness/gate.js";

/** Content of the output directory by relative path. */
function tree(work: Work): Record<string, string> {
  return Object.fromEntries(
    filesBelow(work.out).map((path) => [relative(work.out, path), readFileSync(path, "utf8")]),
  );
}

describe("the sources", () => {
  it("may be a URL, a path, a file:// URL and a directory at once", async ({ box, origin, work }) => {
    work.write({ "a.txt": "path", "b c.txt": "file url", "in/deep/er/d.txt": "deep", "in/e.txt": "flat" });
    const sources = [origin.route("/u.txt", file("url")), work.at("a.txt"), work.at("in")];
    const { items, code } = await box.sync([
      ...sources,
      pathToFileURL(work.at("b c.txt")).href,
      ...work.into,
    ]);
    expect(code).toBe(0);
    expect(tree(work)).toEqual({
      "u.txt": "url",
      "a.txt": "path",
      "b c.txt": "file url",
      "deep/er/d.txt": "deep",
      "e.txt": "flat",
    });
    expect(items.map((item) => item.outcome)).toEqual(Array(5).fill("copied"));
    for (const item of items) expect(item.checksum).toBe(await sha256OfFile(item.destination));
  });

  it("may be paths relative to the current directory", async ({ box, work }) => {
    work.write({ "in/a.txt": "a", "b.txt": "b" });
    const { code } = await box.run(["sync", "in/", "./b.txt", ...work.into], { cwd: work.path });
    expect(code).toBe(0);
    expect(tree(work)).toEqual({ "a.txt": "a", "b.txt": "b" });
  });

  it("count once if repeated", async ({ box, origin, work }) => {
    const url = origin.route("/a.txt", file("a"));
    work.write({ "b.txt": "b" });
    const twice = [url, work.at("b.txt"), url, work.at("b.txt")];
    const { items, code } = await box.sync([...twice, ...work.into]);
    expect(code).toBe(0);
    expect(items).toHaveLength(2);
    expect(origin.requests).toHaveLength(1);
  });

  it("may be empty files", async ({ box, origin, work }) => {
    work.write({ "empty-local": "" });
    const { items, code } = await box.sync([
      origin.route("/empty", file("")),
      work.at("empty-local"),
      ...work.into,
    ]);
    expect(code).toBe(0);
    expect(tree(work)).toEqual({ empty: "", "empty-local": "" });
    expect(items.map((item) => [item.bytes, item.checksum])).toEqual(Array(2).fill([0, sha256("")]));
  });

  it("are reported if missing, and the others are carried", async ({ box, work }) => {
    work.write({ "a.txt": "a" });
    const { items, code } = await box.sync([work.at("a.txt"), work.at("nothing.txt"), ...work.into]);
    expect(code).toBe(1);
    expect(items.find((item) => item.source.endsWith("nothing.txt"))?.error?.class).toBe("not-found");
    expect(tree(work)).toEqual({ "a.txt": "a" });
  });
});

describe("the name of a URL's file", () => {
  const cases: [path: string, name: string][] = [
    ["/data/a.csv", "a.csv"],
    ["/", "index"],
    ["/dir/", "index"],
    ["/a%20b.csv", "a b.csv"],
    ["/a+b.csv", "a+b.csv"],
    ["/100%25.txt", "100%.txt"],
    ["/%252B.txt", "%2B.txt"],
    ["/what%3F.txt", "what?.txt"],
    ["/q.csv?x=/y/z.txt", "q.csv"],
    ["/%E6%96%87%E4%BB%B6.txt", "文件.txt"],
    ["/Größe.txt", "Größe.txt"],
  ];
  it.for(cases)("%s → %s", async ([path, name], { box, origin, work }) => {
    origin.route("/*", file("content"));
    const { code } = await box.run(["sync", origin.url(path), ...work.into]);
    expect(code).toBe(0);
    expect(tree(work)).toEqual({ [name]: "content" });
  });

  it("omits the fragment, which is not sent to the server either", async ({ box, origin, work }) => {
    origin.route("/*", file("content"));
    const { code } = await box.run(["sync", origin.url("/a.csv?q=1#part"), ...work.into]);
    expect(code).toBe(0);
    expect(tree(work)).toEqual({ "a.csv": "content" });
    expect(origin.requests[0]).toMatchObject({ path: "/a.csv", query: "q=1" });
  });
});

describe("layout", () => {
  it("puts files below artifact root and script name", async ({ box, origin, work }) => {
    work.write({ "in/x/y.txt": "y" });
    const url = origin.route("/p/a.csv", file("a"));
    const options = ["--artifact-root", work.out, "--script-name", "nightly"];
    const { code } = await box.run(["sync", url, work.at("in"), ...options]);
    expect(code).toBe(0);
    expect(tree(work)).toEqual({ "nightly/a.csv": "a", "nightly/x/y.txt": "y" });
  });

  it("keeps host and path with --layout url", async ({ box, origin, work }) => {
    const urls = [origin.route("/x/a.csv", file("1")), origin.route("/y/a.csv", file("2"))];
    const { code } = await box.run(["sync", ...urls, ...work.into, "--layout", "url"]);
    expect(code).toBe(0);
    const names = Object.keys(tree(work));
    expect(names).toHaveLength(2);
    expect(names[0]).toMatch(/^127\.0\.0\.1[^/]*\/x\/a\.csv$/);
    expect(names[1]).toMatch(/^127\.0\.0\.1[^/]*\/y\/a\.csv$/);
  });
});

describe("collisions", () => {
  it("are refused for two arguments, naming both and the remedy", async ({ box, origin, work }) => {
    const urls = [origin.route("/x/a.csv", file("1")), origin.route("/y/a.csv", file("2"))];
    const { code, stdout, stderr } = await box.run(["sync", ...urls, ...work.into]);
    expect(code).toBe(2);
    expect(stdout).toBe("");
    for (const url of urls) expect(stderr).toContain(url);
    expect(stderr).toContain("--layout url");
    expect(tree(work)).toEqual({});
    expect(origin.requests).toEqual([]);
  });

  it("are refused for a file and a URL", async ({ box, origin, work }) => {
    const path = work.write({ "in/a.csv": "local" });
    const { code, stderr } = await box.run(["sync", path, origin.route("/a.csv", file("1")), ...work.into]);
    expect(code).toBe(2);
    expect(stderr).toContain(path);
  });

  it("fail the later of two lines in a list", async ({ box, origin, work }) => {
    const urls = [origin.route("/x/a.csv", file("1")), origin.route("/y/a.csv", file("2"))];
    const list = work.write({ list: `${urls.join("\n")}\n` });
    const { items, code } = await box.sync(["--from-file", list, ...work.into]);
    expect(code).toBe(1);
    expect(items.find((item) => item.source === urls[0])?.outcome).toBe("copied");
    expect(items.find((item) => item.source === urls[1])?.error?.class).toBe("collision");
    expect(tree(work)).toEqual({ "a.csv": "1" });
  });

  it("never let one directory's file replace another's", async ({ box, work }) => {
    work.write({ "one/f.txt": "1", "one/g.txt": "1", "two/f.txt": "2", "two/h.txt": "2" });
    const { code, items } = await box.sync([work.at("one"), work.at("two"), ...work.into]);
    expect(code).toBe(1);
    const failed = items.filter((item) => item.status !== "ok");
    expect(failed.map((item) => item.error?.class)).toEqual(["collision"]);
    expect(failed[0]?.source).toBe(work.at("two/f.txt"));
    expect(tree(work)).toEqual({ "f.txt": "1", "g.txt": "1", "h.txt": "2" });
  });

  it.for([
    ["a", "a/b"],
    ["a/b", "a"],
  ])("keep %s and fail %s, or the reverse", async (names, { box, origin, work }) => {
    const lines = names.map((name) => `${origin.route(`/${name}`, file(name))}\t${name}`);
    const { items, code } = await box.sync([
      "--from-file",
      work.write({ list: lines.join("\n") }),
      ...work.into,
    ]);
    expect(code).toBe(1);
    const [good] = items.filter((item) => item.status === "ok");
    const [bad] = items.filter((item) => item.status !== "ok");
    expect(bad?.error?.class).toMatch(/^(path|collision)$/);
    const name = relative(work.out, resolve(good?.destination ?? ""));
    expect(tree(work)).toEqual({ [name]: name });
  });

  it("lose no file to letter case or Unicode composition", async ({ box, origin, work }) => {
    // On some file systems these are one name: then one of them must fail, not vanish.
    const names = ["Readme.txt", "README.txt", "caf\u00e9.txt", "cafe\u0301.txt"];
    const lines = names.map((name, i) => `${origin.route(`/${i}`, file(`content ${i}`))}\t${name}`);
    const { items } = await box.sync(["--from-file", work.write({ list: lines.join("\n") }), ...work.into]);
    expect(items).toHaveLength(4);
    for (const item of items) {
      const expected = `content ${item.source.slice(-1)}`;
      if (item.status === "ok") expect(readFileSync(item.destination, "utf8")).toBe(expected);
      else expect(item.error?.class).toBe("collision");
    }
    expect(filesBelow(work.out)).toHaveLength(items.filter((item) => item.status === "ok").length);
  });
});

describe("a list", () => {
  it("gives sources, destinations and checksums", async ({ box, origin, work }) => {
    origin.route("/*", file("content"));
    work.write({ "local file.txt": "local" });
    const lines = [
      origin.url("/a.csv"),
      `${origin.url("/b.csv")}\tsub dir/renamed.csv`,
      `${origin.url("/c.csv")}\tc.csv\t${sha256("content")}`,
      `${origin.url("/d.csv")}\t\t${sha256("content").toUpperCase()}`,
      `${origin.url("/e.csv")}\te.csv\t${sha256("other")}`,
      "",
      work.at("local file.txt"),
      origin.url("/a.csv"),
    ];
    const list = work.write({ list: lines.join("\n") });
    const { items, code } = await box.sync(["--from-file", list, ...work.into, "--backoff-factor", "1"]);
    expect(code).toBe(1);
    expect(tree(work)).toEqual({
      "a.csv": "content",
      "sub dir/renamed.csv": "content",
      "c.csv": "content",
      "d.csv": "content",
      "local file.txt": "local",
    });
    expect(items).toHaveLength(6);
    const of = (path: string) => items.find((item) => item.source === origin.url(path));
    expect(of("/c.csv")?.verified_by).toBe("sha256");
    expect(of("/d.csv")?.verified_by).toBe("sha256");
    expect(of("/e.csv")?.error?.class).toBe("checksum");
  });

  it("may come from standard input, with CRLF, beside arguments", async ({ box, origin, work }) => {
    origin.route("/*", file("x"));
    const input = `${origin.url("/a")}\r\n${origin.url("/b")}\tbee\r\n`;
    const args = ["sync", origin.url("/c"), "--from-file", "-", ...work.into];
    const { code, stdout } = await box.run(args, { input });
    expect(code).toBe(0);
    expect(stdout).toMatch(/^3\/3 successful$/m);
    expect(tree(work)).toEqual({ a: "x", bee: "x", c: "x" });
  });

  it("may come from a pipe, such as <(command), and can be resumed", async ({ box, origin, work }) => {
    const pipe = work.at("pipe");
    execFileSync("mkfifo", [pipe]);
    const gate = new Gate();
    const [a, b] = [origin.route("/a", file("a")), origin.route("/b", gated(gate, file("b")), file("b"))];
    const own = [...work.into, "--state-dir", work.at("state")];
    const run = box.start(["sync", "--from-file", pipe, ...own]);
    await writeFile(pipe, `${a}\n${b}\n`);
    await gate.reached;
    await until("the pipe to be read to its end", () =>
      readdirSync(work.at("state/lists")).every((name) => !name.endsWith(".part")),
    );
    run.interrupt();
    expect((await run.result).code).toBe(130);
    const id = /resume (\S+)/.exec((await run.result).stderr)?.[1] as string;
    const resumed = await box.run(["resume", id, "--state-dir", work.at("state")]);
    expect(resumed.code, resumed.stderr).toBe(0);
    expect(tree(work)).toEqual({ a: "a", b: "b" });
    const dry = box.start(["sync", "--from-file", pipe, ...own, "--dry-run"]);
    await writeFile(pipe, `${a}\n`);
    expect((await dry.result).stdout).toMatch(/1 file/);
  });

  it("from a pipe is never taken for complete when it was cut", async ({ box, origin, work }) => {
    const pipe = work.at("pipe");
    execFileSync("mkfifo", [pipe]);
    const gate = new Gate();
    const [a, b] = [origin.route("/a", gated(gate, file("a")), file("a")), origin.route("/b", file("b"))];
    const torn = origin.route("/torn", file("not this one"));
    const own = ["--state-dir", work.at("state")];
    const run = box.start(["sync", "--from-file", pipe, ...work.into, ...own]);
    const writer = await open(pipe, "w");
    await writer.write(`${a}\n${b}\n${torn}`);
    await gate.reached;
    run.kill("SIGKILL");
    await run.result;
    await writer.close();
    const [{ run: id }] = JSON.parse((await box.run(["runs", "--json", ...own])).stdout);
    for (const _again of [false, true]) {
      const { code, stdout, stderr } = await box.run(["resume", id, ...own]);
      expect(code).toBe(1);
      expect(stdout).toMatch(/^2\/2 successful$/m);
      expect(stderr).toMatch(/still in the pipe.*: give the whole list to a new drover sync\n$/);
      expect(tree(work)).toEqual({ a: "a", b: "b" });
    }
    expect(origin.requestsTo("/torn")).toEqual([]);
    await box.run(["cancel", id, ...own]);
  });

  it("may be empty", async ({ box, work }) => {
    const { code, items, stderr } = await box.sync(["--from-file", "-", ...work.into], { input: "" });
    expect(items).toEqual([]);
    expect(code).toBe(0);
    expect(stderr).not.toBe("");
  });

  it("fails bad lines and carries the others", async ({ box, origin, work }) => {
    const good = origin.route("/good", file("good"));
    const lines = [
      "ftp://example.org/x",
      "http://",
      `${good}\tgood\tnot-a-sum`,
      `${good}?2\tgood2`,
      "gone.txt",
    ];
    const { items, code, stderr } = await box.sync(["--from-file", "-", ...work.into], {
      input: lines.join("\n"),
      cwd: work.path,
    });
    expect(code).toBe(1);
    expect(tree(work)).toEqual({ good2: "good" });
    expect(items.filter((item) => item.status === "ok")).toHaveLength(1);
    expect(items.filter((item) => item.status === "failed")).toHaveLength(4);
    expect(stderr).not.toMatch(/^\s+at /m);
  });

  it("fails a line that is too long and carries the others", async ({ box, origin, work }) => {
    origin.route("/*", file("fine"));
    const lines = Array.from({ length: 800 }, (_, i) => origin.url(`/${i}`));
    lines[700] = `http://user:secret@${"x".repeat(600_000)}`;
    const list = work.write({ list: lines.join("\n") });
    const { items, code, stdout } = await box.sync(["--from-file", list, ...work.into]);
    expect(code).toBe(1);
    expect(items.filter((item) => item.outcome === "copied")).toHaveLength(799);
    const [bad] = items.filter((item) => item.status === "failed");
    expect(bad?.error).toEqual({
      class: "unsupported",
      message: "line 701 of list: the line is over 65536 bytes",
    });
    expect(bad?.source).toBe(`the line at byte ${lines.slice(0, 700).join("\n").length + 1} of the list`);
    expect(stdout).not.toContain("secret");
  });

  it("of any length fails bad sources and carries the others", async ({ box, origin, work }) => {
    origin.route("/ok/*", file("fine"));
    origin.route("/bad/*", status(404));
    const lines = Array.from({ length: 300 }, (_, i) => origin.url(`/${i % 10 === 0 ? "bad" : "ok"}/${i}`));
    const { items, code } = await box.sync(["--from-file", "-", ...work.into], { input: lines.join("\n") });
    expect(code).toBe(1);
    expect(items.filter((item) => item.outcome === "copied")).toHaveLength(270);
    expect(items.filter((item) => item.error?.class === "not-found")).toHaveLength(30);
    expect(filesBelow(work.out)).toHaveLength(270);
  });
});

describe("names", () => {
  const names = [
    "文件.csv",
    "ملف.csv",
    "ファイル.csv",
    "Ω≈ç√.csv",
    "🐑 sheep.txt",
    "cafe\u0301.txt",
    " leading",
    "trailing ",
    "new\nline",
    "tab\there",
    "quote'\".txt",
    "back\\slash",
    "star*?.txt",
    "-dash",
    "#hash%25",
    "co:lon",
    "\u001b[31mred",
    "{a,b}[c]!d",
    "x".repeat(255),
    "ü".repeat(127),
  ];

  it("of any script and of 255 bytes are kept", async ({ box, work }) => {
    for (const name of names) work.write({ [`in/${name}`]: name, [`in/sub/${name}`]: `sub ${name}` });
    const { code, stdout } = await box.run(["sync", work.at("in"), ...work.into]);
    expect(code).toBe(0);
    const expected = names.flatMap((name) => [
      [name, name],
      [`sub/${name}`, `sub ${name}`],
    ]);
    expect(tree(work)).toEqual(Object.fromEntries(expected));
    // A name must not control the terminal or forge a line.
    expect(stdout).not.toContain("\u001b");
    expect(stdout.trimEnd().split("\n")).toHaveLength(2 * names.length + 4);
  });

  it("of any script are read from a URL", async ({ box, origin, work }) => {
    origin.route("/*", file("x"));
    const possible = names.filter((name) => !name.includes("\\"));
    const urls = possible.map((name) => origin.url(`/${encodeURIComponent(name)}`));
    const { code } = await box.run(["sync", ...urls, ...work.into]);
    expect(code).toBe(0);
    expect(tree(work)).toEqual(Object.fromEntries(possible.map((name) => [name, "x"])));
  });
});

it("a larger local file is carried intact", async ({ box, work }) => {
  const content = pattern(9_000_001, 3);
  const path = work.at("big.bin");
  writeFileSync(path, Buffer.concat([...content.slices(0, content.size)]), { mode: 0o640 });
  const { code } = await box.run(["sync", path, ...work.into]);
  expect(code).toBe(0);
  expect(await sha256OfFile(work.to("big.bin"))).toBe(sha256(content));
});

it("every file is requested once, although others in its directory are staged meanwhile", async ({
  box,
  origin,
  work,
}) => {
  // The staging of old sources has an old date, which must not make it count as abandoned.
  const old = { lastModified: new Date("2001-01-01") };
  const lines = Array.from({ length: 120 }, (_, i) => {
    const url = origin.route(`/f${i}`, after((i * 7) % 13, file(`content ${i}`, old)));
    return `${url}\td${Math.floor(i / 4)}/f${i}`;
  });
  const { code } = await box.sync(["--from-file", "-", ...work.into], { input: lines.join("\n") });
  expect(code).toBe(0);
  const asked = origin.requests.map((request) => request.path);
  expect(asked.filter((path, i) => asked.indexOf(path) !== i)).toEqual([]);
});

it.for(["copy", "..copy"])(
  "a destination within the source is not copied: %s",
  async (name, { box, work }) => {
    work.write({ "in/a.txt": "a", "in/b/c.txt": "c" });
    const options = ["--artifact-root", work.at("in", name), "--script-name", ""];
    for (let round = 0; round < 2; round++) {
      expect((await box.run(["sync", work.at("in"), ...options])).code).toBe(0);
      expect(existsSync(work.at("in", name, name))).toBe(false);
    }
    expect(readFileSync(work.at("in", name, "b/c.txt"), "utf8")).toBe("c");
    expect(readFileSync(work.at("in/a.txt"), "utf8")).toBe("a");
  },
);

it("a file that is its own destination is left alone", async ({ box, work }) => {
  const path = work.write({ "in/a.txt": "precious" });
  await box.run(["sync", path, "--artifact-root", work.at("in"), "--script-name", ""]);
  expect(readFileSync(path, "utf8")).toBe("precious");
  expect(filesBelow(work.at("in"))).toEqual([path]);
});
