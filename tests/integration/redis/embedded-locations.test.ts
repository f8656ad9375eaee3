import { spawnSync } from "node:child_process";
import {
  chmodSync,
  chownSync,
  existsSync,
  lchownSync,
  mkdirSync,
  readdirSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { basename, dirname, join } from "node:path";
import { findRedisServer } from "@drover/shared/redis/embedded/embedded";
import { describe, expect, test, vi } from "vitest";
import {
  base,
  client,
  closeAll,
  failure,
  kill,
  open,
  processes,
  runIdOf,
  stateAt,
  stateDir,
  supervisors,
  until,
} from "../helpers/embedded.js";

test("processes with different runtime directories share one Redis", async () => {
  const runId = await runIdOf(await open());
  vi.stubEnv("XDG_RUNTIME_DIR", "");
  expect(await runIdOf(await open())).toBe(runId);
  // It stays where it was, so nobody's socket path changes under them.
  for (const supervisor of supervisors()) kill(supervisor);
  expect(await runIdOf(await open())).toBe(runId);
});

test("the sockets are in a private directory in /tmp if the runtime directory is missing or its path too long", async () => {
  const long = join(base, "x".repeat(80));
  mkdirSync(long, { mode: 0o700 });
  for (const runtime of [long, "/nowhere", "relative"]) {
    vi.stubEnv("XDG_RUNTIME_DIR", runtime);
    stateAt(join(base, `state of ${basename(runtime)}`));
    const redis = await open({ idleMs: 10 });
    expect(redis.socketPath).toMatch(new RegExp(`^/tmp/drover-${process.geteuid?.()}/[0-9a-f]{12}/r.sock$`));
    closeAll();
    await until(() => processes().length === 0);
    expect(existsSync(dirname(redis.socketPath))).toBe(false);
  }
});

test("removed sockets are created again, and a removed state directory stops Redis", async () => {
  const redis = await open();
  const connection = client(redis);
  await connection.set("key", "value");
  const before = await runIdOf(redis);
  rmSync(dirname(redis.socketPath), { recursive: true });
  await until(async () => (await runIdOf(redis)) !== before);
  expect(await connection.get("key")).toBe("value");

  redis.close();
  rmSync(stateDir, { recursive: true });
  await until(() => processes().length === 0);
});

test.skipIf(findRedisServer({}) !== undefined)(
  "a missing server causes an error of one line on how to install one",
  async () => {
    vi.stubEnv("PATH", join(base, "nowhere"));
    expect((await failure(open())).message).toBe(
      "no valkey-server or redis-server found: install one (Debian/Ubuntu: apt-get install redis-server; " +
        "macOS: brew install valkey), or name a Redis with --redis URL",
    );
  },
);

test("the server is valkey-server if there is one, and must be executable", () => {
  const [one, two] = [join(base, "one"), join(base, "two")];
  for (const dir of [one, two]) mkdirSync(dir);
  const env = { PATH: `${one}:${two}` };
  mkdirSync(join(one, "valkey-server"));
  writeFileSync(join(one, "redis-server"), "", { mode: 0o755 });
  writeFileSync(join(two, "valkey-server"), "", { mode: 0o644 });
  expect(findRedisServer(env)).toBe(join(one, "redis-server"));
  chmodSync(join(two, "valkey-server"), 0o755);
  expect(findRedisServer(env)).toBe(join(two, "valkey-server"));
});

test("a socket directory that others can enter or have created is refused", async () => {
  const squatted = join(base, "drover");
  mkdirSync(squatted);
  chmodSync(squatted, 0o755);
  expect((await failure(open())).message).toContain(`${squatted} is not a directory that only you can enter`);

  rmSync(squatted, { recursive: true });
  const elsewhere = join(base, "elsewhere");
  mkdirSync(elsewhere, { mode: 0o700 });
  symlinkSync(elsewhere, squatted);
  expect((await failure(open())).message).toContain(`${squatted} is not a directory that only you can enter`);
  expect(readdirSync(elsewhere)).toEqual([]);
  expect(processes()).toEqual([]);
});

test("a socket directory that has become unsafe is replaced by a safe one", async () => {
  const redis = await open({ idleMs: 10 });
  closeAll();
  await until(() => processes().length === 0);
  chmodSync(join(base, "drover"), 0o777);
  await failure(open());
  const other = join(base, "other");
  mkdirSync(other);
  vi.stubEnv("XDG_RUNTIME_DIR", other);
  expect(dirname(dirname((await open()).socketPath))).toBe(join(other, "drover"));
  expect(dirname(dirname(redis.socketPath))).toBe(join(base, "drover"));
});

test("a state directory that cannot be used causes an error that names it", async () => {
  const file = join(base, "file");
  writeFileSync(file, "");
  stateAt(join(file, "state"));
  expect((await failure(open())).message).toContain(`cannot use the state directory ${stateDir}: `);
});

const NOBODY = 65_534;

describe.skipIf(process.geteuid?.() !== 0)("another user of the machine", () => {
  /** Runs a command as that user. @returns its exit code and what it wrote. */
  const asNobody = (program: string, ...args: string[]) => {
    const { status, stdout, stderr } = spawnSync(program, args, {
      uid: NOBODY,
      gid: NOBODY,
      encoding: "utf8",
    });
    return { status, text: stdout + stderr };
  };

  test("can neither reach Redis nor read its data", async () => {
    chmodSync(base, 0o755);
    mkdirSync(stateDir, { mode: 0o755 });
    const redis = await open();
    await client(redis).set("key", "secret");
    const connecting = `require("net").connect(${JSON.stringify(redis.socketPath)}).on("error", ({ code }) => console.log(code))`;
    expect(asNobody(process.execPath, "-e", connecting).text).toBe("EACCES\n");
    expect(asNobody("grep", "-r", "secret", base).text).not.toMatch(/matches|:secret/);
    expect(asNobody("ls", join(stateDir, "redis")).status).not.toBe(0);
    for (const name of readdirSync(join(stateDir, "redis", "appendonlydir")))
      expect(statSync(join(stateDir, "redis", "appendonlydir", name)).mode & 0o077).toBe(0);
  });

  test("cannot give us a state directory", async () => {
    mkdirSync(stateDir, { mode: 0o755 });
    chownSync(stateDir, NOBODY, NOBODY);
    expect((await failure(open())).message).toMatch(
      /belongs to another user \(uid 65534\).*name one of your own/,
    );
    expect(readdirSync(stateDir)).toEqual([]);
  });

  test("cannot give us a directory of data, or lead us to one of ours by a link", async () => {
    mkdirSync(stateDir);
    chmodSync(stateDir, 0o1777); // as /tmp
    const data = join(stateDir, "redis");
    mkdirSync(data, { mode: 0o777 });
    chownSync(data, NOBODY, NOBODY);
    expect((await failure(open())).message).toMatch(/belongs to another user \(uid 65534\)/);
    rmSync(data, { recursive: true });

    const victim = join(base, "victim");
    mkdirSync(victim);
    chmodSync(victim, 0o755);
    symlinkSync(victim, data);
    lchownSync(data, NOBODY, NOBODY);
    expect((await failure(open())).message).toMatch(/belongs to another user \(uid 65534\)/);
    expect(statSync(victim).mode & 0o777).toBe(0o755);
    expect(readdirSync(victim)).toEqual([]);

    lchownSync(data, 0, 0); // a link of our own may lead elsewhere
    await open();
    expect(readdirSync(victim)).toContain("keeper.json");
  });

  test("cannot replace our data in a directory that everybody may write", async () => {
    mkdirSync(stateDir);
    chmodSync(stateDir, 0o777);
    expect((await failure(open())).message).toMatch(/everybody may replace/);
    expect(readdirSync(stateDir)).toEqual([]);
    chmodSync(stateDir, 0o1777);
    await open();
  });

  test("cannot give us a directory of sockets", async () => {
    const squatted = join(base, "drover");
    mkdirSync(squatted, { mode: 0o700 });
    chownSync(squatted, NOBODY, NOBODY);
    expect((await failure(open())).message).toContain(
      `${squatted} is not a directory that only you can enter`,
    );
    expect(readdirSync(squatted)).toEqual([]);
  });
});
