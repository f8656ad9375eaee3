import { execFileSync } from "node:child_process";
import { cpSync, lstatSync, mkdirSync, readdirSync, utimesSync } from "node:fs";
import { describe, expect } from "vitest";
import { it } from "../../harness/fixtures.js";

describe("a dry run without an earlier sync", () => {
  it("counts what the run that follows does", async ({ box, work }) => {
    work.write({
      "in/same": "same",
      "in/sub/same": "too",
      "in/other": "1234",
      "in/new": "new",
      "in/time": "time",
    });
    cpSync(work.at("in"), work.out, { recursive: true, preserveTimestamps: true });
    work.write({ "out/other": "5678", "out/new": "older" });
    utimesSync(work.to("time"), 1, 1);
    const args = ["sync", work.at("in"), "--to", work.out, "--state-dir", work.at("state")];
    const { stdout } = await box.run([...args, "-n"]);
    expect(stdout).toContain("3 files would be copied, 2 left unchanged; nothing was changed\n");
    const run = await box.run(args);
    expect(run.stdout).toContain("3 copied, 2 unchanged, 0 failed;");
  });
});

it("a pipe in a file's place is refused by a dry run and by a run, which keeps nothing either", async ({
  box,
  work,
}) => {
  work.write({ "in/a": "a" });
  mkdirSync(work.out);
  execFileSync("mkfifo", [work.to("a")]);
  const args = ["sync", work.at("in"), "--to", work.out, "--suffix", ".old"];
  for (const command of [[...args, "-n"], args]) {
    const { code, stdout } = await box.run(command);
    expect([code, stdout]).toEqual([3, expect.stringContaining(" is a device, pipe or socket)")]);
  }
  expect(readdirSync(work.out)).toEqual(["a"]);
  expect(lstatSync(work.to("a")).isFIFO()).toBe(true);
});
