import { existsSync, readFileSync, symlinkSync } from "node:fs";
import { availableParallelism } from "node:os";
import { resolve } from "node:path";
import { describe, expect } from "vitest";
import { file, gated, pausedAt, status } from "../../harness/behaviours.js";
import { pattern, sha256 } from "../../harness/content.js";
import { filesBelow, type Item } from "../../harness/drover.js";
import { it } from "../../harness/fixtures.js";
import { Gate } from "../../harness/gate.js";

describe("human output", () => {
  it("shows every file with size and time, and the counts", async ({ box, origin, work }) => {
    const sources = [
      origin.route("/data1.csv", file(pattern(1_200_000))),
      origin.route("/data2.csv", file(pattern(800_000))),
      origin.route("/data3.csv", status(404)),
    ];
    const { code, stdout } = await box.run(["sync", ...sources, ...work.into]);
    const lines = stdout.trimEnd().split("\n");
    expect(lines[0]).toBe("Syncing 3 sources...");
    expect(lines.at(-1)).toBe("2/3 successful");
    expect(lines).toHaveLength(7);
    expect(lines).toContainEqual(expect.stringMatching(/^✓ data1\.csv \(1\.2 MB, \d+\.\ds\)$/));
    expect(lines).toContainEqual(
      expect.stringMatching(/^✓ data2\.csv \((0\.8 MB|800(\.0)? kB), \d+\.\ds\)$/),
    );
    expect(lines).toContainEqual(expect.stringMatching(/^✗ data3\.csv \(.*404.*\)$/));
    expect(lines.at(-3)).toMatch(
      new RegExp(`^2 copied, 0 unchanged, 1 failed; 2 MB in \\d+\\.\\ds \\(.*/s\\) to ${work.out}$`),
    );
    expect(lines.at(-2)).toMatch(/^run \S+: drover retry \S+ tries again what did not succeed$/);
    expect(code).toBe(1);
  });

  it("is plain in a pipe", async ({ box, origin, work }) => {
    const { stdout, stderr } = await box.run(["sync", origin.route("/a", file("a")), ...work.into]);
    expect(stdout + stderr).not.toContain("\u001b");
    expect(stdout).not.toContain("\r");
  });

  it("counts an unchanged file as successful, and names it with --verbose alone", async ({
    box,
    origin,
    work,
  }) => {
    const command = ["sync", origin.route("/a.csv", file("a")), ...work.into];
    await box.run(command);
    const again = await box.run(command);
    expect(again.stdout).not.toContain("✓");
    expect(again.stdout).toMatch(/^0 copied, 1 unchanged, .*\nrun \S+\n1\/1 successful\n$/m);
    expect(again.code).toBe(0);
    expect((await box.run([...command, "-v"])).stdout).toMatch(/^✓ a\.csv \(unchanged\)$/m);
  });

  it("is what went wrong alone with -q", async ({ box, origin, work }) => {
    const good = origin.route("/a.csv", file("a"));
    const bad = origin.route("/b.csv", status(404));
    const { stdout, stderr } = await box.run(["sync", good, bad, ...work.into, "-q"]);
    expect(stdout).toMatch(/^✗ b\.csv \(.*404.*\)\n$/);
    expect(stderr).toBe("");
    expect((await box.run(["sync", good, ...work.into, "-q"])).stdout).toBe("");
  });

  it("names the next command as it must be typed", async ({ box, origin, work }) => {
    const url = origin.route("/a.csv", status(404), file("a"));
    const own = ["--state-dir", work.at("my state")];
    const { stdout } = await box.run(["sync", url, ...work.into, ...own]);
    const [, id] = /^run (\S+): drover retry \1 --state-dir '.*\/my state' tries/m.exec(stdout) ?? [];
    expect((await box.run(["retry", id ?? "", ...own])).code).toBe(0);
  });

  it("tells of progress in between where there is no terminal", async ({ box, origin, work }) => {
    const gate = new Gate();
    const url = origin.route("/a.csv", gated(gate, file("a")));
    const run = box.start(["sync", url, ...work.into, "--stats", "100ms"]);
    await run.waitFor("stderr", /^0\/1 files · 0 B · 0 B\/s$/m);
    gate.open();
    expect((await run.result).code).toBe(0);
  });

  it("counts what has come of the files of threads, too, where there is no terminal", async ({
    box,
    origin,
    work,
    skip,
  }) => {
    if (availableParallelism() < 2) skip("there is one thread only");
    const gate = new Gate();
    origin.route("/*", pausedAt(pattern(2_000_000), 1_000_000, gate));
    const list = work.write({
      list: Array.from({ length: 10_100 }, (_, at) => `${origin.url(`/f${at}`)}\n`).join(""),
    });
    const options = ["--stats", "100ms", "--max-workers", "16", "--timeout", "60"];
    const run = box.start(["sync", "--from-file", list, ...work.into, ...options]);
    // This thread alone carries 16 of them, and later half as many.
    await run.waitFor("stderr", /^0\/10100 files · (1[7-9]|2\d)(\.\d+)? MB · /m);
    run.kill("SIGKILL");
    await run.result;
    gate.open();
  });

  it("refuses a time between lines of progress that is none", async ({ box, work }) => {
    const { code, stderr } = await box.run(["sync", ".", ...work.into, "--stats", "often"]);
    expect([code, stderr]).toEqual([2, expect.stringContaining("--stats must be a time such as 30s")]);
  });

  it("shows that files are written to the default destination", async ({ box, origin, work }) => {
    const { code } = await box.run(["sync", origin.route("/x/a.csv", file("a"))], { cwd: work.path });
    expect(code).toBe(0);
    expect(readFileSync(work.at("reports/scripts/resilient-data-sync/a.csv"), "utf8")).toBe("a");
  });

  it("is separate from logs, which go to stderr", async ({ box, origin, work }) => {
    const command = ["sync", origin.route("/a.csv", file("a")), ...work.into, "--verbose"];
    const { stdout, stderr, code } = await box.run(command);
    expect(code).toBe(0);
    expect(stdout.trimEnd().split("\n")).toHaveLength(5);
    expect(stderr).not.toBe("");
  });
});

