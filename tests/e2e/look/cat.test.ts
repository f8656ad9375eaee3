import { spawn } from "node:child_process";
import { createHash } from "node:crypto";
import { join } from "node:path";
import { describe, expect } from "vitest";
import { REPOSITORY } from "../../harness/drover.js";
import { itWithFakeS3 as it } from "../../harness/fixtures.js";

const sha256 = (bytes: Buffer) => createHash("sha256").update(bytes).digest("base64");
const MANY = Buffer.alloc(3 << 20, "0123456789abcdef");

describe("drover cat", () => {
  it("writes files one after the other, and goes on after one that cannot be read", async ({
    box,
    s3,
    work,
  }) => {
    work.write({ a: "one\n", "odd \n?*": "two\n" });
    s3.put("p/k[1]", "three\n");
    s3.put("p/x-1", "4");
    s3.put("p/x-2", "5");
    const options = { cwd: work.path, env: s3.env };
    const all = await box.run(["cat", "a", "odd \n?*", "s3://bucket/p/k\\[1]", "s3://bucket/p/x-*"], options);
    expect(all).toMatchObject({ code: 0, stdout: "one\ntwo\nthree\n45", stderr: "" });
    const some = await box.run(["cat", "nothing", "s3://bucket/p/none", "s3://bucket/p/", "a"], options);
    expect(some).toMatchObject({ code: 1, stdout: "one\n" });
    expect(some.stderr.match(/^drover: /gm)).toHaveLength(3);
    expect((await box.run(["cat", "a", "--range", "3-1"], options)).code).toBe(2);
  });

  it("writes ranges", async ({ box, s3, origin, work }) => {
    work.write({ a: "0123456789" });
    s3.put("k", "0123456789");
    origin.route("/u", ({ response }) => void response.end("0123456789")); // knows no ranges
    const options = { cwd: work.path, env: s3.env };
    for (const [range, expected] of [
      ["2-4", "234"],
      ["8-", "89"],
      ["9-99", "9"],
      ["0-0", "0"],
    ] as const) {
      const args = ["cat", "a", "s3://bucket/k", origin.url("/u"), "--range", range];
      expect(await box.run(args, options)).toMatchObject({ code: 0, stdout: expected.repeat(3), stderr: "" });
    }
    const behind = await box.run(["cat", "a", "s3://bucket/k", "--range", "10-"], options);
    expect([behind.code, behind.stderr]).toEqual([1, expect.stringContaining("it has 10 bytes")]);
  });

  it("says that bytes were wrong once they are out", async ({ box, s3, work }) => {
    s3.put("good", "good", { "x-amz-checksum-sha256": sha256(Buffer.from("good")) });
    s3.put("bad", "bad", { "x-amz-checksum-sha256": sha256(Buffer.from("good")) });
    const { code, stdout, stderr } = await box.run(["cat", "s3://bucket/good", "s3://bucket/bad"], {
      ...{ cwd: work.path, env: s3.env },
    });
    expect([code, stdout]).toEqual([1, "goodbad"]);
    expect(stderr).toMatch(
      /^drover: s3:\/\/bucket\/bad: wrong checksum: .*3 bytes of it were written already\n$/,
    );
  });

  it("goes on in the middle of the same version, and not of another", async ({ box, s3, work }) => {
    const breaks = (replaces: boolean) => {
      let left = 2;
      s3.put("k", MANY, { "x-amz-checksum-sha256": sha256(MANY) });
      s3.fault = ({ key, headers }, answer) => {
        if (key !== "k" || left-- <= 0) return false;
        const { etag } = s3.stored("k") as { etag: string };
        const from = Number(/^bytes=(\d+)-/.exec(String(headers.range))?.[1] ?? 0);
        const rest = MANY.subarray(from);
        const range =
          from === 0 ? {} : { "content-range": `bytes ${from}-${MANY.length - 1}/${MANY.length}` };
        answer.writeHead(from === 0 ? 200 : 206, {
          ...{ etag, "last-modified": new Date().toUTCString(), "content-length": rest.length, ...range },
          ...(from === 0 ? { "x-amz-checksum-sha256": sha256(MANY) } : {}),
        });
        answer.write(rest.subarray(0, 1 << 20), () => setTimeout(() => answer.destroy(), 50));
        if (replaces) s3.put("k", "another");
        return true;
      };
    };
    const options = { cwd: work.path, env: s3.env };
    breaks(false);
    const whole = await box.run(["cat", "s3://bucket/k"], options);
    expect([whole.code, whole.stdout.length, sha256(Buffer.from(whole.stdout))]).toEqual([
      0,
      MANY.length,
      sha256(MANY),
    ]);
    expect(s3.requests.filter(({ headers }) => headers["if-match"] !== undefined)).toHaveLength(2);
    breaks(true);
    const replaced = await box.run(["cat", "s3://bucket/k"], options);
    expect([replaced.code, MANY.toString().startsWith(replaced.stdout)]).toEqual([1, true]);
    expect(replaced.stderr).toMatch(/changed|replaced/);
    breaks(false);
    const given = await box.run(["cat", "s3://bucket/k", "--retries", "1"], options);
    expect(given.code).toBe(1);
  });

  it("ends quietly where nobody reads on", async ({ box, s3, work }) => {
    for (let each = 0; each < 20; each++) s3.put(`m/${each}`, MANY);
    const main = join(REPOSITORY, "packages/cli/bundle/main.js");
    const script = `'${process.execPath}' '${main}' cat 's3://bucket/m/*' | head -c 10; exit "\${PIPESTATUS[0]}"`;
    const child = spawn("bash", ["-c", script], {
      cwd: work.path,
      env: { ...process.env, ...s3.env, HOME: box.home, XDG_STATE_HOME: box.state },
    });
    let [stdout, stderr] = ["", ""];
    child.stdout.on("data", (text) => {
      stdout += text;
    });
    child.stderr.on("data", (text) => {
      stderr += text;
    });
    const code = await new Promise((resolve) => child.on("close", resolve));
    expect([code, stdout, stderr]).toEqual([0, "0123456789", ""]);
    expect(s3.requests.filter(({ key }) => key.startsWith("m/")).length).toBeLessThan(10);
  });
});
