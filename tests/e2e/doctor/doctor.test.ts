import { chmodSync, existsSync, mkdirSync, rmSync } from "node:fs";
import { join } from "node:path";
import { describe, expect } from "vitest";
import type { Sandbox, StartOptions } from "../../harness/drover.js";
import { it } from "../../harness/fixtures.js";
import { startRedis } from "../../harness/redis.js";

interface Finding {
  check: string;
  state: "ok" | "warning" | "missing";
  message: string;
  remedy?: string;
}

/** Variables of the machine that the tests run on are not theirs. */
const PLAIN = { SSL_CERT_FILE: undefined, NODE_EXTRA_CA_CERTS: undefined, DROVER_REDIS_CA: undefined };

async function doctor(box: Sandbox, args: string[] = [], options: StartOptions = {}) {
  const env = { ...PLAIN, ...options.env };
  const { code, stdout, stderr } = await box.run(["doctor", "--json", ...args], { ...options, env });
  const findings: Finding[] = JSON.parse(stdout);
  return { code, stdout, stderr, of: (check: string) => findings.find((each) => each.check === check) };
}

describe("drover doctor", () => {
  it("says a line for each thing, and changes nothing", async ({ box, work }) => {
    const stateDir = work.at("state");
    const { code, stdout, stderr } = await box.run(["doctor", "--state-dir", stateDir], { env: PLAIN });
    expect([code, stderr]).toEqual([0, ""]);
    for (const line of stdout.trimEnd().split("\n")) expect(line).toMatch(/^[✓!] [\w ]+: \S/);
    expect(stdout).toContain(`✓ Node: ${process.versions.node} (`);
    expect(stdout).toMatch(/^✓ Redis: \/\S+ \d+\.\d+\.\d+$/m);
    expect(stdout).toMatch(
      new RegExp(`^✓ state directory: ${stateDir}, to be made, \\d\\S* \\wB free$`, "m"),
    );
    expect(existsSync(stateDir)).toBe(false);
  });

  it("finds a server that is too old", async ({ box, work }) => {
    const server = work.write({ "bin/valkey-server": "#!/bin/sh\necho 'Redis server v=6.0.16 sha=0'\n" });
    chmodSync(server, 0o755);
    const { code, of } = await doctor(box, [], { env: { PATH: `${work.at("bin")}:/usr/bin:/bin` } });
    expect(code).toBe(1);
    expect(of("Redis")).toEqual({
      check: "Redis",
      state: "missing",
      message: `${server} 6.0.16`,
      remedy: "Drover needs 6.2 or newer",
    });
  });

  it("finds a state directory that cannot be used", async ({ box, work }) => {
    const file = work.write({ file: "" });
    for (const path of [file, join(file, "below")]) {
      const { code, of } = await doctor(box, ["--state-dir", path]);
      expect(code).toBe(1);
      expect(of("state directory")).toMatchObject({
        state: "missing",
        remedy: "name another with --state-dir",
      });
    }
  });

  it("finds a socket directory that others can enter", async ({ box }) => {
    const sockets = join(box.runtime, "drover");
    mkdirSync(sockets);
    chmodSync(sockets, 0o777);
    const { code, of } = await doctor(box);
    rmSync(sockets, { recursive: true });
    expect(code).toBe(1);
    expect(of("socket directory")).toMatchObject({ state: "missing" });
    expect(of("socket directory")?.message).toContain(
      `${sockets} is not a directory that only you can enter`,
    );
  });

  it("tells where secrets are, and never what they are", async ({ box, work }) => {
    const credentials = work.write({
      credentials: "[other]\naws_access_key_id = s3cret1\n[mine]\naws_access_key_id=s3cret2\nregion = x\n",
    });
    const AWS_SHARED_CREDENTIALS_FILE = credentials;
    const HTTPS_PROXY = "http://user:s3cret3@proxy.example:3128";
    const keys = { AWS_ACCESS_KEY_ID: "s3cret4", AWS_SECRET_ACCESS_KEY: "s3cret5" };
    const cases = [
      { env: keys, message: "in AWS_ACCESS_KEY_ID" },
      { env: { AWS_PROFILE: "mine" }, message: `in profile mine of ${credentials}` },
      { env: { ...keys, DROVER_S3_PROFILE: "other" }, message: `in profile other of ${credentials}` },
      { env: { AWS_PROFILE: "none" }, message: "none found; only s3:// needs some" },
      { env: {}, message: "none found; only s3:// needs some" },
    ];
    for (const { env, message } of cases) {
      const told = await doctor(box, [], {
        env: { AWS_SHARED_CREDENTIALS_FILE, HTTPS_PROXY, no_proxy: "x", ...env },
      });
      expect(told.code).toBe(0);
      expect(told.of("S3 credentials")?.message).toBe(message);
      expect(told.of("proxy")?.message).toBe("HTTPS_PROXY, no_proxy set");
      expect(told.stdout + told.stderr).not.toMatch(/s3cret/);
    }
  });

  it("asks for credentials with --online", async ({ box }) => {
    const env = { AWS_EC2_METADATA_DISABLED: "true" };
    const none = await doctor(box, ["--online"], { env });
    expect(none.of("S3 credentials")).toMatchObject({ state: "warning" });
    expect(none.of("S3 credentials")?.message).toContain("no AWS credentials");
    const keys = { AWS_ACCESS_KEY_ID: "a", AWS_SECRET_ACCESS_KEY: "b" };
    const found = await doctor(box, ["--online"], { env: keys });
    expect(found.of("S3 credentials")?.message).toBe("given by AWS_ACCESS_KEY_ID");
  });

  it("warns of authorities that cannot be read", async ({ box, work }) => {
    const empty = work.write({ "empty.pem": "" });
    const env = { SSL_CERT_FILE: work.at("absent.pem"), DROVER_REDIS_CA: empty };
    const { code, of } = await doctor(box, [], { env });
    expect(code).toBe(0);
    expect(of("SSL_CERT_FILE")).toMatchObject({
      state: "warning",
      message: `cannot read ${work.at("absent.pem")} (ENOENT)`,
    });
    expect(of("DROVER_REDIS_CA")?.message).toBe(`${empty} holds no certificate in PEM form`);
  });
});

describe("drover doctor --redis", () => {
  it("asks the Redis, and finds one that could evict keys", async ({ box }) => {
    const server = await startRedis();
    try {
      const url = "url" in server.address ? server.address.url : `unix://${server.address.socketPath}`;
      const good = await doctor(box, ["--redis", url]);
      expect(good.code).toBe(0);
      expect(good.of("Redis")?.message).toMatch(
        /answers: (Redis|Valkey) \d[\d.]+, maxmemory-policy noeviction$/,
      );
      expect(good.of("clock of Redis")?.state).toBe("ok");
      const { connect } = await import("@drover/shared/redis/connect");
      const redis = await connect(server.address);
      await redis.config("SET", "maxmemory-policy", "allkeys-lru");
      redis.disconnect();
      const bad = await doctor(box, ["--redis", url]);
      expect(bad.code).toBe(1);
      expect(bad.of("Redis")).toMatchObject({ state: "missing" });
      expect(bad.of("Redis")?.message).toContain("CONFIG SET maxmemory-policy noeviction");
    } finally {
      await server.stop();
    }
  });

  it("says why it cannot be reached, without its password", async ({ box }) => {
    const { code, stdout, of } = await doctor(box, ["--redis", "redis://:s3cret@127.0.0.1:1"]);
    expect(code).toBe(1);
    expect(of("Redis")?.message).toContain("ECONNREFUSED");
    expect(stdout).not.toContain("s3cret");
  });
});
