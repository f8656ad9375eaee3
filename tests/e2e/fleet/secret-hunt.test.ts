import { mkdirSync, readdirSync, readFileSync, statSync } from "node:fs";
import { join } from "node:path";
import { connect } from "@drover/shared/redis/connect";
import type { Redis } from "ioredis";
import { describe, expect } from "vitest";
import * as does from "../../harness/behaviours.js";
import {
  CANARY,
  canariesIn,
  hasProc,
  keysWithCanaries,
  ProcessWatch,
  redisContents,
} from "../../harness/canaries.js";
import { pattern, sha256, toBuffer } from "../../harness/content.js";
import { type DroverProcess, filesBelow, type Result, Sandbox } from "../../harness/drover.js";
import { FakeS3, sendError } from "../../harness/fake-s3.js";
import { FaultOrigin, refusedUrl } from "../../harness/fault-origin.js";
import { it as base, Work } from "../../harness/fixtures.js";
import { Gate, until } from "../../harness/gate.js";
import { Server } from "../../harness/redis-kinds.js";
import type { RunReport } from "../../harness/runs.js";

const PARAMETERS = ["sig", "token", "access_token", "X-Amz-Signature", "X-Amz-Credential", "api_key", "code"];
const PRESIGNED = `X-Amz-Signature=${CANARY}-sig&X-Amz-Security-Token=${CANARY}-token`;
const HEADERS = [
  ...["--header", `Authorization: Basic ${Buffer.from(`me:${CANARY}-basic`).toString("base64")}`],
  ...["--header", `Cookie: session=${CANARY}-cookie`],
];
/** What a run's secrets may be in, while a file that needs them has not arrived: docs/architecture.md. */
const SECRETS_KEY = /^\{drover\}:run:[^:]+:secrets$/;

/** Runs commands with secrets in all places that take one, and keeps what everybody sees of it. */
class Hunt {
  readonly box = new Sandbox();
  readonly work = new Work(this.box.work());
  readonly typed = new Set<number>();
  readonly watch = new ProcessWatch(this.box.root, this.typed);
  readonly results: Result[] = [];
  readonly workers: DroverProcess[] = [];
  readonly gate = new Gate();

  private constructor(
    readonly origin: FaultOrigin,
    readonly s3: FakeS3,
    /** With a password, for a fleet; undefined for Drover's own Redis. */
    readonly server: Server | undefined,
  ) {}

  static async start(kind: "own" | "fleet"): Promise<Hunt> {
    const options = ["--requirepass", `${CANARY}/redis`, "--appendonly", "yes", "--appendfsync", "no"];
    const server = kind === "fleet" ? await Server.start(options) : undefined;
    const hunt = new Hunt(await FaultOrigin.start(), await FakeS3.start(), server);
    if (server) {
      mkdirSync(hunt.work.out);
      hunt.workers.push(hunt.begin(["worker", "--root", hunt.work.out, "--verbose", ...hunt.flags]));
      await hunt.workers[0]?.waitFor("stderr", /worker ready/);
    }
    return hunt;
  }

  get redisUrl(): string {
    return `redis://:${CANARY}%2Fredis@127.0.0.1:${this.server?.port}`;
  }

  /** The Redis by flag; other commands get it from a file. */
  get flags(): string[] {
    return this.server ? ["--redis", this.redisUrl] : [];
  }

  get config(): string[] {
    if (!this.server) return [];
    return ["--config", this.work.write({ "drover.yaml": `redis: ${this.redisUrl}\n` })];
  }

  begin(args: readonly string[], input = ""): DroverProcess {
    const env = {
      ...this.s3.env,
      AWS_SECRET_ACCESS_KEY: `${CANARY}-aws-secret`,
      AWS_SESSION_TOKEN: `${CANARY}-aws-session`,
    };
    const started = this.box.start(args, { env, input, cwd: this.work.path, timeoutMs: 120_000 });
    this.typed.add(started.pid);
    return started;
  }

