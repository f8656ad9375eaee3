import { execFileSync, spawn } from "node:child_process";
import { createServer } from "node:net";
import { describe, expect } from "vitest";
import * as does from "../../harness/behaviours.js";
import { pattern } from "../../harness/content.js";
import { it } from "../../harness/fixtures.js";
import { listRuns } from "../../harness/runs.js";

const quick = ["--backoff-factor", "1"];

describe("a setting is read from", () => {
  const cases: {
    name: string;
    yaml?: string;
    env?: Record<string, string>;
    flags?: string[];
    expected: number;
  }[] = [
    { name: "the file in the current directory", yaml: "retries: 2\n", expected: 2 },
    {
      name: "the environment before the file",
      yaml: "retries: 2\n",
      env: { DROVER_RETRIES: "3" },
      expected: 3,
    },
    {
      name: "the command line before both",
      yaml: "retries: 2\n",
      env: { DROVER_RETRIES: "3" },
      flags: ["--retries", "1"],
      expected: 1,
    },
  ];
  it.for(cases)("$name", async ({ yaml, env = {}, flags = [], expected }, { box, origin, work }) => {
    if (yaml !== undefined) work.write({ "drover.yaml": yaml });
    const url = origin.route("/a", does.status(503));
    const { items } = await box.sync([url, ...work.into, ...quick, ...flags], { cwd: work.path, env });
    expect(items[0]?.attempts).toBe(expected);
    const shown = await box.run(["config"], { cwd: work.path, env });
    expect(shown.stdout).toMatch(new RegExp(`^retries +${flags.length > 0 ? 3 : expected} `, "m"));
  });

  it("a profile of the user's file, and drover config says so", async ({ box, origin, work }) => {
    const user = work.write({ "xdg/drover/config.yaml": "profiles: {few: {retries: 2, timeout: 1m}}\n" });
    const env = { XDG_CONFIG_HOME: work.at("xdg") };
    const url = origin.route("/a", does.status(503));
    const { items } = await box.sync([url, ...work.into, ...quick, "--profile", "few"], { env });
    expect(items[0]?.attempts).toBe(2);
    const shown = await box.run(["config"], { env: { ...env, DROVER_PROFILE: "few", DROVER_LAYOUT: "url" } });
    expect(shown.stdout).toContain(`  2  (file profile few of ${user})\n`);
    expect(shown.stdout).toContain("  60  (file profile few of");
    expect(shown.stdout).toContain("  url  (environment DROVER_LAYOUT)\n");
    const unknown = await box.run(["config", "--profile", "fw"], { env });
    expect(unknown).toMatchObject({ code: 2, stderr: `drover: there is no profile fw (${user})\n` });
  });

  it("a file given by --config", async ({ box, origin, work }) => {
    const config = work.write({ "elsewhere/my.yaml": `artifact-root: ${work.out}\nscript-name: ''\n` });
    const { items } = await box.sync([origin.route("/a", does.file("a")), "--config", config]);
    expect(items[0]?.destination).toBe(work.to("a"));
  });

  it.for([
    { name: "an unknown setting", yaml: "retires: 3\n", says: /retires/ },
    { name: "a value that is none", yaml: "retries: many\n", says: /retries/ },
    { name: "no YAML", yaml: "retries: [\n", says: /drover\.yaml/ },
  ])("no file with $name", async ({ yaml, says }, { box, origin, work }) => {
    work.write({ "drover.yaml": yaml });
    const url = origin.route("/a", does.file("a"));
    const { code, stdout, stderr } = await box.run(["sync", url, ...work.into], { cwd: work.path });
    expect(code).toBe(2);
    expect(stdout).toBe("");
    expect(stderr).toMatch(says);
    expect(stderr).not.toMatch(/^\s+at /m);
  });
});

it("a misspelt variable is reported, by fetch in a line of JSON", async ({ box, work }) => {
  const env = { DROVER_RETRYS: "1" };
  const line = "DROVER_RETRYS in the environment is no setting: did you mean DROVER_RETRIES?";
  const synced = await box.run(["sync", work.write({ a: "a" }), ...work.into], { env });
  expect(synced).toMatchObject({ code: 0, stderr: `warning: ${line}\n` });
  const files = ["--source-url", work.at("a"), "--destination", work.at("b")];
  const fetched = await box.run(["fetch", ...files], { env });
  expect(fetched.code).toBe(0);
  expect(JSON.parse(fetched.stderr)).toMatchObject({ level: "warn", message: line });
});

it("--dry-run counts one file as one", async ({ box, work }) => {
  const { stdout } = await box.run(["sync", work.write({ a: "a" }), ...work.into, "--dry-run"]);
  expect(stdout).toMatch(/^1 file would be copied, 0 left unchanged; nothing was changed$/m);
});