describe("--json", () => {
  it("describes copied, unchanged and failed files completely", async ({ box, origin, work }) => {
    const same = origin.route("/same.csv", file("same"));
    await box.sync([same, ...work.into]);
    const sources = [same, origin.route("/new.csv", file("new")), origin.route("/gone.csv", status(404))];
    const { items, code } = await box.sync([...sources, ...work.into]);
    expect(code).toBe(1);
    const of = (name: string) => items.find((item) => item.source === origin.url(name)) as Item;
    expect(new Set(items.map(({ run }) => run)).size).toBe(1);
    expect(of("/new.csv")).toMatchObject({
      run: expect.stringMatching(/^r\w+-\w+$/),
      checksum: sha256("new"),
      status: "ok",
      outcome: "copied",
      bytes: 3,
      verified_by: "length",
      attempts: 1,
      duration_ms: expect.any(Number),
    });
    expect(resolve(of("/new.csv").destination)).toBe(work.to("new.csv"));
    expect(of("/same.csv")).toMatchObject({ checksum: sha256("same"), status: "ok", outcome: "unchanged" });
    expect(of("/gone.csv")).toMatchObject({
      checksum: null,
      status: "failed",
      outcome: "failed",
      bytes: 0,
      attempts: 1,
      error: { class: "not-found", message: expect.stringContaining("404") },
    });
    expect(of("/new.csv").error).toBeUndefined();
    expect(items).toHaveLength(3);
  });

  it("is written while files are in progress, in the order of their end", async ({ box, origin, work }) => {
    const gate = new Gate();
    const slow = origin.route("/slow", gated(gate, file("slow")));
    const quick = origin.route("/quick", file("quick"));
    const run = box.start(["sync", slow, quick, ...work.into, "--json"]);
    await gate.reached;
    await run.waitFor("stdout", /"source":\s*"[^"]*\/quick"/);
    expect(run.running).toBe(true);
    gate.open();
    const items = JSON.parse((await run.result).stdout) as Item[];
    expect(items.map((item) => item.source)).toEqual([quick, slow]);
  });

  it("comes with a warning for each of several sources without files", async ({ box, work }) => {
    work.write({ "a/x.csv": "x", "b/y.txt": "y" });
    const options = ["--pattern", "*.csv", ...work.into];
    const { items, code, stderr } = await box.sync([work.at("a"), work.at("b"), ...options]);
    expect(items.map(({ status }) => status)).toEqual(["ok"]);
    expect(code).toBe(0);
    expect(stderr.trim()).toBe(`warning: left out ${work.at("b")}: no file in it is wanted`);
  });

  it("is an empty array, with a warning, if nothing matched", async ({ box, work }) => {
    work.write({ "in/a.txt": "a" });
    const { items, code, stderr } = await box.sync([work.at("in"), "--pattern", "*.csv", ...work.into]);
    expect(items).toEqual([]);
    expect(code).toBe(0);
    expect(stderr).not.toBe("");
  });
});

