import {
  existsSync,
  linkSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { describe, expect } from "vitest";
import type { StartOptions } from "../../harness/drover.js";
import { FakeS3 } from "../../harness/fake-s3.js";
import { fileManager } from "../../harness/file-servers.js";
import { itWithFakeS3 as it, type Work } from "../../harness/fixtures.js";

/** The files below a directory with what they hold; none where it is not there. */
function files(work: Work, directory: string): Record<string, string> {
  const root = work.at(directory);
  if (!existsSync(root)) return {};
  const all = readdirSync(root, { recursive: true, withFileTypes: true }).filter((each) => each.isFile());
  const named = all.map((each) => join(each.parentPath, each.name));
  return Object.fromEntries(
    named.sort().map((path) => [path.slice(root.length + 1), readFileSync(path, "utf8")]),
  );
}

function objects(s3: FakeS3): Record<string, string> {
  return Object.fromEntries(s3.keys.map((key) => [key, String(s3.stored(key)?.content)]));
}

const ODD = { "a b": "1", "x/?*[1]": "2", "x/y/ü\n%41": "3", ".dot": "" };

describe("drover mv", () => {
  it("moves the content of a directory, and the directories go", async ({ box, work }) => {
    for (const [name, content] of Object.entries(ODD)) work.write({ [`src/${name}`]: content });
    mkdirSync(work.at("src/empty/deep"), { recursive: true });
    const { code, stdout, stderr } = await box.run(["mv", "src", "dst"], { cwd: work.path });
    expect([code, stderr]).toEqual([0, ""]);
    expect(stdout).toContain("4 copied");
    expect(stdout).toContain("4 removed at the source\n");
    expect(files(work, "dst")).toEqual(ODD);
    expect(existsSync(work.at("src"))).toBe(false);
  });

  it("moves a file by its name, into a directory or to another name", async ({ box, work }) => {
    work.write({ a: "1", b: "2", "dst/keep": "" });
    expect((await box.run(["mv", "a", "b", "dst"], { cwd: work.path })).code).toBe(0);
    expect((await box.run(["mv", "dst/a", "dst/c"], { cwd: work.path })).code).toBe(0);
    expect(files(work, ".")).toEqual({ "dst/b": "2", "dst/c": "1", "dst/keep": "" });
    const json = await box.run(["mv", "dst/b", "e", "--json"], { cwd: work.path });
    expect(JSON.parse(json.stdout)).toMatchObject([{ outcome: "copied" }]);
    expect(json.stderr).toContain("1 removed at the source");
  });

  it("moves to, from and within S3, by wildcards too", async ({ box, s3, work }) => {
    for (const [name, content] of Object.entries(ODD)) work.write({ [`src/${name}`]: content });
    const options = { cwd: work.path, env: s3.env };
    expect((await box.run(["mv", "src", "s3://bucket/in"], options)).code).toBe(0);
    expect(Object.values(objects(s3)).sort()).toEqual(["", "1", "2", "3"]);
    expect(existsSync(work.at("src"))).toBe(false);
    const removals = () => s3.requests.filter(({ method }) => method === "DELETE");
    const within = await box.run(["mv", "s3://bucket/in/x/*", "s3://bucket/in/done"], options);
    expect([within.code, within.stderr]).toEqual([0, ""]);
    expect(objects(s3)).toEqual({
      "in/.dot": "",
      "in/a b": "1",
      "in/done/?*[1]": "2",
      "in/done/y/ü\n%41": "3",
    });
    const copies = s3.requests.filter(({ headers }) => headers["x-amz-copy-source"] !== undefined);
    expect(copies.length).toBeGreaterThan(1);
    const moved = removals().filter(({ key }) => key.startsWith("in/x/"));
    expect(moved.map(({ headers }) => headers["if-match"])).toEqual([expect.any(String), expect.any(String)]);
    const one = ["mv", "s3://bucket/in/a b", "s3://bucket/in/done/\\?\\*\\[1\\]", "down/"];
    expect((await box.run(one, options)).code).toBe(0);
    expect(files(work, "down")).toEqual({ "?*[1]": "2", "a b": "1" });
    expect(Object.keys(objects(s3))).toEqual(["in/.dot", "in/done/y/ü\n%41"]);
  });

  it("refuses what it cannot remove, or what is its own destination", async ({ box, s3, work }) => {
    work.write({ a: "1", "d/x": "2", "d/sub/x": "3", list: "https://127.0.0.1:1/x\n" });
    linkSync(work.at("a"), work.at("hard"));
    symlinkSync("d", work.at("link"));
    s3.put("k", "4");
    const before = files(work, ".");
    const options = { cwd: work.path, env: s3.env };
    for (const args of [
      ["http://127.0.0.1:1/x", "out"],
      ["a", "http://127.0.0.1:1/x", "out/"],
      ["--from-file", "list", "out"],
      ["--from-file", "-", "out"],
      ["a", "out", "--detach"],
      ["a", "a"],
      ["d/x", "link/x"],
      ["d/x", "link/"],
      ["d", "link"],
      ["d/sub", "d"],
      ["s3://bucket/k", "s3://bucket/"],
      ["s3://bucket/k", "s3://bucket/k"],
    ]) {
      const { code, stdout } = await box.run(["mv", ...args], options);
      expect([args, code, stdout]).toEqual([args, 2, ""]);
    }
    expect(files(work, ".")).toEqual(before);
    expect(objects(s3)).toEqual({ k: "4" });
    const dry = await box.run(["mv", "a", "out/", "--dry-run"], options);
    expect([dry.code, dry.stdout]).toEqual([0, expect.stringContaining("would copy")]);
    expect(files(work, ".")).toEqual(before);
  });

  it("leaves what did not arrive, and what changed meanwhile", async ({ box, s3, work }) => {
    for (const key of ["p/a", "p/b", "p/c"]) s3.put(key, key);
    let isReplaced = false;
    s3.before = ({ method, key }) => {
      // A HEAD is the last look at it before the removal.
      if (method === "HEAD" && key === "p/b" && !isReplaced) {
        isReplaced = true;
        s3.put("p/b", "newer");
      }
      return undefined;
    };
    work.write({ "dst/c/in-the-way": "" });
    const options = { cwd: work.path, env: s3.env };
    const { code, stdout, stderr } = await box.run(["mv", "s3://bucket/p/", "dst"], options);
    expect(code).toBe(1);
    expect(stdout).toContain("1 removed at the source, 2 left there");
    expect(stderr).toMatch(/not removed: s3:\/\/bucket\/p\/b: .*changed since it was copied/);
    expect(objects(s3)).toEqual({ "p/b": "newer", "p/c": "p/c" });
    expect(files(work, "dst")).toEqual({ a: "p/a", b: "p/b", "c/in-the-way": "" });
    const again = await box.run(["mv", "s3://bucket/p/", "dst"], options);
    expect(again.code).toBe(1);
    expect(files(work, "dst")).toMatchObject({ b: "newer" });
    expect(objects(s3)).toEqual({ "p/c": "p/c" });
  });

  it("leaves an object that is replaced between the look and the removal", async ({ box, s3, work }) => {
    s3.put("p/a", "old");
    s3.before = ({ method, key }) => {
      if (method === "DELETE" && key === "p/a") s3.put("p/a", "newer");
      return undefined;
    };
    const { code, stderr } = await box.run(["mv", "s3://bucket/p/", "dst"], { cwd: work.path, env: s3.env });
    expect([code, stderr]).toEqual([1, expect.stringContaining("changed since it was copied")]);
    expect([objects(s3), files(work, "dst")]).toEqual([{ "p/a": "newer" }, { a: "old" }]);
  });

  it("never takes an object for its own copy at another address", async ({ box, s3, work }) => {
    s3.put("p/a", "1");
    const other = s3.endpoint.replace("127.0.0.1", "localhost");
    const args = ["mv", "s3://bucket/p/", "s3://bucket/p", "--s3-dest-endpoint", other];
    const { code } = await box.run(args, { cwd: work.path, env: s3.env });
    expect([code, objects(s3)]).toEqual([1, { "p/a": "1" }]);
    const second = await FakeS3.start();
    try {
      const there = ["mv", "s3://bucket/p/", "s3://bucket/p", "--s3-dest-endpoint", second.endpoint];
      s3.put("p/a", "1", {}, new Date("2026-01-01T00:00:00Z"));
      expect((await box.run(there, { cwd: work.path, env: s3.env })).code).toBe(0);
      expect([objects(s3), objects(second)]).toEqual([{}, { "p/a": "1" }]);
    } finally {
      await second.stop();
    }
  });

  it.for(["open", "stage", "committed", "settled", "taken", "taken:2", "removed", "removed:2"])(
    "loses nothing when it is killed at %s, and a second one finishes",
    async (fault, { box, s3, work }) => {
      const content = { a: "1", "d/b": "2", "d/e/c": "3" };
      for (const [name, text] of Object.entries(content)) {
        work.write({ [`src/${name}`]: text });
        s3.put(`src/${name}`, text);
      }
      for (const source of ["src", "s3://bucket/src/"]) {
        const to = source === "src" ? "from-local" : "from-s3";
        const options: StartOptions = { cwd: work.path, env: s3.env };
        const killed = await box.run(["mv", source, to], {
          ...options,
          env: { ...s3.env, DROVER_FAULT: fault },
        });
        expect(killed.signal).toBe("SIGKILL");
        const there = [
          ...Object.values(source === "src" ? files(work, "src") : objects(s3)),
          ...Object.values(files(work, to)),
        ];
        expect(there).toEqual(expect.arrayContaining(["1", "2", "3"]));
        const again = await box.run(["mv", source, to], options);
        // Several removals are on their way at once: all of them may have been done.
        expect([again.code, again.stderr.replace(/^warning: nothing matched.*\n/, "")]).toEqual([0, ""]);
        expect(files(work, to)).toEqual(content);
      }
      expect([existsSync(work.at("src")), objects(s3)]).toEqual([false, {}]);
    },
  );

  it("finishes a single file whose removal was killed", async ({ box, work }) => {
    work.write({ "s/f": "1" });
    const options: StartOptions = { cwd: work.path };
    const killed = await box.run(["mv", "s/f", "t"], { ...options, env: { DROVER_FAULT: "taken" } });
    expect([killed.signal, existsSync(work.at("s/f"))]).toEqual(["SIGKILL", false]);
    expect((await box.run(["mv", "s/f", "t"], options)).code).toBe(0);
    expect(readdirSync(work.at("s"))).toEqual([]);
    expect(readFileSync(work.at("t"), "utf8")).toBe("1");
  });

  it("removes no newer version of a file", async ({ box, s3, work }) => {
    work.write({ "src/a": "old", "src/b": "2" });
    const options = { cwd: work.path, env: s3.env };
    // The first upload waits until the file is another one.
    s3.before = ({ method, key }) => {
      if (method === "PUT" && key === "in/b") writeFileSync(work.at("src/b"), "newer");
      return undefined;
    };
    const { code, stderr } = await box.run(["mv", "src", "s3://bucket/in"], options);
    expect(code).not.toBe(0);
    expect(stderr).toContain(`not removed: ${work.at("src/b")}`);
    expect(files(work, "src")).toEqual({ b: "newer" });
  });

  it("loses nothing where two of them are at it", async ({ box, work }) => {
    const content = Object.fromEntries(Array.from({ length: 60 }, (_, at) => [`d${at % 7}/f${at}`, `${at}`]));
    for (const [name, text] of Object.entries(content)) work.write({ [`src/${name}`]: text });
    const both = [
      box.start(["mv", "src", "dst"], { cwd: work.path }),
      box.start(["mv", "src", "dst"], { cwd: work.path }),
    ];
    await Promise.all(both.map(({ result }) => result));
    expect({ ...files(work, "src"), ...files(work, "dst") }).toEqual(content);
    if (existsSync(work.at("src"))) await box.run(["mv", "src", "dst"], { cwd: work.path });
    expect([files(work, "src"), files(work, "dst")]).toEqual([{}, content]);
  });

  it("moves to a file server", async ({ box, work }) => {
    const server = await fileManager.start();
    try {
      work.write({ "src/a": "1", "src/b/c": "2" });
      const { code, stdout } = await box.run(["mv", "src", server.root], { cwd: work.path });
      expect([code, stdout]).toEqual([0, expect.stringContaining("2 removed at the source")]);
      expect([existsSync(work.at("src")), readFileSync(join(server.directory, "b/c"), "utf8")]).toEqual([
        ...[false, "2"],
      ]);
    } finally {
      await server.stop();
    }
  });

  it("reads a list twice, and moves what its wildcards choose", async ({ box, s3, work }) => {
    for (const key of ["p/a", "p/b", "q"]) s3.put(key, key);
    work.write({ x: "x", list: "s3://bucket/p/*\nx\ts3-x\n" });
    const options = { cwd: work.path, env: s3.env };
    const { code, stdout } = await box.run(["mv", "--from-file", "list", "out"], options);
    expect([code, stdout]).toEqual([0, expect.stringContaining("3 removed at the source")]);
    expect([files(work, "out"), objects(s3)]).toEqual([{ a: "p/a", b: "p/b", "s3-x": "x" }, { q: "q" }]);
    expect(existsSync(work.at("x"))).toBe(false);
  });

  it("moves by a fleet", { timeout: 60_000 }, async ({ box, fleet, work }) => {
    work.write({ "src/a": "1", "src/b/c": "2" });
    await fleet.worker();
    const { code, stdout } = await box.run(["mv", work.at("src"), work.out, ...fleet.own], {
      cwd: work.path,
    });
    expect([code, stdout]).toEqual([0, expect.stringContaining("2 removed at the source")]);
    expect([existsSync(work.at("src")), files(work, "out")]).toEqual([false, { a: "1", "b/c": "2" }]);
  });
});
