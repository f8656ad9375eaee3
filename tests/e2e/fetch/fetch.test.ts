import { execFileSync } from "node:child_process";
import { existsSync, mkdirSync, readdirSync, readFileSync, statSync } from "node:fs";
import { pathToFileURL } from "node:url";
import { describe, expect } from "vitest";
import * as does from "../../harness/behaviours.js";
import { sha256 } from "../../harness/content.js";
import { filesBelow, leftovers, type Result, type Sandbox, type StartOptions } from "../../harness/drover.js";
import { FaultOrigin, refusedUrl } from "../../harness/fault-origin.js";
import { it } from "../../harness/fixtures.js";
import { until } from "../../harness/gate.js";
import { listRuns } from "../../harness/runs.js";

interface Line {
  readonly ts: string;
  readonly level: string;
  readonly message: string;
  readonly script: string;
  readonly run_id: string;
  readonly pid: number;
  readonly version: string;
  readonly attempt: string;
  readonly seconds_until_retry?: number;
}

/** Every line of both streams; fails if one is not a JSON object with all fields. */
function linesOf({ stdout, stderr }: Result): Line[] {
  return [...stdout.split("\n"), ...stderr.split("\n")]
    .filter((text) => text !== "")
    .map((text) => {
      const line = JSON.parse(text) as Line;
      expect(line).toMatchObject({
        ts: expect.stringMatching(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d+Z$/),
        level: expect.stringMatching(/^(debug|info|warning|warn|error)$/),
        message: expect.any(String),
        script: expect.any(String),
        run_id: expect.any(String),
        pid: expect.any(Number),
        version: expect.any(String),
        attempt: expect.stringMatching(/^\d+$/),
      });
      return line;
    });
}

async function fetchFile(
  box: Sandbox,
  url: string,
  to: string,
  more: string[] = [],
  options: StartOptions = {},
) {
  const result = await box.run(["fetch", "--source-url", url, "--destination", to, ...more], options);
  return { ...result, lines: linesOf(result) };
}

describe("a file is fetched", () => {
  it("from a URL, into a directory that is created", async ({ box, origin, work }) => {
    const to = work.at("deep/er/a.csv");
    const { code, lines } = await fetchFile(box, origin.route("/a", does.file("content")), to);
    expect(code).toBe(0);
    expect(readFileSync(to, "utf8")).toBe("content");
    expect(lines.some((line) => line.level === "info" && /success/i.test(line.message))).toBe(true);
    expect(lines.filter((line) => /warn|error/.test(line.level))).toEqual([]);
  });

  it.for(["a path", "a relative path", "a file URL"])("from %s", async (kind, { box, work }) => {
    const path = work.write({ "a b.csv": "content" });
    const source =
      { "a path": path, "a relative path": "a b.csv", "a file URL": pathToFileURL(path).href }[kind] ?? "";
    const { code } = await fetchFile(box, source, "out/b.csv", [], { cwd: work.path });
    expect(code).toBe(0);
    expect(readFileSync(work.to("b.csv"), "utf8")).toBe("content");
  });

  it("again when it has changed", async ({ box, origin, work }) => {
    const url = origin.route("/a", does.file("one"), does.file("two"));
    await fetchFile(box, url, work.to("a"));
    expect((await fetchFile(box, url, work.to("a"))).code).toBe(0);
    expect(readFileSync(work.to("a"), "utf8")).toBe("two");
  });

  it.for([
    { name: "with validators", options: {} },
    { name: "without validators", options: { etag: null, lastModified: null } },
  ])("but left alone if its bytes are the same, $name", async ({ options }, { box, origin, work }) => {
    const url = origin.route("/a", does.file("content", options));
    await fetchFile(box, url, work.to("a"));
    const before = statSync(work.to("a"), { bigint: true });
    const { code, lines } = await fetchFile(box, url, work.to("a"));
    expect(code).toBe(0);
    const after = statSync(work.to("a"), { bigint: true });
    expect([after.ino, after.mtimeNs]).toEqual([before.ino, before.mtimeNs]);
    expect(lines.map((line) => line.message).join()).toMatch(/unchanged|up.to.date/i);
    expect(filesBelow(work.out)).toEqual([work.to("a")]);
  });

  it("but left alone if another program has written the same bytes", async ({ box, origin, work }) => {
    work.write({ "out/a": "content" });
    const before = statSync(work.to("a"), { bigint: true });
    const { code } = await fetchFile(box, origin.route("/a", does.file("content")), work.to("a"));
    expect(code).toBe(0);
    const after = statSync(work.to("a"), { bigint: true });
    expect([after.ino, after.mtimeNs]).toEqual([before.ino, before.mtimeNs]);
  });

  it("after transient failures, with growing delays", async ({ box, origin, work }) => {
    const url = origin.route("/a", ...does.times(2, does.status(503)), does.file("content"));
    const { code, lines } = await fetchFile(box, url, work.to("a"));
    expect(code).toBe(0);
    expect(readFileSync(work.to("a"), "utf8")).toBe("content");
    const at = origin.requests.map((request) => request.at);
    const gaps = at.slice(1).map((time, i) => time - (at[i] ?? 0));
    expect(gaps[0]).toBeGreaterThan(400);
    expect(gaps[0]).toBeLessThan(2500);
    expect(gaps[1]).toBeGreaterThan(800);
    expect(gaps[1]).toBeLessThan(4000);
    expect(lines.filter((line) => /^warn/.test(line.level)).map((line) => line.attempt)).toEqual(["1", "2"]);
    expect(lines.at(-1)?.attempt ?? lines[0]?.attempt).toBeDefined();
    expect(lines.some((line) => line.attempt === "3")).toBe(true);
  });

  it("with its checksum", async ({ box, origin, work }) => {
    const url = origin.route("/a", does.file("content"));
    const right = await fetchFile(box, url, work.to("a"), ["--checksum", sha256("content")]);
    expect(right.code).toBe(0);
    const wrong = await fetchFile(box, url, work.to("b"), ["--checksum", sha256("other")]);
    expect(wrong.code).toBe(70);
    expect(existsSync(work.to("b"))).toBe(false);
    expect(wrong.lines.some((line) => line.level === "error")).toBe(true);
  });
});

