import { describe, expect } from "vitest";
import { FakeS3, sendError } from "../../harness/fake-s3.js";
import { itWithFakeS3 as it } from "../../harness/fixtures.js";
import { named } from "../../harness/named-trees.js";

const all = ["--delete", "--max-delete", "100%"];

describe("sync --delete to S3", () => {
  const to = (...more: string[]) => ["--artifact-root", "s3://bucket/dst", ...all, ...more];

  it("removes only below its prefix, and nothing that changed meanwhile", async ({ box, work, s3 }) => {
    work.write(named("in", ["a", "d/b", "é"]));
    for (const key of ["dst/old", "dst/d/old", "dst/keep.txt", "dst2/other", "dst", "other"])
      s3.put(key, key);
    const options = { env: s3.env };
    const dry = await box.run(["sync", work.at("in"), ...to("--exclude", "*.txt", "--dry-run")], options);
    expect([dry.code, dry.stdout]).toEqual([
      0,
      expect.stringMatching(/^would delete s3:\/\/bucket\/dst\/d\/old \(no source has it\)$/m),
    ]);
    const first = await box.sync([work.at("in"), ...to("--exclude", "*.txt")], options);
    expect([first.code, first.stderr]).toEqual([0, ""]);
    expect(
      first.items
        .filter(({ outcome }) => outcome === "deleted")
        .map((item) => item.destination)
        .sort(),
    ).toEqual(["s3://bucket/dst/d/old", "s3://bucket/dst/old"]);
    const left = ["dst", "dst/a", "dst/d/b", "dst/keep.txt", "dst/é", "dst2/other", "other"];
    expect(s3.keys).toEqual(left);

    s3.put("dst/old", "old");
    s3.fault = ({ method, key }) => {
      // The object is written after the listing: the condition must detect it.
      if (method === "DELETE" && key === "dst/old") s3.put("dst/old", "written meanwhile");
      return false;
    };
    const second = await box.sync([work.at("in"), ...to("--exclude", "*.txt")], options);
    expect(second.code).toBe(1);
    expect(second.items.at(-1)).toMatchObject({ status: "failed", error: { class: "changed" } });
    expect(s3.keys).toContain("dst/old");
  });

  it("counts the files to come in a dry run as the sync does", async ({ box, work, s3 }) => {
    for (const key of ["dst/a", "dst/old1", "dst/old2", "dst/old3"]) s3.put(key, key);
    work.write(named("in", ["a", "b", "c", "d", "e"]));
    const options = { env: s3.env };
    const args = ["sync", work.at("in"), "--artifact-root", "s3://bucket/dst", "--delete"];
    const four = await box.run([...args, "--exclude", "[cde]", "--dry-run"], options);
    expect([four.code, four.stderr]).toEqual([1, expect.stringMatching(/would .*3 of 5 files would be/)]);
    const dry = await box.run([...args, "--dry-run"], options);
    expect([dry.code, dry.stderr]).toEqual([0, ""]);
    expect(dry.stdout).toMatch(/^5 files would be copied, 0 left unchanged, 3 deleted/m);
    const real = await box.run(args, options);
    expect([real.code, real.stderr]).toEqual([0, ""]);
    expect(s3.keys).toEqual(["a", "b", "c", "d", "e"].map((name) => `dst/${name}`));
  });

  it("forgets a file before it removes it, so that one that returns is copied even without a resume", async ({
    box,
    work,
    s3,
  }) => {
    const own = ["--state-dir", work.at("s")];
    const then = new Date("2026-01-02T03:04:05Z");
    for (const key of ["src/a", "src/b"]) s3.put(key, key, {}, then);
    const args = ["sync", "s3://bucket/src/", "--artifact-root", "s3://bucket/dst", ...own];
    expect((await box.run(args, { env: s3.env })).code).toBe(0);
    s3.remove("src/b");
    const killed = await box.run([...args, ...all], { env: { ...s3.env, DROVER_FAULT: "removed" } });
    expect([killed.signal, s3.keys]).toEqual(["SIGKILL", ["dst/a", "src/a"]]);
    s3.put("src/b", "src/b", {}, then);
    expect((await box.run(args, { env: s3.env })).code).toBe(0);
    expect(s3.keys).toEqual(["dst/a", "dst/b", "src/a", "src/b"]);
  });

  it("leaves alone what a sync cannot have written", async ({ box, work, s3 }) => {
    work.write(named("in", ["a"]));
    const odd = ["dst/../other", "dst/./x", "dst/dir/", "dst/x/../../other"];
    for (const key of [...odd, "dst/old", "other"]) s3.put(key, "same");
    const { code, stderr } = await box.run(["sync", work.at("in"), ...to()], { env: s3.env });
    expect([code, stderr]).toEqual([0, ""]);
    expect(s3.keys).toEqual([...odd, "dst/a", "other"].sort());
  });

  it("does not count a destination within the source as part of the source", async ({ box, s3 }) => {
    for (const key of ["dst/a", "dst/b"]) s3.put(key, key);
    const { code, stderr } = await box.run(["sync", "s3://bucket/", ...to()], { env: s3.env });
    expect([code, stderr]).toEqual([1, expect.stringMatching(/nothing was found in s3:/)]);
    expect(s3.keys).toEqual(["dst/a", "dst/b"]);
  });

  it("distinguishes buckets of the same name on different services", async ({ box, s3 }) => {
    const other = await FakeS3.start();
    for (const key of ["a", "b"]) s3.put(key, key);
    for (const key of ["a", "old"]) other.put(key, key);
    const mirror = ["s3://bucket/", "--artifact-root", "s3://bucket", ...all];
    const there = [...mirror, "--s3-dest-endpoint", other.endpoint];
    const { code, stderr } = await box.sync(there, { env: s3.env });
    expect([code, stderr, other.keys, s3.keys]).toEqual([0, "", ["a", "b"], ["a", "b"]]);
    await other.stop();
    const here = ["s3://bucket/a/", "--artifact-root", "s3://bucket/", ...all];
    for (const more of [[], ["--s3-dest-endpoint", `${s3.endpoint}/`]]) {
      const same = await box.run(["sync", ...here, ...more], { env: s3.env });
      expect([same.code, same.stderr]).toEqual([2, expect.stringMatching(/would remove the source/)]);
    }
  });

  it("refuses the same as for a local destination", async ({ box, work, s3 }) => {
    work.write(named("in", ["a"]));
    s3.put("dst/old", "old");
    s3.put("src/b", "b");
    const options = { env: s3.env };
    const inside = await box.run(["sync", "s3://bucket/dst/sub/", ...to()], options);
    expect([inside.code, inside.stderr]).toEqual([2, expect.stringMatching(/would remove the source/)]);
    const empty = await box.run(["sync", "s3://bucket/none/", ...to()], options);
    expect([empty.code, empty.stderr]).toEqual([1, expect.stringMatching(/nothing was found in s3:/)]);
    s3.fault = ({ query }, answer) => {
      if (!query.has("list-type") || query.get("prefix") !== "dst/") return false;
      sendError(answer, 403, "AccessDenied");
      return true;
    };
    const unlisted = await box.run(["sync", "s3://bucket/src/", ...to()], options);
    expect([unlisted.code, unlisted.stderr]).toEqual([
      1,
      expect.stringMatching(/cannot list s3:\/\/bucket\/dst\//),
    ]);
    expect(s3.keys).toContain("dst/old");
  });
});