it("a missing file of filters is reported once", async ({ box, work }) => {
  const flags = ["--filter-from", "norules"];
  const { code, stderr } = await box.run(["sync", work.at("in"), ...work.into, ...flags], { cwd: work.path });
  expect(code).toBe(2);
  expect(stderr).toBe("drover: cannot read the filters in norules (ENOENT)\n");
});

it("--bwlimit applies to all files together", async ({ box, origin, work }) => {
  const urls = [1, 2, 3].map((i) => origin.route(`/f${i}`, does.file(pattern(700_000, i))));
  const started = performance.now();
  const { code } = await box.sync([...urls, ...work.into, "--bwlimit", "1MB"]);
  expect(code).toBe(0);
  // 2.1 MB: the last buffer of each file may be in progress already.
  expect(performance.now() - started).toBeGreaterThan(1200);
});

describe("--max-workers", () => {
  it.for([1, 3])("%s: never more files at once", async (workers, { box, origin, work }) => {
    let now = 0;
    let most = 0;
    origin.route("/*", async (exchange) => {
      most = Math.max(most, ++now);
      await does.after(30, does.file("x"))(exchange);
      now--;
    });
    const urls = Array.from({ length: 15 }, (_, i) => origin.url(`/f${i}`));
    const { code } = await box.sync([...urls, ...work.into, "--max-workers", String(workers)]);
    expect(code).toBe(0);
    expect(most).toBeLessThanOrEqual(workers);
    expect(most).toBe(workers);
  });
});

/** A port on which nothing listens at the moment. */
async function freePort(): Promise<number> {
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const address = server.address();
  await new Promise((resolve) => server.close(resolve));
  if (address === null || typeof address === "string") throw new Error("no port");
  return address.port;
}

describe("--redis", () => {
  /** Runs a separate Redis, as a user would, during `use`. */
  async function withRedis(directory: string, use: (url: string) => Promise<void>): Promise<void> {
    const port = await freePort();
    const options = [
      "--port",
      String(port),
      "--bind",
      "127.0.0.1",
      "--dir",
      directory,
      "--appendonly",
      "yes",
    ];
    const find = "command -v valkey-server || command -v redis-server";
    const program = execFileSync("sh", ["-c", find], { encoding: "utf8" }).trim();
    const server = spawn(program, [...options, "--maxmemory-policy", "noeviction"]);
    try {
      await new Promise<void>((resolve, reject) => {
        server.on("error", reject);
        server.stdout.on("data", (text: Buffer) => String(text).includes("Ready to accept") && resolve());
      });
      await use(`redis://127.0.0.1:${port}`);
    } finally {
      server.kill("SIGKILL");
    }
  }

  it("keeps runs and breakers there, and starts no Redis", async ({ box, origin, work }) => {
    await withRedis(work.path, async (redis) => {
      const own = ["--redis", redis, "--state-dir", work.at("state")];
      const worker = box.start(["worker", ...own, "--root", work.path]);
      await worker.waitFor("stderr", /worker ready/);
      const good = await box.sync([origin.route("/good", does.file("good")), ...work.into, ...own]);
      expect(good.items[0]?.outcome).toBe("copied");
      await box.sync([origin.route("/bad", does.status(503)), ...work.into, ...own, ...quick]);
      expect(await listRuns(box, own)).toHaveLength(2);
      const again = await box.sync([origin.url("/good2"), ...work.into, ...own, "--breaker-wait", "0"]);
      expect(again.items[0]?.status).toBe("blocked");
      expect(box.redisPids()).toEqual([]);
      worker.kill("SIGTERM");
      expect((await worker.result).code).toBe(0);
    });
  });

  it("may be given by REDIS_URL", async ({ box, origin, work }) => {
    await withRedis(work.path, async (redis) => {
      const env = { REDIS_URL: redis, XDG_STATE_HOME: work.at("state") };
      const { code } = await box.run(["sync", origin.route("/a", does.file("a")), ...work.into, "--detach"], {
        env,
      });
      expect(code).toBe(0);
      expect(await listRuns(box, ["--redis", redis])).toHaveLength(1);
    });
  });

  it("separates locks and breakers by fetch's --lock-dir", async ({ box, origin, work }) => {
    await withRedis(work.path, async (redis) => {
      const url = origin.route("/a", does.status(503), does.file("content"));
      const command = ["fetch", "--source-url", url, "--destination", work.to("a"), "--max-retries", "1"];
      const locks = (name: string) => ["--redis", redis, "--lock-dir", work.at(name)];
      expect((await box.run([...command, ...locks("one")])).code).toBe(70);
      expect((await box.run([...command, ...locks("one")])).code).toBe(75);
      expect((await box.run([...command, ...locks("two")])).code).toBe(0);
    });
  });
});
