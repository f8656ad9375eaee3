import { chmodSync, readFileSync, utimesSync } from "node:fs";
import { describe, expect } from "vitest";
import { file } from "../../harness/behaviours.js";
import { pattern, toBuffer } from "../../harness/content.js";
import type { Sandbox } from "../../harness/drover.js";
import { TestS3 } from "../../harness/s3.js";
import { it, real } from "../../harness/s3-fixtures.js";

interface Case {
  box: Sandbox;
  args: string[];
  env: Record<string, string>;
}

/** The counts of a dry run, and those of the run that follows. */
async function both({ box, args, env }: Case) {
  const dry = await box.run(["sync", ...args, "-n"], { env });
  const run = await box.run(["sync", ...args], { env });
  const planned = /^(\d+) files? would be copied(.*), (\d+) left unchanged/m.exec(dry.stdout);
  const done = /(\d+) copied, (\d+) unchanged, 0 failed/.exec(run.stdout);
  return {
    planned: planned && { copied: Number(planned[1]), unchanged: Number(planned[3]) },
    perhaps: planned?.[2],
    done: done && { copied: Number(done[1]), unchanged: Number(done[2]) },
    stdout: dry.stdout,
  };
}

describe("a dry run where S3 takes part counts what the run that follows does", () => {
  it("from a directory to S3", async ({ box, work, s3 }) => {
    const { env } = s3;
    const large = real
      ? { "in/large": toBuffer(pattern(20 << 20)), "in/large2": toBuffer(pattern(20 << 20)) }
      : {};
    work.write({
      "in/same": "1",
      "in/touched": "2",
      "in/changed": "3",
      "in/size": "4",
      "in/mode": "5",
      "in/behind": "6",
      ...large,
    });
    const args = [work.at("in"), "--to", s3.url("to")];
    await box.run(["sync", ...args], { env });
    work.write({ "in/changed": "7", "in/size": "4444", "in/new": "8" });
    utimesSync(work.at("in/touched"), 1_500_000_000, 1_500_000_000);
    chmodSync(work.at("in/mode"), 0o600);
    chmodSync(work.at("in/mode"), 0o644);
    if (real) utimesSync(work.at("in/large2"), 1_500_000_000, 1_500_000_000);
    await s3.put("to/behind", "other");
    const known = await both({ box, args, env });
    expect(known.planned).toEqual(known.done);
    expect(known.perhaps).toBe("");
    work.write({ "in/same": "2", "in/more": "9" });
    await s3.remove("to/touched");
    const checked = await both({ box, args: [...args, "--check-destination"], env });
    expect(checked.planned).toEqual(checked.done);
    work.write({ "in/same": "3" });
    const fresh = await both({ box, args: [...args, "--state-dir", work.at("fresh")], env });
    expect(fresh.planned).toEqual(fresh.done);
    expect([fresh.perhaps, fresh.done?.copied]).toEqual(["", 1]);
  });

  it("from S3 to a directory", async ({ box, work, s3 }) => {
    const { env } = s3;
    await s3.putAll({ "a/same": "1", "a/changed": "2", "a/again": "3", "a/here": "4", "a/gone": "5" });
    const args = [s3.url("a/"), "--to", work.out];
    await box.run(["sync", ...args], { env });
    await s3.putAll({ "a/changed": "6", "a/again": "3", "a/new": "7" });
    work.write({ "out/here": "x" });
    const known = await both({ box, args, env });
    expect(known.planned).toEqual(known.done);
    expect(known.perhaps).toBe("");
    work.write({ "out/same": "y" });
    const fresh = await both({ box, args: [...args, "--state-dir", work.at("fresh")], env });
    expect(fresh.planned).toEqual(fresh.done);
    expect(fresh.done?.copied).toBe(1);
  });

  it("from S3 to S3", async ({ box, work, s3 }) => {
    const { env } = s3;
    await s3.putAll({ "a/same": "1", "a/changed": "2", "a/again": "3", "a/there": "4" });
    const args = [s3.url("a/"), "--to", s3.url("b")];
    await box.run(["sync", ...args], { env });
    await s3.putAll({ "a/changed": "6", "a/again": "3", "a/new": "7", "b/there": "x" });
    const known = await both({ box, args, env });
    expect(known.planned).toEqual(known.done);
    await s3.putAll({ "a/same": "y" });
    const fresh = await both({ box, args: [...args, "--state-dir", work.at("fresh")], env });
    expect(fresh.planned).toEqual(fresh.done);
    expect([fresh.perhaps, fresh.done?.copied]).toEqual(["", 2]);
  });

  it("from S3 to another S3", async ({ box, work }) => {
    const [from, to] = [await TestS3.start(), await TestS3.start()];
    const { env } = from;
    await from.putAll({ "a/same": "1", "a/changed": "2", "a/again": "3", "a/there": "4" });
    const service = ["--s3-dest-endpoint", to.service.endpoint];
    const args = [from.url("a/"), "--to", to.url("b"), ...service];
    await box.run(["sync", ...args], { env });
    await from.putAll({ "a/changed": "6", "a/again": "3", "a/new": "7" });
    await to.put("b/there", "x");
    const known = await both({ box, args, env });
    expect(known.planned).toEqual(known.done);
    await from.put("a/same", "y");
    const fresh = await both({ box, args: [...args, "--state-dir", work.at("fresh")], env });
    expect(fresh.planned).toEqual(fresh.done);
    expect([fresh.perhaps, fresh.done?.copied]).toEqual(["", 2]);
    await from.stop();
    await to.stop();
  });

  it("by the checksums of a list", async ({ box, work, origin, s3 }) => {
    const { env } = s3;
    const url = origin.route("/u", file("url"));
    work.write({ "in/a": "1", "in/b": "2" });
    const sum = async (text: string) => (await import("../../harness/content.js")).sha256(text);
    const list = work.write({
      "list.tsv": `${work.at("in/a")}\ta\t${await sum("1")}\n${url}\tu\t${await sum("url")}\n${work.at("in/b")}\tb\t${await sum("2")}\n`,
    });
    const args = ["--from-file", list, "--to", s3.url("l")];
    await box.run(["sync", ...args], { env });
    await s3.put("l/b", "other");
    const fresh = await both({ box, args: [...args, "--state-dir", work.at("fresh")], env });
    expect(fresh.planned).toEqual(fresh.done);
    expect(fresh.done).toEqual({ copied: 1, unchanged: 2 });
    expect(readFileSync(list, "utf8")).toContain(url);
  });

  it("says which files only their transfer tells about, and asks no URL", async ({
    box,
    work,
    origin,
    s3,
  }) => {
    const { env } = s3;
    const url = origin.route("/u", file("url"));
    const args = [url, "--to", s3.url("u")];
    await box.run(["sync", ...args], { env });
    const before = origin.requests.length;
    const dry = await box.run(["sync", ...args, "-n", "--state-dir", work.at("fresh")], { env });
    expect(origin.requests.length).toBe(before);
    expect(dry.stdout).toContain("(it is there; the server will be asked whether it changed)");
    expect(dry.stdout).toContain(
      "1 file would be copied (1 of them only if what comes is not what is there), 0 left unchanged",
    );
  });
});
