import { execFileSync } from "node:child_process";
import {
  chmodSync,
  mkdirSync,
  readFileSync,
  statSync,
  symlinkSync,
  utimesSync,
  writeFileSync,
} from "node:fs";
import { dirname, join } from "node:path";
import { describe, expect } from "vitest";
import { digests, file, status } from "../../harness/behaviours.js";
import { REPOSITORY, type Sandbox, type StartOptions } from "../../harness/drover.js";
import { sendError } from "../../harness/fake-s3.js";
import { apache, fileManager } from "../../harness/file-servers.js";
import type { Work } from "../../harness/fixtures.js";
import { it } from "../../harness/s3-fixtures.js";

const isRoot = process.getuid?.() === 0;
const NOBODY = 65534;

/** Whether another user can run the checkout. */
function openToAll(path: string): boolean {
  for (let at = path; ; at = dirname(at)) {
    if ((statSync(at).mode & 0o001) === 0) return false;
    if (at === dirname(at)) return true;
  }
}

const permissionsHold = !isRoot || (openToAll(REPOSITORY) && openToAll(process.execPath));

function asPlainUser(box: Sandbox, work: Work): StartOptions {
  if (!isRoot) return {};
  const home = work.at("nobody");
  mkdirSync(home, { mode: 0o700 });
  execFileSync("chown", ["-R", `${NOBODY}:${NOBODY}`, work.path]);
  chmodSync(box.root, 0o755);
  return { uid: NOBODY, env: { HOME: home, XDG_STATE_HOME: home, XDG_RUNTIME_DIR: home } };
}

/** The combined report of two sides, its lines, and how it ended. */
async function check(box: Sandbox, args: string[], options: StartOptions = {}) {
  const { code, stdout, stderr } = await box.run(["check", ...args, "--combined", "-"], options);
  return { code, stderr, lines: stdout.split("\n").filter(Boolean) };
}