it("--ndjson prints one object per line, with the same fields", async ({ box, origin, work }) => {
  const sources = [origin.route("/a", file("a")), origin.route("/b", status(404))];
  const { stdout, code } = await box.run(["sync", ...sources, ...work.into, "--ndjson"]);
  const items = stdout
    .trimEnd()
    .split("\n")
    .map((line) => JSON.parse(line) as Item);
  expect(items).toHaveLength(2);
  expect(items.find((item) => item.source === sources[0])).toMatchObject({ outcome: "copied", attempts: 1 });
  expect(items.find((item) => item.source === sources[1])).toMatchObject({ error: { class: "not-found" } });
  expect(code).toBe(1);
});

it("--dry-run shows what it would do and does nothing", async ({ box, origin, work }) => {
  work.write({ "in/local.csv": "l" });
  const url = origin.route("/a.csv", file("a"));
  const { stdout, code } = await box.run(["sync", url, work.at("in"), ...work.into, "--dry-run"]);
  expect(code).toBe(0);
  expect(stdout).toContain("a.csv");
  expect(stdout).toContain("local.csv");
  expect(existsSync(work.out)).toBe(false);
  expect(origin.requests.filter((request) => request.method === "GET")).toEqual([]);
});

describe("exit codes", () => {
  const cases: { name: string; paths: string[]; code: number }[] = [
    { name: "all synced", paths: ["/ok1", "/ok2"], code: 0 },
    { name: "some failed", paths: ["/ok1", "/gone"], code: 1 },
    { name: "all failed", paths: ["/gone", "/forbidden"], code: 3 },
    { name: "the only one failed", paths: ["/gone"], code: 3 },
  ];
  it.for(cases)("$name: $code", async ({ paths, code }, { box, origin, work }) => {
    origin.route("/ok*", file("fine"));
    origin.route("/forbidden", status(403));
    const result = await box.run(["sync", ...paths.map((path) => origin.url(path)), ...work.into]);
    expect(result.code).toBe(code);
  });
});

