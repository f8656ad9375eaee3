import { readdirSync } from "node:fs";
import { describe, expect } from "vitest";
import type { Sandbox, StartOptions } from "../../harness/drover.js";
import type { FakeS3 } from "../../harness/fake-s3.js";
import { itWithFakeS3 as it, type Work } from "../../harness/fixtures.js";

const KEYS = [
  "2026/a.gz",
  "2026/b.txt",
  "2026/05/c.gz",
  "2026/05/x-1.csv",
  "2025/d.gz",
  "odd/s*r",
  "odd/star",
];

function prepared(work: Work, s3: FakeS3): StartOptions {
  for (const key of KEYS) s3.put(key, key);
  return { cwd: work.path, env: s3.env };
}

/** The files below a directory. */
function files(work: Work, directory: string): string[] {
  const all = readdirSync(work.at(directory), { recursive: true, withFileTypes: true });
  return all
    .filter((each) => each.isFile())
    .map((each) => `${each.parentPath}/${each.name}`.slice(work.at(directory).length + 1))
    .sort();
}

async function cp(box: Sandbox, args: string[], options: StartOptions) {
  const { code, stdout, stderr } = await box.run(["cp", ...args], options);
  return { code, stdout, stderr };
}

describe("wildcards in s3:// sources", () => {
  it("choose objects below the last literal slash", async ({ box, s3, work }) => {
    const options = prepared(work, s3);
    expect(await cp(box, ["s3://bucket/2026/*.gz", "a"], options)).toMatchObject({ code: 0 });
    expect(files(work, "a")).toEqual(["05/c.gz", "a.gz"]);
    const lists = s3.requests.filter(({ query }) => query.has("list-type"));
    expect(lists.map(({ query }) => query.get("prefix"))).toEqual(
      expect.arrayContaining(["2026/*.gz", "2026/"]),
    );
    await cp(box, ["s3://bucket/20*/{a,d}.gz", "s3://bucket/2026/**/x-[0-9].csv", "b"], options);
    expect(files(work, "b")).toEqual(["05/x-1.csv", "2025/d.gz", "2026/a.gz"]);
    await cp(box, ["s3://bucket/2026/*", "c", "--exclude", "/05/"], options);
    expect(files(work, "c")).toEqual(["a.gz", "b.txt"]);
    const again = await cp(box, ["s3://bucket/2026/*.gz", "a"], options);
    expect(again.stdout).toContain("0 copied, 2 unchanged");
  });

  it("are told to have matched nothing", async ({ box, s3, work }) => {
    const options = prepared(work, s3);
    const one = await cp(box, ["s3://bucket/2026/*.zip", "a"], options);
    expect(one).toMatchObject({ code: 0, stderr: "warning: nothing matched: there is no file to sync\n" });
    const two = await cp(box, ["s3://bucket/2026/*.zip", "s3://bucket/2026/a*", "a"], options);
    expect(two.stderr).toContain("left out s3://bucket/2026/*.zip: no file in it is wanted");
  });

  it("are refused where they are the name of an object, which escapes mean", async ({ box, s3, work }) => {
    const options = prepared(work, s3);
    const both = await cp(box, ["s3://bucket/odd/s*r", "a"], options);
    expect(both.code).toBe(2);
    expect(both.stderr).toContain("write s3://bucket/odd/s\\*r for the object");
    for (const [at, source] of ["s3://bucket/odd/s\\*r", "s3://bucket/odd/s%2Ar"].entries()) {
      expect(await cp(box, [source, `b${at}/`], options)).toMatchObject({ code: 0 });
      expect(files(work, `b${at}`)).toEqual(["s*r"]);
    }
    const wrong = `s3://bucket/odd/s\\*r=${"0".repeat(64)}`;
    const summed = await cp(box, ["s3://bucket/odd/s\\*r", "d/", "--checksum", wrong], options);
    expect([summed.code, summed.stdout + summed.stderr]).toEqual([
      3,
      expect.stringContaining("wrong checksum"),
    ]);
    expect(await cp(box, ["s3://bucket/odd/s*r", "c/", "--no-wildcards"], options)).toMatchObject({
      code: 0,
    });
    expect(files(work, "c")).toEqual(["s*r"]);
  });

  it("are in lists too, where an object of that name comes first", async ({ box, s3, work }) => {
    const options = prepared(work, s3);
    work.write({ list: "s3://bucket/2026/*.gz\ns3://bucket/odd/s*r\n" });
    expect(await cp(box, ["--from-file", "list", "a"], options)).toMatchObject({ code: 0 });
    expect(files(work, "a")).toEqual(["05/c.gz", "a.gz", "s*r"]);
    work.write({ list: "s3://bucket/2026/*.gz\tname.gz\n" });
    const named = await cp(box, ["--from-file", "list", "b"], options);
    expect(named.code).toBe(3);
    expect(named.stderr + named.stdout).toContain("it has wildcards");
  });

  it("are characters of a prefix where they are escaped, with --delete too", async ({ box, s3, work }) => {
    s3.put("p[1]/a", "a");
    s3.put("p1/b", "b");
    work.write({ "a/old": "" });
    const args = ["sync", "s3://bucket/p\\[1\\]/", "--to", "a", "--delete"];
    const { code, stdout } = await box.run(args, { cwd: work.path, env: s3.env });
    expect([code, stdout]).toEqual([0, expect.stringContaining("1 copied, 0 unchanged, 1 deleted")]);
    expect(files(work, "a")).toEqual(["a"]);
  });

  it("are no trees to delete by", async ({ box, s3, work }) => {
    const args = ["sync", "s3://bucket/2026/*.gz", "--to", "a", "--delete"];
    const { code, stderr } = await box.run(args, prepared(work, s3));
    expect([code, stderr]).toEqual([
      2,
      expect.stringContaining("name s3://bucket/2026/ and choose by --include"),
    ]);
  });

  it("are gone through again from where a killed run was", async ({ box, s3, work }) => {
    const options = prepared(work, s3);
    const killed = await box.run(["cp", "s3://bucket/2026/*.gz", "a"], {
      ...options,
      env: { ...options.env, DROVER_FAULT: "committed" },
    });
    expect(killed.signal).toBe("SIGKILL");
    expect((await box.run(["resume", "latest"], options)).code).toBe(0);
    expect(files(work, "a")).toEqual(["05/c.gz", "a.gz"]);
  });
});