describe("the defaults", () => {
  const SAMPLE = "id,value\n1,2\n";

  it("use REPO_ROOT from the environment", async ({ box, work }) => {
    work.write({ "repo/sample.csv": SAMPLE });
    const env = { REPO_ROOT: work.at("repo") };
    const result = await box.run(["fetch"], { cwd: work.path, env });
    expect(result.code, result.stderr).toBe(0);
    linesOf(result);
    expect(readFileSync(work.at("repo/reports/resilient-sync/sample.csv"), "utf8")).toBe(SAMPLE);
  });

  it("use the top level of a git repository", async ({ box, work }) => {
    work.write({ "repo/sample.csv": SAMPLE });
    mkdirSync(work.at("repo/some/where"), { recursive: true });
    execFileSync("git", ["init", "-q", work.at("repo")]);
    const { code } = await box.run(["fetch"], { cwd: work.at("repo/some/where") });
    expect(code).toBe(0);
    expect(readFileSync(work.at("repo/reports/resilient-sync/sample.csv"), "utf8")).toBe(SAMPLE);
  });

  it("use the current directory", async ({ box, work }) => {
    work.write({ "plain/sample.csv": SAMPLE });
    const { code } = await box.run(["fetch"], { cwd: work.at("plain") });
    expect(code).toBe(0);
    expect(readFileSync(work.at("plain/reports/resilient-sync/sample.csv"), "utf8")).toBe(SAMPLE);
  });
});

describe("the log lines", () => {
  it("carry the values of the environment", async ({ box, origin, work }) => {
    const env = { SCRIPT_NAME: "nightly.sh", RUN_ID: "run-4711", SCRIPT_VERSION: "9.8.7" };
    const url = origin.route("/a", does.file("content"));
    const { lines } = await fetchFile(box, url, work.to("a"), [], { env });
    expect(lines.length).toBeGreaterThan(0);
    for (const line of lines)
      expect(line).toMatchObject({ script: "nightly.sh", run_id: "run-4711", version: "9.8.7" });
  });

  it("share an id per call, and carry the process's own pid", async ({ box, origin, work }) => {
    const url = origin.route("/a", does.file("content"));
    const ids: string[] = [];
    for (let i = 0; i < 2; i++) {
      const run = box.start(["fetch", "--source-url", url, "--destination", work.to("a")]);
      const lines = linesOf(await run.result);
      expect(new Set(lines.map((line) => line.run_id)).size).toBe(1);
      expect(new Set(lines.map((line) => line.pid))).toEqual(new Set([run.pid]));
      ids.push(lines[0]?.run_id ?? "");
    }
    expect(ids[0]).not.toBe(ids[1]);
  });

  it("are not printed by --help", async ({ box }) => {
    for (const flag of ["--help", "-h"]) {
      const { code, stdout, stderr } = await box.run(["fetch", flag]);
      expect(code).toBe(0);
      expect(stderr).toBe("");
      for (const text of ["--source-url", "--lock-dir", "--circuit-ttl", "300", "30", "5"]) {
        expect(stdout).toContain(text);
      }
    }
  });
});

