import { relative } from "node:path";
import { Keys } from "@drover/shared/protocol/keys";
import { connect } from "@drover/shared/redis/connect";
import { describe, expect } from "vitest";
import { filesBelow } from "../../harness/drover.js";
import { itWithFakeS3 as it, type Work } from "../../harness/fixtures.js";
import { named } from "../../harness/named-trees.js";
import { listRuns } from "../../harness/runs.js";

const NAMES = ["a/b.txt", "logs/1", "root.csv", "sub/logs/x/2", "sub/x/a/b.txt", "sub/y.csv"];
const CASES: [string[], string[]][] = [
  [
    ["--exclude", "logs/**"],
    ["a/b.txt", "root.csv", "sub/x/a/b.txt", "sub/y.csv"],
  ],
  [
    ["--exclude", "logs/"],
    ["a/b.txt", "root.csv", "sub/x/a/b.txt", "sub/y.csv"],
  ],
  [
    ["--exclude", "/logs/"],
    ["a/b.txt", "root.csv", "sub/logs/x/2", "sub/x/a/b.txt", "sub/y.csv"],
  ],
  [["--exclude", "logs"], NAMES],
  [
    ["--include", "a/b.txt"],
    ["a/b.txt", "sub/x/a/b.txt"],
  ],
  [["--include", "/a/b.txt"], ["a/b.txt"]],
  [
    ["--pattern", "**/*.csv"],
    ["root.csv", "sub/y.csv"],
  ],
  [
    ["--pattern", "!logs/**", "--pattern", "!/root.csv"],
    ["a/b.txt", "sub/x/a/b.txt", "sub/y.csv"],
  ],
  [
    ["--filter-from", "rules"],
    ["a/b.txt", "sub/y.csv"],
  ],
];
const RULES = "- logs/\n- /sub/x/\n+ *.txt\n+ /sub/**/*.csv\n- *\n";
const here = (work: Work) => filesBelow(work.out).map((path) => relative(work.out, path));

describe("patterns match at any depth, unless they begin with a slash", () => {
  it.for(CASES)("%j", async ([options, expected], { box, work, s3 }) => {
    work.write({ ...named("in", NAMES), rules: RULES });
    for (const name of NAMES) s3.put(`k/${name}`, name);
    for (const source of [work.at("in"), "s3://bucket/k/"]) {
      const into = [
        "--artifact-root",
        work.at(source === "s3://bucket/k/" ? "o2" : "o1"),
        "--script-name",
        "",
      ];
      const command = ["sync", source, ...options, ...into];
      const namesDirectory = source === work.at("in") && options.join(" ") === "--exclude logs";
      const said = namesDirectory ? expect.stringMatching(/^warning: --exclude "logs" .*\n$/) : "";
      const dry = await box.run([...command, "--dry-run", "--json"], { env: s3.env, cwd: work.path });
      const planned = JSON.parse(dry.stdout) as { destination: string }[];
      expect(planned.map(({ destination }) => relative(into[1] as string, destination))).toEqual(expected);
      const { code, stderr } = await box.run(command, { env: s3.env, cwd: work.path });
      expect([code, stderr]).toEqual([0, said]);
      expect(filesBelow(into[1] as string).map((path) => relative(into[1] as string, path))).toEqual(
        expected,
      );
    }
  });

  it("where files are deleted, too", async ({ box, work, s3 }) => {
    const all = ["--delete", "--max-delete", "100%"];
    work.write({ ...named("in", ["new"]), ...named("out", NAMES) });
    const { code, stderr } = await box.run([
      "sync",
      work.at("in"),
      "--exclude",
      "logs/**",
      ...work.into,
      ...all,
    ]);
    expect([code, stderr]).toEqual([0, ""]);
    expect(here(work)).toEqual(["logs/1", "new", "sub/logs/x/2"]);

    for (const name of NAMES) s3.put(`dst/${name}`, name);
    const to = ["--artifact-root", "s3://bucket/dst", "--script-name", "", ...all];
    const s3Run = await box.run(["sync", work.at("in"), "--exclude", "/logs/", ...to], { env: s3.env });
    expect([s3Run.code, s3Run.stderr]).toEqual([0, ""]);
    expect(s3.keys).toEqual(["dst/logs/1", "dst/new"]);
  });
});

