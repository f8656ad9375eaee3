import { mkdirSync, symlinkSync } from "node:fs";
import { describe, expect } from "vitest";
import { sendError } from "../../harness/fake-s3.js";
import { apache, fileManager } from "../../harness/file-servers.js";
import { itWithFakeS3 as it } from "../../harness/fixtures.js";

const TIME = new Date("2026-11-20T15:04:05Z");

describe("drover ls", () => {
  it("lists one level of a directory in the order of its names", async ({ box, work }) => {
    work.write({ "d/a.b": "1", "d/a/x": "22", "d/a0": "333", "d/b/c/d": "", "d/é": "" });
    mkdirSync(work.at("d/empty"));
    const cwd = work.path;
    const level = await box.run(["ls", "d"], { cwd });
    expect(level).toMatchObject({ code: 0, stderr: "", stdout: "a.b\na/\na0\nb/\nempty/\né\n" });
    const all = await box.run(["ls", "-r", "d", "--exclude", "a0", "--summarize"], { cwd });
    expect(all.stdout).toBe("a.b\na/x\nb/c/d\né\n4 files, 0 directories, 3 bytes\n");
    const small = await box.run(["ls", "d", "--min-size", "3B"], { cwd });
    expect(small.stdout).toBe("a/\na0\nb/\nempty/\n");
    const one = await box.run(["ls", "-l", "d/a0"], { cwd });
    expect(one.stdout).toMatch(/^ +3 {2}\S+Z {2}a0\n$/);
    const several = await box.run(["ls", "d/a", "d/a0"], { cwd });
    expect(several.stdout).toBe(`${work.at("d/a/x")}\n${work.at("d/a0")}\n`);
    expect((await box.run(["ls", "--help"], { cwd })).stdout).toContain("--human");
  });

  it("has JSON with raw names, and shows no control characters", async ({ box, work }) => {
    work.write({ "d/\u001b[2Jx\ny": "1", 'd/"q"': "" });
    symlinkSync("nowhere", work.at("d/link"));
    const shown = await box.run(["ls", "d"], { cwd: work.path });
    expect(shown.stdout).toBe('\ufffd[2Jx\ufffdy\n"q"\n');
    expect(shown.stderr).toContain("left out");
    const json = await box.run(["ls", "d", "--json", "--summarize"], { cwd: work.path });
    expect(JSON.parse(json.stdout)).toMatchObject([
      { name: "\u001b[2Jx\ny", type: "file", bytes: 1 },
      { name: '"q"', bytes: 0 },
      { total: { files: 2, directories: 0, bytes: 1, complete: true } },
    ]);
    const none = await box.run(["ls", "d", "--json", "--include", "z"], { cwd: work.path });
    expect([none.code, none.stdout]).toEqual([0, "[]\n"]);
  });

  it("lists prefixes, classes and wildcards of S3, over pages", async ({ box, s3, work }) => {
    for (const key of ["p/a", "p/b/1", "p/b/2", "p/b/3", "p/c/x/y", "p/d", "q"]) s3.put(key, key, {}, TIME);
    s3.pageKeys = 2;
    const options = { cwd: work.path, env: s3.env };
    const level = await box.run(["ls", "s3://bucket/p"], options);
    expect(level).toMatchObject({ code: 0, stderr: "", stdout: "a\nb/\nc/\nd\n" });
    expect((await box.run(["ls", "s3://bucket"], options)).stdout).toBe("p/\nq\n");
    expect((await box.run(["ls", "s3://bucket/p/*[23y]"], options)).stdout).toBe("b/2\nb/3\nc/x/y\n");
    const none = await box.run(["ls", "s3://bucket/p/*zip"], options);
    expect(none).toMatchObject({ code: 0, stdout: "", stderr: expect.stringContaining("nothing matched") });
    s3.fault = ({ query }, answer) => {
      if (!query.has("list-type")) return false;
      const page = s3.page(query).replaceAll("</Size>", "</Size><StorageClass>GLACIER</StorageClass>");
      answer.end(page);
      return true;
    };
    const long = await box.run(["ls", "-l", "s3://bucket/p/"], options);
    expect(long.stdout.split("\n")[0]).toMatch(
      /^ {13}3 {2}2026-11-20T15:04:05Z {2}GLACIER {7}[0-9a-f]{32} {6}a$/,
    );
    const lines = (await box.run(["ls", "-r", "s3://bucket/p/b/", "--ndjson"], options)).stdout.split("\n");
    expect(JSON.parse(lines[0] as string)).toEqual({
      ...{ name: "1", location: "s3://bucket/p/b/1", type: "file", bytes: 5 },
      ...{
        modified: TIME.toISOString(),
        etag: expect.stringMatching(/^[0-9a-f]{32}$/),
        storage_class: "GLACIER",
      },
    });
  });

  it("never takes a listing that breaks off for complete", async ({ box, s3, work }) => {
    for (const key of ["p/a", "p/b", "p/c"]) s3.put(key, key);
    s3.pageKeys = 2;
    s3.fault = ({ query }, answer) => {
      if (!query.has("continuation-token")) return false;
      sendError(answer, 403, "AccessDenied");
      return true;
    };
    work.write({ "d/x": "" });
    const options = { cwd: work.path, env: s3.env };
    for (const more of [[], ["-r"]]) {
      const broken = await box.run(
        ["ls", ...more, "s3://bucket/p/", "d", "--ndjson", "--summarize"],
        options,
      );
      expect([broken.code, broken.stderr]).toEqual([
        1,
        expect.stringContaining("what comes after was not listed"),
      ]);
      const values = broken.stdout
        .trim()
        .split("\n")
        .map((line) => JSON.parse(line));
      expect(values).toMatchObject([
        ...[{ name: "a" }, { name: "b" }, { error: { class: expect.any(String) } }, { name: "x" }],
        { total: { files: 3, complete: false } },
      ]);
    }
    const missing = await box.run(["ls", "nothing", "d"], options);
    expect(missing).toMatchObject({ code: 1, stdout: `${work.at("d/x")}\n` });
    expect((await box.run(["ls", "ftp://x/y"], options)).code).toBe(2);
    expect((await box.run(["ls", "s3://", "d"], options)).code).toBe(2);
  });

  it("lists the buckets of a service", async ({ box, s3, work }) => {
    s3.fault = ({ key, query }, answer) => {
      if (key !== "" || query.has("list-type")) return false;
      const isSecond = query.get("continuation-token") === "t";
      const bucket = (name: string) =>
        `<Bucket><Name>${name}</Name><CreationDate>2026-01-02T03:04:05.000Z</CreationDate></Bucket>`;
      const [name, token] = isSecond ? ["two", ""] : ["one", "<ContinuationToken>t</ContinuationToken>"];
      answer.end(
        `<ListAllMyBucketsResult><Buckets>${bucket(name as string)}</Buckets>${token}</ListAllMyBucketsResult>`,
      );
      return true;
    };
    const options = { cwd: work.path, env: s3.env };
    expect(await box.run(["ls", "s3://"], options)).toMatchObject({
      code: 0,
      stdout: "one/\ntwo/\n",
      stderr: "",
    });
    const long = await box.run(["ls", "-l", "s3://"], options);
    expect(long.stdout).toContain("2026-01-02T03:04:05Z  one/\n");
    s3.fault = (_, answer) => {
      sendError(answer, 403, "AccessDenied");
      return true;
    };
    expect((await box.run(["ls", "s3://"], options)).code).toBe(1);
  });

  for (const kind of [fileManager, apache])
    it.skipIf(kind.absent !== undefined)(
      `lists a ${kind.name}`,
      { timeout: 60_000 },
      async ({ box, work }) => {
        work.write({ "d/a": "1", "d/sub/b c": "22", "d/sub/x": "3" });
        const server = await kind.start();
        try {
          const options = { cwd: work.path };
          expect((await box.run(["cp", "d", server.root], options)).code).toBe(0);
          expect((await box.run(["ls", server.root], options)).stdout).toBe("a\nsub/\n");
          expect((await box.run(["ls", "-r", server.root], options)).stdout).toBe("a\nsub/b c\nsub/x\n");
          for (const nothing of [`${server.root}/none`, `${server.root}/d/a/none`]) {
            const { code, stdout } = await box.run(["ls", nothing], options);
            expect([code, stdout], nothing).toEqual([1, ""]);
          }
          expect((await box.run(["ls", `${server.root}/sub/x`], options)).stdout).toBe("x\n");
          const file = await box.run(["cat", `${server.root}/sub/b%20c`, `${server.root}/a`], options);
          expect(file).toMatchObject({ code: 0, stdout: "221" });
          const part = await box.run(["cat", `${server.root}/sub/b%20c`, "--range", "1-"], options);
          expect(part).toMatchObject({ code: 0, stdout: "2" });
        } finally {
          await server.stop();
        }
      },
    );
});