describe("exit code 64: invalid arguments and settings", () => {
  const cases: [name: string, args: string[]][] = [
    ["an unknown option", ["--destnation", "x"]],
    ["a stray argument", ["stray"]],
    ["an option without its value", ["--timeout"]],
    ["retries that are no number", ["--max-retries", "x"]],
    ["retries that are no decimal number", ["--max-retries", "0x2"]],
    ["no tries", ["--max-retries", "0"]],
    ["a negative timeout", ["--timeout", "-3"]],
    ["a TTL that is no number", ["--circuit-ttl", "long"]],
    ["a checksum that is none", ["--checksum", "abc"]],
    ["an unsupported scheme", ["--source-url", "gopher://example.org/x"]],
    ["an invalid URL", ["--source-url", "http://[bad/"]],
    ["a URL with one slash", ["--source-url", "http:/host/file"]],
    ["a remote for the destination", ["--destination", "remote:dir/file"]],
    ["standard output for the destination", ["--destination", "-"]],
  ];
  it.for(cases)("%s", async ([, args], { box, work }) => {
    work.write({ "sample.csv": "x" });
    const result = await box.run(["fetch", ...args], { cwd: work.path });
    expect(result.code).toBe(64);
    const lines = linesOf(result);
    expect(lines.some((line) => line.level === "error")).toBe(true);
    expect(readdirSync(work.path)).toEqual(["sample.csv"]);
  });
});

it("exit code 42: a required program is not installed", async ({ box, origin, work }) => {
  const env = { PATH: "/nonexistent" };
  const url = origin.route("/a", does.file("content"));
  const { code, lines } = await fetchFile(box, url, work.to("a"), ["--lock-dir", work.at("locks")], { env });
  expect(code).toBe(42);
  expect(lines.map((line) => line.message).join()).toMatch(/redis|valkey/);
  expect(origin.requests).toEqual([]);
});

describe("settings of environment and file", () => {
  it("count for fetch, and its own flags have precedence", async ({ box, origin, work }) => {
    const url = origin.route("/a", does.status(503));
    const env = { DROVER_RETRIES: "2", DROVER_BACKOFF_FACTOR: "1" };
    const first = ["--lock-dir", work.at("one")];
    expect((await fetchFile(box, url, work.to("a"), first, { env })).code).toBe(70);
    expect(origin.requests).toHaveLength(2);
    const second = ["--lock-dir", work.at("two"), "--max-retries", "1"];
    expect((await fetchFile(box, url, work.to("a"), second, { env })).code).toBe(70);
    expect(origin.requests).toHaveLength(3);
  });

  it("say how long is waited, and how long the breaker stays open", async ({ box, origin, work }) => {
    work.write({ "drover.yaml": "timeout: 500ms\nretries: 1\ncircuit-ttl: 1h\n" });
    const url = origin.route("/a", does.silence);
    const options = { cwd: work.path };
    const failed = await fetchFile(box, url, work.to("a"), [], options);
    expect(failed.code).toBe(70);
    expect(failed.stderr).toContain("no answer within 0.5 s");
    const blocked = await fetchFile(box, url, work.to("a"), [], options);
    expect(blocked.code).toBe(75);
    expect(blocked.lines.at(-1)?.seconds_until_retry).toBeGreaterThan(3_000);
  });

  it("limit the size", async ({ box, origin, work }) => {
    const url = origin.route("/a", does.file("content"));
    const env = { DROVER_MAX_FILE_SIZE: "3" };
    const { code, stderr } = await fetchFile(box, url, work.to("a"), [], { env });
    expect(code).toBe(70);
    expect(stderr).toContain('"error_class":"too-large"');
    expect((await fetchFile(box, url, work.to("a"), ["--max-file-size", "1k"], { env })).code).toBe(0);
  });

  it("do not change what it does without them: 30 s", async ({ box }) => {
    const { stdout } = await box.run(["fetch", "--help"]);
    expect(stdout).toMatch(/--timeout <N>[^-]*\(default:\s+30\)/);
  });
});

describe("--header", () => {
  it("is sent, and not shown", async ({ box, origin, work }) => {
    const url = origin.route("/a", does.file("content"));
    const header = ["--header", "Authorization: Bearer CANARY", "--header", "User-Agent: mine"];
    const { code, stdout, stderr } = await fetchFile(box, url, work.to("a"), header);
    expect(code).toBe(0);
    expect(origin.requests[0]?.headers).toMatchObject({
      authorization: "Bearer CANARY",
      "user-agent": "mine",
    });
    expect(stdout + stderr).not.toContain("CANARY");
    expect((await fetchFile(box, url, work.to("b"), ["--header", "nonsense"])).code).toBe(64);
  });
});

