import { execFileSync } from "node:child_process";
import { chmodSync, copyFileSync, mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { afterAll, describe, expect, it } from "vitest";
import { REPOSITORY } from "../../harness/drover.js";

/** A checkout with the launcher and, in place of the command, a program that tells how it was started. */
const checkout = mkdtempSync(join(tmpdir(), "drover-launcher-"));
const launcher = join(checkout, "drover");
const main = join(checkout, "packages/cli/bundle/main.js");
mkdirSync(dirname(main), { recursive: true });
copyFileSync(join(REPOSITORY, "drover"), launcher);
chmodSync(launcher, 0o755);
writeFileSync(
  main,
  `const { execArgv, argv, env } = process;
  console.log(JSON.stringify({ flags: execArgv, args: argv.slice(2), arenas: env.MALLOC_ARENA_MAX }));`,
);
afterAll(() => rmSync(checkout, { recursive: true }));

interface Started {
  flags: string[];
  args: string[];
  arenas?: string;
}

function start(args: string[], env: Record<string, string> = {}, program = launcher): Started {
  const PATH = `${dirname(process.execPath)}:${process.env.PATH}`;
  return JSON.parse(execFileSync(program, args, { env: { PATH, ...env }, encoding: "utf8" })) as Started;
}

const CARRIES = ["--min-semi-space-size=16", "--max-semi-space-size=16"];
const SUBMITS = ["--max-semi-space-size=2", "--optimize-for-size"];
const SUBMITS_LISTING = ["--max-semi-space-size=4", "--heap-growing-percent=30"];
const FLEET = ["--redis", "redis://queue:6379"];

describe("the launcher", () => {
  it.each([
    ["a sync", ["sync", "a.csv"]],
    [
      "files that are called like options or programs",
      ["sync", "redis.csv", "x --dry-run", "redis/", "a--redis"],
    ],
    ["a worker", ["worker", ...FLEET, "--root", "s3://bucket"]],
    ["no command", []],
  ])("gives memory to what carries files: %s", (_, args) => {
    expect(start(args)).toEqual({ flags: CARRIES, args });
  });

  it.each([
    ["--redis URL", ["sync", "a.csv", ...FLEET]],
    ["--redis=URL", ["wait", "run", "--redis=redis://queue:6379"]],
    ["--dry-run", ["sync", "s3://bucket/", "--dry-run", ...FLEET]],
  ])("saves memory where little is done for each file: %s", (_, args) => {
    expect(start(args)).toEqual({ flags: SUBMITS, args, arenas: "1" });
  });

  it.each(["REDIS_URL", "DROVER_REDIS"])("knows a fleet by %s, too", (name) => {
    expect(start(["runs"], { [name]: "redis://queue:6379" }).flags).toEqual(SUBMITS);
    expect(start(["worker"], { [name]: "redis://queue:6379" }).flags).toEqual(CARRIES);
  });

  it("collects garbage early where S3 is listed for a fleet", () => {
    const args = ["sync", "s3://bucket/prefix/", ...FLEET];
    expect(start(args)).toEqual({ flags: SUBMITS_LISTING, args, arenas: "1" });
  });

  it("finds its checkout through links, and passes arguments on as they are", () => {
    const link = join(checkout, "link");
    symlinkSync("drover", link);
    const args = ["sync", "two words", "", "*", "--pattern", "$x"];
    expect(start(args, {}, link)).toEqual({ flags: CARRIES, args });
  });
});
