import { existsSync, readdirSync, readFileSync } from "node:fs";
import { describe, expect } from "vitest";
import * as does from "../../harness/behaviours.js";
import { it, itWithFakeS3 } from "../../harness/fixtures.js";

const TREE = { "src/a": "a", "src/sub/b": "b", "one.txt": "1", "two.txt": "2" };

describe("drover cp", () => {
  it.for([
    { args: ["src", "dst"], files: { "dst/a": "a", "dst/sub/b": "b" } },
    { args: ["src/", "dst/"], files: { "dst/a": "a", "dst/sub/b": "b" } },
    { args: ["one.txt", "dst/"], files: { "dst/one.txt": "1" } },
    { args: ["one.txt", "there"], files: { "there/one.txt": "1" } },
    { args: ["one.txt", "new/name.txt"], files: { "new/name.txt": "1" } },
    { args: ["src/a", "."], files: { a: "a" } },
    { args: ["one.txt", "two.txt"], files: { "two.txt": "1" } },
    { args: ["one.txt", "two.txt", "dst"], files: { "dst/one.txt": "1", "dst/two.txt": "2" } },
    { args: ["one.txt", "src", "dst"], files: { "dst/one.txt": "1", "dst/a": "a", "dst/sub/b": "b" } },
  ])("$args", async ({ args, files }, { box, work }) => {
    work.write({ ...TREE, "there/old": "old" });
    const { code, stdout, stderr } = await box.run(["cp", ...args], { cwd: work.path });
    expect([code, stderr]).toEqual([0, ""]);
    for (const [name, content] of Object.entries(files))
      expect(readFileSync(work.at(name), "utf8")).toBe(content);
    expect(readFileSync(work.at("there/old"), "utf8")).toBe("old");
    expect(stdout).toMatch(/^\d copied, .* to \/.*\nrun /m);
  });

  it("skips what is unchanged", async ({ box, work }) => {
    work.write(TREE);
    await box.run(["cp", "src", "dst"], { cwd: work.path });
    const { stdout } = await box.run(["cp", "src", "dst", "--json"], { cwd: work.path });
    expect((JSON.parse(stdout) as { outcome: string }[]).map(({ outcome }) => outcome)).toEqual([
      "unchanged",
      "unchanged",
    ]);
  });

  it("gives a URL's file the name of the destination", async ({ box, origin, work }) => {
    const url = origin.route("/data", does.file("x"));
    expect((await box.run(["cp", url, work.at("name.csv")])).code).toBe(0);
    expect(readFileSync(work.at("name.csv"), "utf8")).toBe("x");
  });

  it("copies what a list names into the destination", async ({ box, work }) => {
    const list = work.write({ ...TREE, "list.txt": "one.txt\n" });
    expect((await box.run(["cp", "--from-file", list, "dst"], { cwd: work.path })).code).toBe(0);
    expect(readFileSync(work.at("dst/one.txt"), "utf8")).toBe("1");
  });

  it.for<[dest: string, says: string]>([
    ["remote:bucket/x", "./remote:"],
    ["s3:bucket/x", "s3://"],
    ["user@host:/srv/x", "./user@host:"],
    ["-", "./-"],
  ])("refuses %s, which other tools write for what is no path here", async ([dest, says], { box, work }) => {
    work.write(TREE);
    for (const args of [
      ["cp", "src", dest],
      ["sync", "src", "--to", dest],
      ["cp", "one.txt", dest],
    ]) {
      const { code, stdout, stderr } = await box.run(args, { cwd: work.path });
      expect([code, stdout, stderr]).toEqual([2, "", expect.stringMatching(/^drover: .*\n$/)]);
      expect(stderr).toContain(says);
    }
    expect(readdirSync(work.path).sort()).toEqual(["one.txt", "src", "two.txt"]);
  });

  it.for(["./remote:x", "at-10:30/x", "there:/x", "a b:c"])(
    "takes %s for a path",
    async (dest, { box, work }) => {
      work.write({ ...TREE, "there:/old": "old" });
      expect((await box.run(["cp", "one.txt", `${dest}/`], { cwd: work.path })).code).toBe(0);
      expect(readFileSync(work.at(`${dest}/one.txt`), "utf8")).toBe("1");
    },
  );

  it("says where a file is in the way of a directory", async ({ box, work }) => {
    work.write(TREE);
    for (const dest of ["one.txt/", "one.txt/sub", "one.txt/sub/x/"]) {
      const { code, stderr } = await box.run(["cp", "src/a", dest], { cwd: work.path });
      expect([code, stderr]).toEqual([2, expect.stringContaining(": not a directory")]);
      expect(stderr).not.toContain("--artifact-root");
    }
    expect((await box.run(["cp", "src", "src"], { cwd: work.path })).stderr).not.toContain("--artifact-root");
  });

  it("refuses one argument alone", async ({ box, work }) => {
    work.write(TREE);
    const { code, stderr } = await box.run(["cp", "src"], { cwd: work.path });
    expect([code, stderr]).toEqual([2, expect.stringContaining("drover cp src DEST")]);
  });
});