describe("drover check", () => {
  it("tells of both sides, and writes to neither", async ({ box, work }) => {
    work.write({ "a/same": "1", "a/other": "22", "a/size": "3", "a/only": "4" });
    work.write({ "b/same": "1", "b/other": "2!", "b/size": "33", "b/extra": "5" });
    const before = ["a", "b"].map((each) => statSync(work.at(each)).mtimeMs);
    const { code, stdout, stderr } = await box.run(["check", work.at("a"), work.at("b")]);
    expect([code, stderr]).toEqual([1, ""]);
    expect(stdout).toBe(
      [
        ...["- extra", "+ only", "* other (bytes differ)", "* size (1 B, there 2 B)"],
        "1 equal, 2 different, 1 missing on the destination, 1 only there, 0 not compared\n",
      ].join("\n"),
    );
    expect(["a", "b"].map((each) => statSync(work.at(each)).mtimeMs)).toEqual(before);
    const json = await box.run(["check", work.at("a"), work.at("b"), "--json"]);
    expect(JSON.parse(json.stdout)).toMatchObject({
      ...{ match: 1, differ: 2, missing_on_src: 1, missing_on_dst: 1, error: 0, complete: true },
      files: expect.arrayContaining([
        { path: "size", state: "differ", by: "size", source_bytes: 1, destination_bytes: 2 },
      ]),
    });
    const none = await box.run(["check", work.at("a"), work.at("a"), "--json", "--include", "nothing"]);
    expect([none.code, JSON.parse(none.stdout).files]).toEqual([0, []]);
  });

  it("writes a name that would break a line as a JSON string", async ({ box, work }) => {
    work.write({ "a/new\nline": "1", 'a/"quoted"': "1", 'a/"half': "1", "a/\u2028": "1", "b/x": "" });
    const { lines } = await check(box, [work.at("a"), work.at("b")]);
    expect(lines).toEqual(['+ "half', '+ "\\"quoted\\""', '+ "new\\nline"', "- x", '+ "\\u2028"']);
  });

  it.skipIf(!permissionsHold)("never takes what it cannot read for missing", async ({ box, work }) => {
    for (const side of ["a", "b"])
      work.write({ [`${side}/d/x`]: "1", [`${side}/d/y`]: "2", [`${side}/f`]: "3", [`${side}/z`]: "4" });
    work.write({ "b/d/z": "extra" });
    const user = asPlainUser(box, work);
    chmodSync(work.at("a/d"), 0o000);
    chmodSync(work.at("b/f"), 0o000);
    const found = await check(box, [work.at("a"), work.at("b")], user);
    const back = await check(box, [work.at("b"), work.at("a")], user);
    chmodSync(work.at("a/d"), 0o755);
    const expected = ["! d/", "! d/x", "! d/y", "! d/z", "! f", "= z"];
    expect([found.code, found.lines]).toEqual([1, expected]);
    expect([back.code, back.lines]).toEqual([1, expected]);
  });

  it("follows links to files, and compares nothing behind links to directories", async ({ box, work }) => {
    work.write({ "a/f": "1", "a/d/x": "1", "a/pipe": "1", "b/real": "1", "elsewhere/x": "1", "b/z": "1" });
    symlinkSync("real", work.at("b/f"));
    symlinkSync(work.at("elsewhere"), work.at("b/d"));
    execFileSync("mkfifo", [work.at("b/pipe"), work.at("b/other-pipe")]);
    const { code, lines, stderr } = await check(box, [work.at("a"), work.at("b")]);
    expect([code, lines]).toEqual([1, ["! d/x", "= f", "! pipe", "- real", "- z"]]);
    expect(stderr).toContain(`left out ${work.at("b/other-pipe")}: not a regular file`);
    expect(stderr).toContain(`left out ${work.at("b/d")}: a link to a directory`);
  });

  it("compares one file with another, or with that of its name", async ({ box, work, origin }) => {
    work.write({ "a/f": "1", "b/f": "1", "b/g": "2" });
    const lines = async (...args: string[]) => {
      const found = await check(box, args);
      return [found.code, ...found.lines];
    };
    expect(await lines(work.at("a/f"), work.at("b"))).toEqual([0, "= f"]);
    expect(await lines(work.at("a/f"), work.at("b/g"))).toEqual([1, "* f"]);
    expect(await lines(work.at("a/f"), work.at("b/none"))).toEqual([1, "+ f"]);
    const url = origin.route("/f", file("1", { headers: digests.repr("1") }));
    expect(await lines(url, work.at("b"))).toEqual([0, "= f"]);
    expect(await lines(work.at("b/g"), url)).toEqual([1, "* g"]);
    expect(await lines(url, work.at("b"), "--download")).toEqual([0, "= f"]);
    expect(await lines(origin.route("/gone", status(404)), work.at("b"))).toEqual([2]);
    expect(await lines(work.at("a/f"), origin.route("/gone", status(404)))).toEqual([1, "+ f"]);
    expect(await lines(work.at("a"), url)).toEqual([2]);
  });

  it("refuses what cannot be meant, and reports in what it checks", async ({ box, work }) => {
    work.write({ "a/f": "1", "b/f": "1" });
    const refused = async (...args: string[]) => {
      const { code, stderr } = await box.run(["check", ...args]);
      expect(code).toBe(2);
      return stderr;
    };
    const both = [work.at("a"), work.at("b")];
    expect(await refused(work.at("a"))).toContain("name both sides");
    expect(await refused(...both, "--size-only", "--download")).toContain("exclude each other");
    expect(await refused(...both, "--match", work.at("b/report"))).toContain("which is only read");
    expect(await refused(...both, "--match", work.at("m"), "--differ", work.at("m"))).toContain("same file");
    expect(await refused(...both, "--json", "--differ", "-")).toContain("standard output");
    expect(await refused(work.at("none"), work.at("b"))).toContain("no such file");
    expect(await refused(...both, "--match", work.at("no/such/dir"))).toContain("cannot write");
    const missing = await check(box, [work.at("a"), work.at("nowhere")]);
    expect([missing.code, missing.lines]).toEqual([1, ["+ f"]]);
    expect(missing.stderr).toContain(`${work.at("nowhere")} is not there`);
  });
});