describe("exit code 70: the file could not be fetched", () => {
  it("after the allowed attempts", async ({ box, origin, work }) => {
    work.write({ "out/a": "old" });
    const url = origin.route("/a", does.status(500));
    const { code, lines } = await fetchFile(box, url, work.to("a"), ["--max-retries", "2"]);
    expect(code).toBe(70);
    expect(origin.requests).toHaveLength(2);
    expect(lines.filter((line) => line.level === "error").length).toBeGreaterThan(0);
    expect(readFileSync(work.to("a"), "utf8")).toBe("old");
    expect(leftovers(work.out)).toEqual([]);
  });

  it("because it does not exist", async ({ box, origin, work }) => {
    expect((await fetchFile(box, origin.url("/no-such"), work.to("a"))).code).toBe(70);
    expect((await fetchFile(box, work.at("no-such"), work.to("a"))).code).toBe(70);
    expect(existsSync(work.to("a"))).toBe(false);
  });

  it("because the destination is a directory", async ({ box, origin, work }) => {
    mkdirSync(work.to("a"), { recursive: true });
    const { code } = await fetchFile(box, origin.route("/a", does.file("content")), work.to("a"));
    expect([64, 70]).toContain(code);
    expect(statSync(work.to("a")).isDirectory()).toBe(true);
  });

  it("because its directory cannot be created", async ({ box, origin, work }) => {
    const to = `${work.write({ "a-file": "x" })}/a.csv`;
    const own = ["--state-dir", work.at("state")];
    const { code, lines } = await fetchFile(box, origin.route("/a", does.file("a")), to, own);
    expect(code).toBe(70);
    expect(lines).toEqual([
      expect.objectContaining({
        level: "error",
        error_class: "path",
        destination: to,
        source: origin.url("/a"),
      }),
    ]);
    expect(lines[0]?.message).toMatch(/^download failed: cannot use .*a-file/);
    expect(origin.requests).toEqual([]);
    expect(await listRuns(box, own)).toEqual([]);
  });

  it("because it took too long", async ({ box, origin, work }) => {
    const options = ["--timeout", "1", "--max-retries", "1"];
    const { code } = await fetchFile(box, origin.route("/a", does.silence), work.to("a"), options);
    expect(code).toBe(70);
  });
});

describe("exit code 75: the circuit breaker is open", () => {
  it("after the attempts are used up, until its time is over", async ({ box, origin, work }) => {
    const url = origin.route("/a", does.status(503), does.file("content"));
    const options = ["--max-retries", "1", "--circuit-ttl", "3"];
    expect((await fetchFile(box, url, work.to("a"), options)).code).toBe(70);
    const blocked = await fetchFile(box, url, work.to("a"), options);
    expect(blocked.code).toBe(75);
    expect(origin.requests).toHaveLength(1);
    const line = blocked.lines.find((one) => one.seconds_until_retry !== undefined);
    expect(line?.message).toMatch(/circuit breaker open, seconds_until_retry=\d+/);
    expect(line?.seconds_until_retry).toBeGreaterThan(0);
    expect(line?.seconds_until_retry).toBeLessThanOrEqual(3);
    const code = await until("the breaker to close", async () => {
      const again = await fetchFile(box, url, work.to("a"), options);
      return again.code === 75 ? undefined : again.code;
    });
    expect(code).toBe(0);
    expect(readFileSync(work.to("a"), "utf8")).toBe("content");
  });

  it("for all files of the host, and for no other host", async ({ box, origin, work }) => {
    const dead = await refusedUrl("/a");
    expect((await fetchFile(box, dead, work.to("a"), ["--max-retries", "1"])).code).toBe(70);
    expect((await fetchFile(box, `${dead}/other`, work.to("b"), ["--max-retries", "1"])).code).toBe(75);
    expect((await fetchFile(box, origin.route("/c", does.file("c")), work.to("c"))).code).toBe(0);
  });

  it("for drover sync as well", async ({ box, origin, work }) => {
    origin.route("/*", does.status(503));
    expect((await fetchFile(box, origin.url("/a"), work.to("a"), ["--max-retries", "1"])).code).toBe(70);
    const { items } = await box.sync([origin.url("/b"), ...work.into, "--breaker-wait", "0"]);
    expect(items[0]?.status).toBe("blocked");
  });

  it("for all that share a lock directory", async ({ box, work }) => {
    const origin = await FaultOrigin.start();
    const url = origin.route("/a", does.status(503), does.file("content"));
    const locks = (name: string) => ["--lock-dir", work.at(name), "--max-retries", "1"];
    expect((await fetchFile(box, url, work.to("a"), locks("one"))).code).toBe(70);
    expect((await fetchFile(box, url, work.to("a"), locks("one"))).code).toBe(75);
    expect((await fetchFile(box, url, work.to("a"), locks("two"))).code).toBe(0);
    await origin.stop();
  });
});