describe("drover sync", () => {
  it("puts files right below --to", async ({ box, work }) => {
    work.write(TREE);
    const { code, stdout } = await box.run(["sync", "src", "two.txt", "--to", "dst"], { cwd: work.path });
    expect([code, stdout]).toEqual([0, expect.stringContaining(` to ${work.at("dst")}\n`)]);
    expect(readdirSync(work.at("dst")).sort()).toEqual(["a", "sub", "two.txt"]);
  });

  it.for(["--artifact-root", "--script-name"])("refuses --to beside %s", async (other, { box, work }) => {
    work.write(TREE);
    const { code, stderr } = await box.run(["sync", "src", "--to", "dst", other, "x"], { cwd: work.path });
    expect([code, stderr]).toEqual([2, expect.stringContaining(`leave ${other} out`)]);
    expect(existsSync(work.at("dst"))).toBe(false);
  });

  it.for(["there", "new/dst", "s3://bucket/prefix/"])(
    "refuses to guess what %s is as the last of several sources",
    async (last, { box, work }) => {
      work.write({ ...TREE, "there/old": "old" });
      const { code, stdout, stderr } = await box.run(["sync", "src", last], { cwd: work.path });
      expect([code, stdout]).toEqual([2, ""]);
      expect(stderr).toContain(`drover cp src ${last} `);
      expect(stderr).toContain(`drover sync src --to ${last} --delete `);
      expect(stderr).toContain(`drover sync src ${last} --to DIR`);
      expect(existsSync(work.at("reports"))).toBe(false);
    },
  );

  it.for<[name: string, args: string[], env: Record<string, string>]>([
    ["where the last one is a file", ["src", "one.txt"], {}],
    ["with --artifact-root", ["src", "there", "--artifact-root", "dst"], {}],
    ["with an artifact root in the environment", ["src", "there"], { DROVER_ARTIFACT_ROOT: "dst" }],
    ["where there is one source", ["src"], {}],
  ])("takes all as sources %s", async ([, args, env], { box, work }) => {
    work.write({ ...TREE, "there/old": "old" });
    expect((await box.run(["sync", ...args], { cwd: work.path, env })).code).toBe(0);
  });
});

describe("an S3 name without a slash at its end", () => {
  itWithFakeS3(
    "is the prefix where no such object is, for cp and --delete too",
    async ({ box, s3, work }) => {
      for (const key of ["p/a", "p/sub/b"]) s3.put(key, key);
      const env = s3.env;
      work.write({ "dst/old": "old" });
      const sync = ["sync", "s3://bucket/p", "--to", "dst", "--delete", "--max-delete", "1"];
      expect((await box.run(sync, { cwd: work.path, env })).code).toBe(0);
      expect(readdirSync(work.at("dst")).sort()).toEqual(["a", "sub"]);
      expect((await box.run(["cp", "s3://bucket/p", "copy"], { cwd: work.path, env })).code).toBe(0);
      expect(readdirSync(work.at("copy")).sort()).toEqual(["a", "sub"]);
    },
  );

  itWithFakeS3(
    "is told to be no pattern where it has a star, nothing is there, and wildcards are off",
    async ({ box, s3, work }) => {
      s3.put("p/a.csv", "a");
      const args = ["cp", "s3://bucket/p/*.csv", "dst", "--no-wildcards"];
      const { code, stderr } = await box.run(args, { cwd: work.path, env: s3.env });
      expect([code, stderr]).toEqual([2, expect.stringContaining("* is a character in a source: --include")]);
    },
  );

  itWithFakeS3("is refused where it is both, and names both", async ({ box, s3, work }) => {
    for (const key of ["p", "p/a"]) s3.put(key, key);
    const env = s3.env;
    for (const more of [["--delete"], []]) {
      const { code, stderr, stdout } = await box.run(["sync", "s3://bucket/p", "--to", "dst", ...more], {
        cwd: work.path,
        env,
      });
      expect(code).not.toBe(0);
      expect(stdout + stderr).toMatch(/s3:\/\/bucket\/p is an object.*s3:\/\/bucket\/p\//);
    }
    const list = work.write({ "list.txt": "s3://bucket/p\n" });
    expect((await box.run(["cp", "--from-file", list, "dst"], { cwd: work.path, env })).code).toBe(0);
    expect(readFileSync(work.at("dst/p"), "utf8")).toBe("p");
  });

  itWithFakeS3(
    "names the file that one object is copied to, and an object that one file is",
    async ({ box, s3, work }) => {
      s3.put("p", "content");
      const env = s3.env;
      expect((await box.run(["cp", "s3://bucket/p", "name"], { cwd: work.path, env })).code).toBe(0);
      expect(readFileSync(work.at("name"), "utf8")).toBe("content");
      expect((await box.run(["cp", "name", "s3://bucket/x/y"], { cwd: work.path, env })).code).toBe(0);
      expect(s3.stored("x/y")?.content.toString()).toBe("content");
    },
  );
});