describe("drover check of S3", () => {
  const from = (work: Work) => [work.at("a"), "s3://bucket/p"];

  it("asks for no more than a listing where ETags are MD5s, and only reads", async ({ box, work, fake }) => {
    for (const name of ["x", "y", "z"]) {
      work.write({ [`a/${name}`]: name });
      fake.put(`p/${name}`, name);
    }
    expect(await check(box, from(work), { env: fake.env })).toMatchObject({ code: 0 });
    expect(fake.requests.every(({ query }) => query.has("list-type"))).toBe(true);
    fake.put("p/z", "!");
    expect(await check(box, from(work), { env: fake.env })).toMatchObject({
      code: 1,
      lines: ["= x", "= y", "* z"],
    });
    expect(fake.requests.every(({ method }) => method === "GET" || method === "HEAD")).toBe(true);
  });

  it("says how many files it could not compare, and --download does", async ({ box, work, fake }) => {
    work.write({ "a/x": "1", "a/y": "2" });
    fake.put("p/x", "1", { etag: '"abc-2"' });
    fake.put("p/y", "!", { etag: '"abd-2"' });
    const { code, lines, stderr } = await check(box, from(work), { env: fake.env });
    expect([code, lines]).toEqual([0, ["= x", "= y"]]);
    expect(stderr).toContain("2 hashes could not be checked");
    const read = await check(box, [...from(work), "--download"], { env: fake.env });
    expect([read.code, read.lines]).toEqual([1, ["= x", "* y"]]);
    expect(read.stderr).not.toContain("hashes");
  });

  it("believes the service before its uploader", async ({ box, work, fake }) => {
    const { createHash } = await import("node:crypto");
    const sha256 = (text: string) => createHash("sha256").update(text).digest();
    work.write({ "a/kept": "1", "a/noted": "1", "a/stale": "1" });
    const noted = { "x-amz-meta-drover-sha256": sha256("1").toString("hex") };
    fake.put("p/kept", "!", {
      etag: '"q-1"',
      "x-amz-checksum-sha256": sha256("!").toString("base64"),
      ...noted,
    });
    fake.put("p/noted", "1", { etag: '"q-2"', ...noted });
    fake.put("p/stale", "!", noted);
    const { lines } = await check(box, from(work), { env: fake.env });
    expect(lines).toEqual(["* kept", "= noted", "* stale"]);
  });

  it("is never equal when the listing breaks off", async ({ box, work, fake }) => {
    for (let at = 100; at < 140; at++) {
      work.write({ [`a/${at}`]: "1" });
      fake.put(`p/${at}`, "1");
    }
    fake.pageKeys = 10;
    fake.fault = ({ query }, answer) => {
      const after = query.get("continuation-token") ?? query.get("start-after") ?? "";
      if (!query.has("list-type") || after < "p/115") return false;
      sendError(answer, 403, "AccessDenied");
      return true;
    };
    const { code, lines, stderr } = await check(box, [...from(work), "--retries", "1"], { env: fake.env });
    expect(code).toBe(1);
    expect(lines.every((line) => line.startsWith("= "))).toBe(true);
    expect(lines.length).toBeLessThan(40);
    expect(stderr).toContain("cannot list s3://bucket/p");
    const back = await check(box, ["s3://bucket/p", work.at("a"), "--retries", "1"], { env: fake.env });
    expect([back.code, back.lines.every((line) => line.startsWith("= "))]).toEqual([1, true]);
    const json = await box.run(["check", ...from(work), "--retries", "1", "--json"], { env: fake.env });
    expect(JSON.parse(json.stdout)).toMatchObject({ complete: false, missing_on_dst: 0, missing_on_src: 0 });
  });

  it("reports what changes or fails while it is compared", async ({ box, work, fake }) => {
    work.write({ "a/f": "one", "a/g": "one", "a/h": "one", "a/i": "one" });
    for (const name of ["f", "g", "h", "i"]) fake.put(`p/${name}`, "two");
    let failures = 0;
    fake.fault = ({ method, key }, answer) => {
      if (method !== "HEAD") return false;
      if (key === "p/f") writeFileSync(work.at("a/f"), "new");
      if (key === "p/g") fake.put("p/g", "other");
      if (key === "p/h" || (key === "p/i" && failures++ < 1)) {
        answer.writeHead(503).end();
        return true;
      }
      return false;
    };
    const { code, lines } = await check(box, [...from(work), "--retries", "2"], { env: fake.env });
    expect([code, lines]).toEqual([1, ["! f", "! g", "! h", "* i"]]);
  });

  it("compares two prefixes, at two services", async ({ box, fake }) => {
    fake.put("p/x", "1", { etag: '"0123456789abcdef0123456789abcdef-2"' });
    fake.put("q/x", "1", { etag: '"0123456789abcdef0123456789abcdef-2"' });
    fake.put("p/y", "1");
    fake.put("q/y", "2");
    const { code, lines } = await check(box, ["s3://bucket/p", "s3://bucket/q"], { env: fake.env });
    expect([code, lines]).toEqual([1, ["= x", "* y"]]);
  });
});