  async run(args: readonly string[], input = ""): Promise<Result> {
    const result = await this.begin(args, input).result;
    this.results.push(result);
    return result;
  }

  /** What other commands tell of the runs so far. */
  async retell(): Promise<RunReport[]> {
    await this.run(["runs", ...this.config]);
    const { stdout } = await this.run(["runs", "--json", ...this.flags]);
    const runs = JSON.parse(stdout) as RunReport[];
    for (const { run } of runs) {
      await this.run(["status", run, ...this.flags]);
      await this.run(["status", run, "--json", ...this.config]);
    }
    if (this.server) {
      await this.run(["workers", ...this.config]);
      await this.run(["workers", "--json", ...this.flags]);
    }
    return runs;
  }

  /** Connects to the Redis that is used, to look at it. */
  async redis(): Promise<Redis> {
    if (this.server) return await connect({ url: this.redisUrl });
    const sockets = () => readdirSync(join(this.box.runtime, "drover"));
    const [hash = ""] = await until("the sockets", () => sockets().length > 0 && sockets());
    return await connect({ socketPath: join(this.box.runtime, "drover", hash, "r.sock") });
  }

  /** The directory of the append-only file. */
  get dataDir(): string {
    return join(this.server?.directory ?? join(this.box.state, "drover", "redis"), "appendonlydir");
  }

  expectNothing(): void {
    const { workers, results, box } = this;
    for (const { stdout, stderr } of [...results, ...workers])
      expect(canariesIn(stdout + stderr)).toEqual([]);
    const shown = box.stateFiles().filter(({ text }) => canariesIn(text).length > 0);
    expect(shown.map(({ path }) => path)).toEqual([]);
    expect(filesBelow(box.root).filter((path) => canariesIn(path).length > 0)).toEqual([]);
    expect([...this.watch.found]).toEqual([]);
  }

  async stop(): Promise<void> {
    this.gate.open();
    this.watch.stop();
    await this.box.dispose();
    await this.origin.stop();
    await this.s3.stop();
    await this.server?.stop();
  }
}

const it = base.extend<{ hunt(kind: "own" | "fleet"): Promise<Hunt> }>({
  // biome-ignore lint/correctness/noEmptyPattern: vitest reads what a fixture needs from the pattern
  hunt: async ({}, use) => {
    const hunts: Hunt[] = [];
    await use(async (kind) => {
      const hunt = await Hunt.start(kind);
      hunts.push(hunt);
      return hunt;
    });
    for (const hunt of hunts) await hunt.stop();
  },
});

/** Lines of a list: sources with secrets in every place, and what becomes of each. */
async function listOf({ origin, gate }: Hunt): Promise<{ good: string[]; bad: string[] }> {
  const good: string[] = [];
  const bad: string[] = [];
  const named = (lines: string[], url: string) => lines.push(`${url}\tf${good.length}-${bad.length}`);
  const withUser = (user: string, path: string) => origin.url(path).replace("http://", `http://${user}@`);
  origin.route("/good", does.file("good"));
  origin.route("/held", does.gated(gate, does.file("held")));
  origin.route("/moved", does.redirect(`/good?${PRESIGNED}`));
  origin.route("/moved-user", does.redirect(withUser(`u:${CANARY}-there`, "/good")));
  origin.route("/page", ({ request, response }) => void response.writeHead(403).end(`no: ${request.url}`));
  origin.route("/to-page", does.redirect(`/page?${PRESIGNED}`));
  for (const status of [404, 500]) origin.route(`/${status}`, does.status(status));
  for (const name of PARAMETERS) {
    named(good, `${origin.url("/good")}?a=1&${name}=${CANARY}-${name}`);
    named(good, `${origin.url("/good")}?a=1;${name}=${CANARY}-${name}`);
    named(good, `${origin.url("/good")}?a=1&${name}%3D${CANARY}-${name}`);
  }
  for (const special of ["", "%2F", "%3F", "%23", "%40", ":"])
    named(good, withUser(`user:${special}${CANARY}-password${special}`, "/good"));
  named(good, `${origin.url("/moved")}?token=${CANARY}`);
  named(good, `${origin.url("/moved-user")}?token=${CANARY}`);
  named(good, `${origin.url("/held")}?token=${CANARY}-held`);
  for (const special of ["/", "?", "#"]) named(bad, withUser(`user:x${special}${CANARY}`, "/good"));
  named(bad, `http://user:${CANARY}@[bad/x?token=${CANARY}`);
  named(bad, `${origin.url("/404")}?token=${CANARY}`);
  named(bad, `${origin.url("/500")}?token=${CANARY}`);
  named(bad, `${origin.url("/to-page")}?token=${CANARY}`);
  named(bad, `${await refusedUrl("/x")}?token=${CANARY}`);
  bad.push(`${origin.url("/good")}?token=${CANARY}-checksum\tchecksum\t${sha256("other")}`);
  return { good, bad };
}