describe("an impossible command exits with 2, one clear error, and an empty stdout", () => {
  const SHA = "0".repeat(64);
  const cases: { name: string; args: string[]; says: RegExp; env?: Record<string, string> }[] = [
    { name: "no source", args: [], says: /nothing to sync/ },
    { name: "an unknown option", args: ["URL", "--retires", "3"], says: /--retires/ },
    { name: "retries that are no number", args: ["URL", "--retries", "many"], says: /retries/ },
    { name: "no tries at all", args: ["URL", "--retries", "0"], says: /retries/ },
    { name: "a negative timeout", args: ["URL", "--timeout", "-1"], says: /timeout/ },
    { name: "no time at all", args: ["URL", "--timeout", "0"], says: /timeout/ },
    { name: "no workers", args: ["URL", "--max-workers", "0"], says: /max-workers/ },
    { name: "half a worker", args: ["URL", "--max-workers", "1.5"], says: /max-workers/ },
    { name: "a factor that is no number", args: ["URL", "--backoff-factor", "x"], says: /backoff-factor/ },
    { name: "a checksum without a source", args: ["URL", "--checksum", SHA], says: /checksum/ },
    { name: "a checksum that is none", args: ["URL", "--checksum", "URL=abc"], says: /checksum/ },
    { name: "a header without a colon", args: ["URL", "--header", "nonsense"], says: /header/ },
    { name: "an unknown layout", args: ["URL", "--layout", "tree"], says: /layout/ },
    { name: "an unknown durability", args: ["URL", "--durability", "maybe"], says: /durability/ },
    { name: "a size that is none", args: ["URL", "--max-file-size", "big"], says: /max-file-size/ },
    { name: "a rate that is none", args: ["URL", "--bwlimit", "fast"], says: /bwlimit/ },
    { name: "two outputs at once", args: ["URL", "--json", "--ndjson"], says: /json/ },
    { name: "a list that is not there", args: ["--from-file", "no-such-list"], says: /no-such-list/ },
    {
      name: "a configuration that is not there",
      args: ["URL", "--config", "no-such.yaml"],
      says: /no-such\.yaml/,
    },
    { name: "an unsupported scheme", args: ["ftp://example.org/a"], says: /ftp/ },
    { name: "an invalid URL", args: ["http://"], says: /http:\/\// },
    { name: "an unreachable Redis", args: ["URL", "--redis", "redis://127.0.0.1:1"], says: /redis/i },
    { name: "no Redis program", args: ["URL"], says: /redis/i, env: { PATH: "/nonexistent" } },
    {
      name: "a bad setting from the environment",
      args: ["URL"],
      says: /retries/i,
      env: { DROVER_RETRIES: "x" },
    },
  ];
  it.for(cases)("$name", async ({ args, says, env }, { box, origin, work }) => {
    const url = origin.route("/a.csv", file("a"));
    // A separate state directory: a running Redis would need no program.
    const own = ["--state-dir", work.at("state")];
    const command = ["sync", ...args.map((arg) => arg.replace("URL", url)), ...work.into, ...own];
    const result = await box.run(command, { cwd: work.path, ...(env ? { env } : {}) });
    expect(result.code).toBe(2);
    expect(result.stdout).toBe("");
    expect(result.stderr).toMatch(says);
    expect(result.stderr).not.toMatch(/^\s+at /m);
    expect(result.stderr).toMatch(/^drover: .*\n$/); // one line
    expect(filesBelow(work.out)).toEqual([]);
    expect(origin.requests).toEqual([]);
  });
});

it("a typing error is reported in one line, with a suggestion", async ({ box }) => {
  const told = async (line: string) => (await box.run(line.split(" "))).stderr;
  const where = (command: string) => `(drover ${command} --help lists its options)`;
  expect(await told("sync x --retrys 3")).toBe(
    `drover: unknown option '--retrys' (Did you mean --retries?) ${where("sync")}\n`,
  );
  expect(await told("synch x")).toBe(
    `drover: unknown command 'synch' (Did you mean sync?) (drover --help lists commands and options)\n`,
  );
  expect(await told("status")).toBe(`drover: missing required argument 'run' ${where("status")}\n`);
  expect(await told("catalog exprt")).toBe(
    "drover: unknown command 'exprt' (Did you mean export?) (drover catalog --help lists its commands)\n",
  );
  expect(await told("catalog export --x")).toBe(`drover: unknown option '--x' ${where("catalog export")}\n`);
});

it.for([
  ["cp a b --recursive", "--recursive", "a directory is copied whole anyway"],
  ["cp a b -r", "-r", "a directory is copied whole anyway"],
  ["sync a --to b --transfers=8", "--transfers=8", "--max-workers"],
  ["sync a --to b --exact-timestamps", "--exact-timestamps", "--size-only or --checksum-only"],
  ["sync a --to b --files-from x", "--files-from", "--from-file"],
  ["cp a b --delete", "--delete", "drover sync SOURCE… --to DEST --delete"],
  ["cp a b --endpoint-url http://x", "--endpoint-url", "--s3-endpoint"],
  ["cp a b --limit-rate=3k", "--limit-rate=3k", "--bwlimit"],
  ["cp a b --no-check-certificate", "--no-check-certificate", "--ca-file"],
])("an option of another tool is told the counterpart: %s", async ([line, option, says], { box }) => {
  const { code, stderr } = await box.run((line as string).split(" "));
  expect([code, stderr]).toEqual([2, expect.stringMatching(/^drover: [^\n]*\n$/)]);
  expect(stderr).toContain(`unknown option '${option}': `);
  expect(stderr).toContain(says);
});

it("a setting that is none names the help of its command, and an error of a file does not", async ({
  box,
  work,
}) => {
  const told = async (...args: string[]) => (await box.run(args, { cwd: work.path })).stderr;
  const where = (command: string) => ` (drover ${command} --help lists its options)\n`;
  for (const [command, ...args] of [
    ["sync", ".", "--stats", "often"],
    ["sync", ".", "--header", "x"],
    ["sync", ".", "--timeout", "soon"],
    ["cp", "a", "b", "--min-size", "big"],
    ["resume", "latest", "--json", "--ndjson"],
    ["runs", "--limit", "all"],
    ["gc", "--older-than", "long"],
    ["catalog export", "--format", "xml"],
    ["worker"],
  ] as [string, ...string[]][]) {
    const stderr = await told(...command.split(" "), ...args);
    expect(stderr).toMatch(/^drover: .*\n$/);
    expect(stderr.endsWith(where(command)), stderr).toBe(true);
  }
  expect(await told("sync", "none", "--to", "out")).not.toContain("--help");
  expect(await told("sync", ".", "--bearer-token-file", "none")).not.toContain("--help");
});

it.skipIf(!existsSync("/dev/full"))(
  "unwritable results fail the command, not its files",
  async ({ box, origin, work }) => {
    const urls = ["/a", "/b"].map((path) => origin.route(path, file(path)));
    const result = await box.run(["sync", ...urls, ...work.into, "--json"], { stdoutTo: "/dev/full" });
    expect(result.stderr).toBe("drover: cannot write to standard output (ENOSPC)\n");
    expect(result.code).toBe(1);
    expect(filesBelow(work.out)).toEqual([work.to("a"), work.to("b")]);
    const runs = await box.run(["runs"], { stdoutTo: "/dev/full" });
    expect(runs).toMatchObject({ code: 1, stderr: "drover: cannot write to standard output (ENOSPC)\n" });
  },
);

it("no control character of a name reaches the terminal", async ({ box, work }) => {
  work.write({ "in/a\u001b[2Jb": "x", "gone\nx": "x" });
  symlinkSync(work.at("nowhere"), work.at("in/l\u001bk"));
  const sources = [work.at("in"), work.at("none\u001b"), ...work.into];
  const dry = await box.run(["sync", ...sources, "--dry-run"]);
  expect(dry.stdout).toContain("would copy");
  const real = await box.run(["sync", ...sources, "--verbose"]);
  expect(real.stdout).toContain("✓ a\ufffd[2Jb");
  const runs = JSON.parse((await box.run(["runs", "--json"])).stdout) as { run: string }[];
  const status = await box.run(["status", runs[0]?.run as string]);
  expect(status.stdout).toContain("✗");
  for (const { stdout, stderr } of [dry, real, status]) expect(stdout + stderr).not.toContain("\u001b");
});

it.for(["--help", "sync --help", "fetch --help", "runs --help"])(
  "%s explains itself",
  async (line, { box }) => {
    const { code, stdout, stderr } = await box.run(line.split(" "));
    expect(code).toBe(0);
    expect(stdout).toMatch(/usage/i);
    expect(stderr).toBe("");
  },
);

it("sync --help shows the defaults", async ({ box }) => {
  const { stdout } = await box.run(["sync", "--help"]);
  const text = stdout.replace(/\s+/g, " ");
  for (const [option, value] of Object.entries({
    "--artifact-root": "reports/scripts",
    "--script-name": "resilient-data-sync",
    "--max-workers": "8",
    "--retries": "5",
    "--timeout": "300",
    "--backoff-factor": "1.5",
    "--circuit-ttl": "300",
    "--durability": "fsync",
    "--layout": "name",
  })) {
    const about = text.slice(text.indexOf(`${option} <`) + option.length).split(" --")[0];
    expect(about, option).toContain(value);
  }
});