it("refuses what cannot be parsed, and what can never match, before anything is done", async ({
  box,
  work,
}) => {
  work.write(named("in", ["a.csv"]));
  const own = ["--state-dir", work.at("state")];
  for (const [options, says] of [
    [
      ["--exclude", "*", "--include", "*.csv"],
      /--include "\*\.csv" can never match.*put --include "\*\.csv" first/,
    ],
    [["--exclude", "a[b"], /invalid pattern "a\[b": \[ without \]/],
    [["--pattern", "{a,b"], /invalid pattern "\{a,b": \{ without \}/],
    [["--pattern", "a", "--pattern", "!a"], /--pattern "a" can never match/],
    [["--exclude", "./logs/"], /--exclude "\.\/logs\/" can never match.*: write \/logs\//],
    [["--pattern", "../a"], /--pattern "\.\.\/a" can never match/],
  ] as const) {
    const { code, stdout, stderr } = await box.run(["sync", work.at("in"), ...options, ...work.into, ...own]);
    expect([code, stdout, stderr]).toEqual([2, "", expect.stringMatching(says)]);
  }
  expect(await listRuns(box, own)).toEqual([]);
});

it("a run that began with the old syntax goes on with it, and says so", async ({ box, work, fleet }) => {
  const keys = new Keys();
  work.write(named("in", NAMES));
  const filters = ["--exclude", "logs/**", "--exclude", "a/b.txt"];
  const killed = await box.run(["sync", work.at("in"), ...filters, ...work.into, ...fleet.own], {
    env: { DROVER_FAULT: "expand" },
  });
  expect(killed.signal).toBe("SIGKILL");
  const [run] = await listRuns(box, fleet.own);
  const id = run?.run as string;
  const redis = await connect(fleet.redis.address);
  const spec = JSON.parse((await redis.hget(keys.run(id), "spec")) as string);
  expect(spec.patternSyntax).toBe("rclone");
  await redis.hset(keys.run(id), "spec", JSON.stringify({ ...spec, patternSyntax: undefined }));
  redis.disconnect();
  await fleet.worker();
  const { code, stderr } = await box.run(["resume", id, ...fleet.own]);
  expect([code, stderr]).toEqual([
    0,
    expect.stringMatching(/^warning: run \S+ began before .*keeps its meaning.*\n$/),
  ]);
  expect(here(work)).toEqual(["root.csv", "sub/logs/x/2", "sub/x/a/b.txt", "sub/y.csv"]);
});

it("warns of a pattern that names a directory, which only a slash at its end leaves out", async ({
  box,
  work,
}) => {
  work.write({ "in/logs/a": "a", "in/b": "b", "out/uploads/c": "c" });
  const run = (...args: string[]) => box.run(["sync", work.at("in"), "--to", work.out, "-n", ...args]);
  const warning = (option: string, at: string, write: string) =>
    `warning: ${option} is about files of that name; of the directory ${work.at(at)} and all below it, write "${write}"\n`;
  const logs = await run("--exclude", "logs", "--pattern", "!/logs", "--exclude", "b");
  expect(logs.stderr).toBe(
    warning('--pattern "!/logs"', "in/logs", "/logs/") + warning('--exclude "logs"', "in/logs", "logs/"),
  );
  const uploads = await run("--exclude", "uploads", "--delete");
  expect(uploads.stderr).toContain(warning('--exclude "uploads"', "out/uploads", "uploads/"));
  const meant = await run("--exclude", "uploads/", "--exclude", "logs/", "--delete");
  expect(meant.stderr).not.toContain("is about files");
  expect(meant.stdout).toContain(" 0 deleted;");
});