describe("wherever a user puts a secret, nobody but the server sees it", () => {
  it.for(["own", "fleet"] as const)(
    "with Drover's own Redis, or a fleet (%s)",
    { timeout: 240_000 },
    async (kind, { hunt: start }) => {
      const hunt = await start(kind);
      const { work, origin, s3, gate, flags } = hunt;
      const { good, bad } = await listOf(hunt);
      const options = [...work.into, ...HEADERS, "--retries", "2", "--backoff-factor", "1"];
      const run = ["sync", "--from-file", "-", "--breaker-wait", "0", "--verbose", ...options, ...flags];

      const running = hunt.begin(run, [...good, ...bad].join("\n"));
      await Promise.race([gate.reached, running.result]);
      const redis = await hunt.redis();
      await hunt.retell();
      const before = await redisContents(redis);
      expect(before.filter(({ key }) => SECRETS_KEY.test(key))).toHaveLength(1);
      gate.open();
      const first = await running.result;
      hunt.results.push(first);
      expect(first.stdout).toMatch(
        new RegExp(`^${good.length}/${good.length + bad.length} successful$`, "m"),
      );

      for (const format of [["--json"], ["--ndjson", "--verbose"]])
        await hunt.run([...run, ...format], [...good, ...bad].join("\n"));
      if (kind === "fleet") {
        const { stdout } = await hunt.run([...run, "--detach"], [...good, ...bad].join("\n"));
        await hunt.run(["wait", stdout.trim(), ...flags]);
      }
      s3.put("k/good", "good");
      s3.put("k/bad", "bad");
      s3.fault = ({ key, headers }, answer) => {
        if (key !== "k/bad") return false;
        sendError(answer, 403, "AccessDenied", {}, `<Message>${String(headers.authorization)}</Message>`);
        return true;
      };
      const fromS3 = await hunt.run(["sync", "s3://bucket/k/", "--json", ...options, ...flags]);
      expect(fromS3.code).toBe(1);
      for (const path of ["/good", "/404", "/to-page"]) {
        const url = `${origin.url(path).replace("http://", `http://me:${CANARY}@`)}?token=${CANARY}`;
        const to = work.to(`fetched${path.replaceAll("/", "-")}`);
        await hunt.run(["fetch", "--source-url", url, "--destination", to, "--max-retries", "1", ...flags]);
      }
      const [latest] = await hunt.retell();
      await hunt.run(["retry", latest?.run ?? "", ...flags]);
      const after = await redisContents(redis);
      redis.disconnect();

      const leaks = [...before, ...after].filter(
        ({ key, text }) => !SECRETS_KEY.test(key) && canariesIn(text).length > 0,
      );
      expect(leaks.map(({ key, text }) => `${key}: ${canariesIn(text)[0]}`)).toEqual([]);
      // What has arrived is not kept for those that have not.
      const kept = after.filter(({ text }) => text.includes(`${CANARY}-held`));
      expect(kept.map(({ key }) => key)).toEqual([]);
      const appended = readdirSync(hunt.dataDir)
        .filter((name) => name.endsWith(".aof"))
        .map((name) => readFileSync(join(hunt.dataDir, name)));
      const keys = new Set(appended.flatMap(keysWithCanaries));
      expect([...keys].filter((key) => !SECRETS_KEY.test(key))).toEqual([]);
      expect(keys.size).toBeGreaterThan(0);
      if (kind === "own") {
        expect(statSync(join(hunt.dataDir, "..")).mode & 0o077).toBe(0);
        const seen = [...hunt.watch.seen].join("\n");
        for (const program of hasProc ? [/supervisor\.js/, /-server/] : []) expect(seen).toMatch(program);
      }
      hunt.expectNothing();
    },
  );

  it.for(["own", "fleet"] as const)(
    "be it a key that objects are encrypted with (%s)",
    { timeout: 240_000 },
    async (kind, { hunt: start }) => {
      const hunt = await start(kind);
      const { work, s3, flags } = hunt;
      const keyOf = (name: string) => Buffer.from(`${CANARY}-${name}`.padEnd(32, "."));
      work.write({
        "raw.key": keyOf("raw"),
        "text.key": `${keyOf("raw").toString("base64")}\n`,
        "other.key": keyOf("other"),
        "bad.key": `${CANARY} is too short`,
        "in/a": "a",
        "in/large": toBuffer(pattern(17 << 20)),
      });
      const quick = ["--retries", "1", "--verbose"];
      const closing = ["--s3-sse-customer-key-file", work.at("raw.key"), ...quick];
      const up = ["sync", work.at("in"), "--to", "s3://bucket/k", ...closing];
      // The fleet's worker writes to a directory alone, so that the objects come from this process.
      expect((await hunt.run(up)).code).toBe(0);
      expect((await hunt.run([...up, "--check-destination", "--json"])).stdout).toMatch(/"unchanged"/);
      expect((await hunt.run([...up, "--dry-run"])).code).toBe(0);
      const opening = (file: string) => ["--s3-source-sse-customer-key-file", work.at(file), ...quick];
      const down = (...more: string[]) => ["sync", "s3://bucket/k/", ...work.into, ...more, ...flags];
      expect((await hunt.run(down(...opening("text.key")))).code).toBe(0);
      expect(readFileSync(work.to("a"), "utf8")).toBe("a");
      const check = ["check", work.at("in"), "s3://bucket/k/", "--download"];
      expect((await hunt.run([...check, ...closing.slice(0, 2)])).code).toBe(0);
      work.write({ "in/a": "b" });
      expect((await hunt.run(up)).code).toBe(0);
      const wrong = await hunt.run(down(...opening("other.key")));
      expect(wrong.code).toBe(1);
      expect(wrong.stdout + wrong.stderr).toMatch(/access denied/);
      expect((await hunt.run(down(...opening("bad.key")))).code).toBe(2);
      expect((await hunt.run(down("--s3-sse-customer-key-file", work.at("raw.key")))).code).toBe(2);
      const redis = await hunt.redis();
      const [latest] = await hunt.retell();
      await hunt.run(["retry", latest?.run ?? "", ...flags]);
      const contents = await redisContents(redis);
      redis.disconnect();
      const found = contents.filter(({ text }) => canariesIn(text).length > 0).map(({ key }) => key);
      expect(found.length).toBeGreaterThan(0);
      expect(found.filter((key) => !SECRETS_KEY.test(key))).toEqual([]);
      for (const { key, headers } of s3.requests)
        expect(canariesIn(key + String(headers["user-agent"]))).toEqual([]);
      hunt.expectNothing();
    },
  );
});
