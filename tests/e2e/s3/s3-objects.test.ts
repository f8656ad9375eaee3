import { readFileSync, utimesSync } from "node:fs";
import { describe, expect } from "vitest";
import { pattern, toBuffer } from "../../harness/content.js";
import { it, real } from "../../harness/s3-fixtures.js";

const LARGE = toBuffer(pattern(17 << 20));
const NAMES = ["large", "small"];
const OPTIONS = [
  ...["--s3-storage-class", "STANDARD_IA", "--s3-content-type", "text/x-report"],
  ...["--s3-cache-control", "max-age=60", "--s3-content-disposition", "attachment"],
  ...["--s3-content-language", "de", "--s3-metadata", "owner=ann", "--s3-metadata", "note=a=b, c"],
  ...["--s3-tags", "team=data & co", "--s3-tags", "stage="],
];
const HEAD = {
  type: "text/x-report",
  cacheControl: "max-age=60",
  disposition: "attachment",
  language: "de",
  storageClass: "STANDARD_IA",
};
const TAGS = { team: "data & co", stage: "" };

describe.skipIf(!real)("objects at a real service", { timeout: 150_000 }, () => {
  it("are what the options say, small and large, and after a copy by the service", async ({
    box,
    work,
    s3,
  }) => {
    const { env } = s3;
    work.write({ "in/small": "content", "in/large": LARGE });
    const up = ["--to", s3.url("a"), ...OPTIONS, "--s3-part-size", "5M"];
    const first = await box.run(["sync", work.at("in"), "--pattern", "**", ...up], { env });
    expect([first.code, first.stderr]).toEqual([0, ""]);
    // The other metadata of a source stay; of the same key it is the option that counts.
    const over = ["--s3-metadata", "owner=bob", "--s3-storage-class", "STANDARD_IA"];
    const copy = await box.run(["sync", s3.url("a/"), "--pattern", "**", "--to", s3.url("b"), ...over], {
      env,
    });
    expect([copy.code, copy.stderr]).toEqual([0, ""]);
    for (const name of NAMES) {
      for (const [key, owner] of [
        [`a/${name}`, "ann"],
        [`b/${name}`, "bob"],
      ] as const) {
        const head = await s3.head(key);
        expect(head).toMatchObject({ ...HEAD, metadata: { owner, note: "a=b, c" } });
        expect(Object.keys(head.metadata ?? {})).toEqual(
          expect.arrayContaining(["drover-sha256", "mtime", "mode"]),
        );
      }
    }
    // Ceph 16 takes tags with a single PUT alone.
    expect(await s3.tags("a/small")).toEqual(TAGS);
    const plain = await box.run(["sync", s3.url("a/"), "--pattern", "**", "--to", s3.url("c")], { env });
    expect(plain.code).toBe(0);
    expect(await s3.tags("c/small")).toEqual(TAGS);
    const { items } = await box.sync([work.at("in"), "--pattern", "**", "--artifact-root", s3.url("a")], {
      env,
    });
    expect(items.map((item) => item.outcome)).toEqual(["unchanged", "unchanged"]);
  });

  it("keep what the options say when their time alone changes", async ({ box, work, s3 }) => {
    const { env } = s3;
    work.write({ "in/small": "content", "in/large": LARGE });
    const up = ["sync", work.at("in"), "--pattern", "**", "--to", s3.url("a"), ...OPTIONS];
    expect((await box.run(up, { env })).code).toBe(0);
    for (const name of NAMES) utimesSync(work.at("in", name), 1_500_000_000, 1_500_000_000);
    expect((await box.run(up, { env })).stdout).toMatch(/^2 copied/m);
    for (const name of NAMES) {
      expect(await s3.head(`a/${name}`)).toMatchObject({
        ...HEAD,
        metadata: { owner: "ann", mtime: "1500000000" },
      });
    }
    expect(await s3.tags("a/small")).toEqual(TAGS);
  });

  it("are encrypted with a key of the user, copied to another, and come back", async ({ box, work, s3 }) => {
    const { env } = s3;
    const [one, two] = [Buffer.alloc(32, "1"), Buffer.alloc(32, "2")];
    work.write({
      "in/small": "content",
      "in/large": LARGE,
      "one.key": one,
      "two.key": two.toString("base64"),
    });
    const tree = ["--pattern", "**"];
    const closing = (file: string) => ["--s3-sse-customer-key-file", work.at(file)];
    const opening = (file: string) => ["--s3-source-sse-customer-key-file", work.at(file)];
    const up = [work.at("in"), ...tree, "--artifact-root", s3.url("a"), ...closing("one.key")];
    expect((await box.sync(up, { env })).code).toBe(0);
    const again = await box.sync([...up, "--check-destination"], { env });
    expect(again.items.map((item) => item.outcome)).toEqual(["unchanged", "unchanged"]);
    const over = [s3.url("a/"), ...tree, "--artifact-root", s3.url("b")];
    const copied = await box.sync([...over, ...opening("one.key"), ...closing("two.key")], { env });
    expect(copied.items.map((item) => item.outcome)).toEqual(["copied", "copied"]);
    const down = [s3.url("b/"), ...tree, ...work.into];
    for (const wrong of [[], opening("one.key")])
      expect((await box.sync([...down, ...wrong, "--retries", "1"], { env })).code).not.toBe(0);
    expect((await box.sync([...down, ...opening("two.key")], { env })).code).toBe(0);
    expect(readFileSync(work.to("small"), "utf8")).toBe("content");
    expect(readFileSync(work.to("large")).equals(LARGE)).toBe(true);
    const look = async (...words: string[]) => {
      const { code, stdout } = await box.run(words, { env });
      return [code, stdout];
    };
    expect(await look("cat", s3.url("b/small"), ...opening("two.key"))).toEqual([0, "content"]);
    expect(await look("cat", s3.url("b/small"), ...opening("one.key"))).toEqual([1, ""]);
    expect(await look("ls", s3.url("b/small"), ...opening("two.key"))).toEqual([0, "small\n"]);
    expect((await look("cat", work.at("in/small"), ...opening("two.key")))[0]).toBe(2);
    for (const name of NAMES) await expect(s3.head(`b/${name}`)).rejects.toThrow();
    for (const name of NAMES) expect((await s3.head(`b/${name}`, two)).metadata).toHaveProperty("mtime");
  });

  it("are what the options say where they are one side of a pair, whoever writes to it", async ({
    box,
    work,
    s3,
  }) => {
    const { env } = s3;
    work.write({ "d/a": "1", "d/b": "1" });
    const pair = [work.at("d"), s3.url("p/")];
    const sync = async (...more: string[]) => {
      const { code, stderr } = await box.run(["bisync", ...pair, ...more], { env });
      return [code, stderr];
    };
    expect(await sync(...OPTIONS)).toEqual([0, ""]);
    for (const key of ["p/a", "p/b"]) expect(await s3.head(key)).toMatchObject(HEAD);
    expect(await s3.tags("p/a")).toEqual(TAGS);
    const [marker] = (await s3.list()).filter((key) => key.startsWith("p/.drover-pair-"));
    // It is read at every sync, and never goes to an archive.
    expect(await s3.head(marker as string)).toMatchObject({ storageClass: undefined });

    work.write({ "d/a": "local" });
    await s3.put("p/a", "remote");
    await sync("--conflict", "manual", "--s3-storage-class", "STANDARD_IA");
    const [{ pair: id }] = JSON.parse((await box.run(["pairs", "--json"], { env })).stdout);
    const resolved = await box.run(["resolve", id, "a", "--take", "local"], { env });
    expect([resolved.code, resolved.stderr]).toEqual([0, ""]);
    expect(await s3.get("p/a")).toBe("local");
    expect(await s3.head("p/a")).toMatchObject({ storageClass: "STANDARD_IA", cacheControl: undefined });

    expect((await sync("--direction", "pull"))[0]).toBe(0);
    work.write({ "d/b": "once more" });
    const [, run] =
      /run (\S+)$/m.exec((await box.run(["bisync", ...pair, ...OPTIONS], { env })).stdout) ?? [];
    expect((await box.run(["bisync", ...pair, "--direction", "pull"], { env })).code).toBe(0);
    expect((await box.run(["rollback", run as string], { env })).code).toBe(0);
    expect(await s3.head("p/b")).toMatchObject({ storageClass: "STANDARD_IA", language: "de" });

    const pull = await sync("--direction", "pull", "--s3-storage-class", "STANDARD_IA");
    expect(pull).toEqual([2, expect.stringContaining("--s3-storage-class is for objects of S3")]);
  });
});