describe.each([
  ["a file manager", fileManager],
  ["a WebDAV server", apache],
])("drover check of %s", (_, kind) => {
  it.skipIf(kind.absent !== undefined)("compares it with what was delivered", async ({ box, work }) => {
    const server = await kind.start();
    try {
      work.write({ "a/x y": "1", "a/d/ü": "2", "a/z": "3" });
      const options = { env: {} };
      const to = `${server.root}/m`;
      const sent = await box.sync([`${work.at("a")}/`, "--pattern", "**", "--to", to], options);
      expect(sent.code).toBe(0);
      expect(await check(box, [work.at("a"), to, "--download"], options)).toMatchObject({ code: 0 });
      writeFileSync(join(server.directory, "m", "z"), "!");
      utimesSync(join(server.directory, "m", "z"), 1, 1);
      writeFileSync(work.at("a/new"), "");
      const { code, lines } = await check(box, [work.at("a"), to, "--download"], options);
      expect([code, lines]).toEqual([1, ["= d/ü", "+ new", "= x y", "* z"]]);
      const back = await check(box, [to, work.at("a"), "--download"], options);
      expect([back.code, back.lines]).toEqual([1, ["= d/ü", "- new", "= x y", "* z"]]);
      for (const nothing of [`${server.root}/mm`, `${to}/z`]) {
        const refused = await check(box, [nothing, work.at("a"), "--one-way"], options);
        expect([refused.code, refused.stderr]).toEqual([2, expect.stringContaining("no such directory")]);
      }
      const itself = await check(box, [to, to, "--download"], options);
      expect([itself.code, itself.lines]).toEqual([0, ["= d/ü", "= x y", "= z"]]);
    } finally {
      await server.stop();
    }
  });
});

describe("drover check --catalog", () => {
  it("finds what was tampered with, without the source", async ({ box, work }) => {
    work.write({
      "in/same": "1",
      "in/gone": "2",
      "in/changed": "3",
      "in/longer": "4",
      "in/d/new\nline": "5",
    });
    expect((await box.sync([work.at("in"), "--pattern", "**", ...work.into])).code).toBe(0);
    execFileSync("rm", ["-r", work.at("in")]);
    const clean = await box.run(["check", "--catalog", work.out]);
    expect([clean.code, clean.stdout]).toEqual([
      0,
      "5 equal, 0 different, 0 missing on the destination, 0 only there, 0 not compared\n",
    ]);
    const { atimeMs, mtimeMs } = statSync(work.to("changed"));
    writeFileSync(work.to("changed"), "!");
    utimesSync(work.to("changed"), atimeMs / 1000, mtimeMs / 1000); // as somebody would who hides it
    writeFileSync(work.to("longer"), "44");
    execFileSync("rm", [work.to("gone"), work.to("d/new\nline")]);
    execFileSync("mkfifo", [work.to("d/new\nline")]);
    writeFileSync(work.to("stranger"), "");
    const { code, lines } = await check(box, ["--catalog", work.out]);
    expect([code, lines]).toEqual([1, ["* changed", '* "d/new\\nline"', "+ gone", "* longer", "= same"]]);
    execFileSync("rm", ["-r", work.out]);
    const lost = await box.run(["check", "--catalog", work.out, "--missing-on-dst", work.at("missing")]);
    expect(lost.code).toBe(1);
    expect(readFileSync(work.at("missing"), "utf8").split("\n")).toHaveLength(6);
    const unknown = await box.run(["check", "--catalog", work.at("nowhere")]);
    expect([unknown.code, unknown.stderr]).toEqual([2, expect.stringContaining("knows no tree")]);
  });

  it("holds objects against their ETags, and reads what somebody wrote since", async ({
    box,
    work,
    fake,
  }) => {
    const env = { ...fake.env };
    const to = "s3://bucket/to";
    work.write({ "in/same": "1", "in/again": "2", "in/changed": "3", "in/gone": "4" });
    expect((await box.sync([work.at("in"), "--to", to], { env })).code).toBe(0);
    fake.requests.length = 0;
    expect(await check(box, ["--catalog", to], { env })).toMatchObject({ code: 0 });
    expect(fake.requests.every(({ query }) => query.has("list-type"))).toBe(true);
    const noted = {
      "x-amz-meta-drover-sha256": fake.stored("to/changed")?.headers["x-amz-meta-drover-sha256"] ?? "",
    };
    fake.put("to/changed", "!", noted);
    fake.put("to/again", "2", { etag: '"parts-2"' });
    fake.remove("to/gone");
    const { code, lines } = await check(box, ["--catalog", to], { env });
    expect([code, lines]).toEqual([1, ["= again", "* changed", "+ gone", "= same"]]);
    expect(fake.requests.every(({ method }) => method === "GET" || method === "HEAD")).toBe(true);
  });
});
