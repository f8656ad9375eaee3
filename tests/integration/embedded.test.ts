import { type ChildProcess, execFileSync, spawn } from "node:child_process";
import { once } from "node:events";
import {
  appendFileSync,
  chmodSync,
  existsSync,
  globSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  realpathSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { basename, dirname, join } from "node:path";
import { createInterface } from "node:readline";
import { setImmediate as turn } from "node:timers/promises";
import {
  EmbeddedError,
  type EmbeddedRedis,
  findRedisServer,
  openEmbedded,
} from "@drover/shared/redis/embedded";
import { Redis } from "ioredis";
import { afterEach, beforeEach, expect, test, vi } from "vitest";

let base: string;
/** With a space and beyond ASCII, since a home directory may be so. */
let stateDir: string;
const opened: EmbeddedRedis[] = [];
const clients: Redis[] = [];
const holders: Holder[] = [];

beforeEach(() => {
  base = realpathSync(mkdtempSync(join(tmpdir(), "drover-embedded-")));
  stateDir = join(base, "Zustände, alle");
  // Short, as a socket's path must be. Own, so that a test can look at all that is in it.
  vi.stubEnv("XDG_RUNTIME_DIR", base);
});

afterEach(async () => {
  vi.unstubAllEnvs();
  for (const client of clients.splice(0)) client.disconnect();
  for (const redis of opened.splice(0)) redis.close();
  for (const holder of holders.splice(0)) holder.kill();
  await until(() => {
    const alive = processes();
    for (const { pid } of alive) kill(pid);
    return alive.length === 0;
  });
  rmSync(base, { recursive: true, force: true });
});

test("eight processes that open it at the same instant get one and the same Redis, also one that is stopping", async () => {
  const crowd = await Promise.all(Array.from({ length: 8 }, () => Holder.start()));
  const seen = new Set<string>();
  for (let round = 0; round < 10; round++) {
    const runIds = await Promise.all(crowd.map((holder) => holder.open({ idleMs: 20 })));
    expect(new Set(runIds).size).toBe(1);
    expect(servers()).toHaveLength(1);
    await Promise.all(crowd.map((holder) => holder.close()));
    seen.add(runIds[0] ?? "");
    // In every other round the next opening falls into the moment after the keeper has closed its door.
    const door = globSync(join(base, "drover", "*", "k.sock"));
    while (round % 2 === 0 && door.some(existsSync)) await turn();
  }
  expect(seen.size).toBeGreaterThanOrEqual(5);
});

test("opening waits for a Redis that is still shutting down", async () => {
  const redis = await open({ idleMs: 20 });
  await client(redis).set("key", "value");
  const [server] = servers();
  process.kill(server ?? 0, "SIGSTOP");
  redis.close();
  const door = join(dirname(redis.socketPath), "k.sock");
  await until(() => !existsSync(door));

  const holder = await Holder.start();
  const next = holder.open();
  await until(() => keepers().length === 2);
  process.kill(server ?? 0, "SIGCONT");
  await next;
  expect(servers()).not.toContain(server);
  expect(servers()).toHaveLength(1);
  expect(await client(await open()).get("key")).toBe("value");
});

test("it outlives the process that started it", async () => {
  const first = await Holder.start();
  const runId = await first.open();
  const second = await Holder.start();
  expect(await second.open()).toBe(runId);
  first.kill();
  await first.gone;
  expect(await second.ask()).toBe(runId);
  second.kill();
  await second.gone;
  expect(await runIdOf(await open())).toBe(runId);
});

test("it stops when idle, leaves no socket, and has the data the next time", async () => {
  const redis = await open({ idleMs: 10 });
  await client(redis).hset("hash", { field: "x".repeat(1000) });
  expect(await client(redis).object("ENCODING", "hash")).toBe("listpack");
  redis.close();
  await until(() => processes().length === 0);
  expect(existsSync(dirname(redis.socketPath))).toBe(false);
  expect(await client(await open()).hget("hash", "field")).toBe("x".repeat(1000));
});

test("what was written over and over is tidied up when nobody uses it", async () => {
  const redis = await open();
  const connection = client(redis);
  for (let i = 0; i < 32; i++) await connection.set("key", `${i}${"x".repeat(100_000)}`);
  const dir = join(stateDir, "redis", "appendonlydir");
  const bytes = () => readdirSync(dir).reduce((sum, name) => sum + sizeOf(join(dir, name)), 0);
  await until(() => bytes() > 3_000_000);
  closeAll();
  await until(() => bytes() < 200_000);
  expect(await client(await open()).get("key")).toBe(`31${"x".repeat(100_000)}`);
});

test("it does not stop while a process uses it, and a process killed with -9 uses it no longer", async () => {
  const holder = await Holder.start();
  const runId = await holder.open({ idleMs: 10 });
  // They come and go, so the keeper counts down to one user, not to none.
  for (let i = 0; i < 5; i++) (await open({ idleMs: 10 })).close();
  expect(await holder.ask()).toBe(runId);
  holder.kill();
  await until(() => processes().length === 0);
});

test("killing the keeper disturbs nobody: the same Redis goes on under the next one", async () => {
  const redis = await open({ idleMs: 50 });
  const runId = await runIdOf(redis);
  const [keeper] = keepers();
  kill(keeper);
  await until(() => keepers().length === 1 && keepers()[0] !== keeper);
  expect(await runIdOf(await open({ idleMs: 50 }))).toBe(runId);
  expect(await runIdOf(redis)).toBe(runId);
  expect(servers()).toHaveLength(1);
  // The new keeper counts the old users and can stop a Redis that it has not started.
  closeAll();
  await until(() => processes().length === 0);
});

test("a Redis whose keeper and users were all killed is found again", async () => {
  const holder = await Holder.start();
  const runId = await holder.open();
  holder.kill();
  await holder.gone;
  kill(keepers()[0]);
  await until(() => keepers().length === 0);
  expect(await runIdOf(await open())).toBe(runId);
  expect(servers()).toHaveLength(1);
});

test("a Redis that was left behind and cannot be reached is ended", async () => {
  const holder = await Holder.start();
  await holder.open();
  const [server] = servers();
  await client(await open()).set("key", "value");
  closeAll();
  holder.kill();
  await holder.gone;
  kill(keepers()[0]);
  await until(() => keepers().length === 0);
  for (const socket of globSync(join(base, "drover", "*", "r.sock"))) rmSync(socket);
  expect(await client(await open()).get("key")).toBe("value");
  expect(servers()).toHaveLength(1);
  expect(servers()).not.toContain(server);
});

test("a killed redis-server comes back by itself, with its data", async () => {
  const redis = await open();
  const connection = client(redis);
  await connection.set("key", "value");
  const [keeper] = keepers();
  for (let round = 0; round < 3; round++) {
    const before = await runIdOf(redis);
    kill(servers()[0]);
    await until(async () => (await runIdOf(redis)) !== before);
    expect(await connection.get("key")).toBe("value");
  }
  expect(keepers()).toEqual([keeper]);
});

test("keeper and redis-server killed at once come back, with the data", async () => {
  const redis = await open();
  const connection = client(redis);
  await connection.set("key", "value");
  const before = await runIdOf(redis);
  for (const { pid } of processes()) kill(pid);
  await until(async () => (await runIdOf(redis)) !== before);
  expect(await connection.get("key")).toBe("value");
  expect(servers()).toHaveLength(1);
});

test("garbage and a torn transaction at the end of the append-only file are cut off", async () => {
  for (const tail of [
    "*3\r\n$3\r\nSET\r\n$3\r\nke",
    "\0\0garbage",
    "*1\r\n$5\r\nMULTI\r\n*3\r\n$3\r\nSET\r\n$3\r\nkey\r\n$4\r\ntorn\r\n",
  ]) {
    const redis = await open({ idleMs: 10 });
    await client(redis).set("key", "value");
    closeAll();
    await until(() => processes().length === 0);
    const [aof] = globSync(join(stateDir, "redis", "appendonlydir", "*.incr.aof"));
    appendFileSync(aof ?? "", tail);
    for (let start = 0; start < 2; start++) {
      expect(await client(await open({ idleMs: 10 })).get("key")).toBe("value");
      closeAll();
      await until(() => processes().length === 0);
    }
  }
});

test("data that Redis refuses to load are an error that quotes Redis", async () => {
  await open({ idleMs: 10 });
  closeAll();
  await until(() => processes().length === 0);
  writeFileSync(join(stateDir, "redis", "appendonlydir", "appendonly.aof.manifest"), "nonsense\n");
  const error = await failure(open());
  expect(error.message).toMatch(/does not start: .*manifest/);
  expect(error.message).toContain(realpathSync(stateDir));
  expect(error.message).not.toContain("\n");
});

test("processes that see different runtime directories share one Redis", async () => {
  const runId = await runIdOf(await open());
  vi.stubEnv("XDG_RUNTIME_DIR", "");
  expect(await runIdOf(await open())).toBe(runId);
  // It stays where it was, so nobody's socket path changes under them.
  for (const keeper of keepers()) kill(keeper);
  expect(await runIdOf(await open())).toBe(runId);
});

test("without a runtime directory, or with one too long for a socket, it is a private directory in /tmp", async () => {
  const long = join(base, "x".repeat(80));
  mkdirSync(long, { mode: 0o700 });
  for (const runtime of [long, "/nowhere", "relative"]) {
    vi.stubEnv("XDG_RUNTIME_DIR", runtime);
    stateDir = join(base, `state of ${basename(runtime)}`);
    const redis = await open({ idleMs: 10 });
    expect(redis.socketPath).toMatch(new RegExp(`^/tmp/drover-${process.geteuid?.()}/[0-9a-f]{12}/r.sock$`));
    closeAll();
    await until(() => processes().length === 0);
    expect(existsSync(dirname(redis.socketPath))).toBe(false);
  }
});

test("removed sockets are made again, and a removed state directory ends it", async () => {
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

test("it holds neither the terminal nor the pipe of the process that started it", async () => {
  const holder = await Holder.start();
  await holder.open();
  holder.kill();
  await holder.gone; // Which includes the end of its stdout: `drover | cat` ends.
  const [keeper] = keepers();
  expect(keeper).toBeDefined();
  if (process.platform !== "linux") return;
  // The session is the fourth field after the name. A signal of the terminal reaches only the terminal's session.
  const sessions = processes().map(
    ({ pid }) => readFileSync(`/proc/${pid}/stat`, "utf8").split(") ")[1]?.split(" ")[3],
  );
  expect(sessions).toEqual([`${keeper}`, `${keeper}`]);
});

test("an open Redis does not keep a process alive", async () => {
  const holder = await Holder.start();
  await holder.open();
  holder.endInput();
  await holder.gone;
  expect(holder.exitCode).toBe(0);
});

// A server outside of PATH, where packages put it, is found all the same.
test.skipIf(findRedisServer({}) !== undefined)(
  "without a server there is one line on how to get one",
  async () => {
    vi.stubEnv("PATH", join(base, "nowhere"));
    expect((await failure(open())).message).toBe(
      "no valkey-server or redis-server found: install one (Debian/Ubuntu: apt-get install redis-server; " +
        "macOS: brew install valkey), or name a Redis with --redis URL",
    );
  },
);

test("the server is valkey-server if there is one, and nothing that cannot be executed", () => {
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

test("a socket directory that others can enter or have made is refused", async () => {
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

test("a socket directory that became unsafe after it was used is left for a safe one", async () => {
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

test("a state directory that cannot be used is an error that names it", async () => {
  const file = join(base, "file");
  writeFileSync(file, "");
  stateDir = join(file, "state");
  expect((await failure(open())).message).toContain(`cannot use the state directory ${stateDir}: `);
});

test("a Redis that is killed again and again is given up, and tried again later", async () => {
  const deadly = join(base, "deadly");
  const bin = join(base, "bin");
  mkdirSync(bin);
  writeFileSync(
    join(bin, "valkey-server"),
    `#!/bin/sh\n[ -e ${deadly} ] && kill -9 $$\nexec ${findRedisServer()} "$@"\n`,
    { mode: 0o755 },
  );
  vi.stubEnv("PATH", `${bin}:${process.env.PATH}`);
  const troubles: string[] = [];
  const redis = await openEmbedded({ stateDir, onTrouble: (message) => troubles.push(message) });
  opened.push(redis);
  const runId = await runIdOf(redis);
  writeFileSync(deadly, "");
  kill(servers()[0]);
  await until(() => troubles.length > 0);
  expect(troubles[0]).toMatch(/redis-server died 6 times/);
  rmSync(deadly);
  expect(await runIdOf(redis)).not.toBe(runId);
});

test("a Redis that gives no sign of life is an error after the timeout", async () => {
  await open();
  const [keeper] = keepers();
  process.kill(keeper ?? 0, "SIGSTOP");
  const error = await failure(openEmbedded({ stateDir, startTimeoutMs: 100 }));
  process.kill(keeper ?? 0, "SIGCONT");
  expect(error.message).toContain(`kept by process ${keeper}`);
});

async function open(options: { idleMs?: number } = {}): Promise<EmbeddedRedis> {
  const redis = await openEmbedded({ stateDir, ...options });
  opened.push(redis);
  return redis;
}

function closeAll(): void {
  for (const connection of clients.splice(0)) connection.disconnect();
  for (const redis of opened.splice(0)) redis.close();
}

async function failure(opening: Promise<unknown>): Promise<EmbeddedError> {
  const error = await opening.then(
    () => undefined,
    (reason: unknown) => reason,
  );
  expect(error).toBeInstanceOf(EmbeddedError);
  return error as EmbeddedError;
}

function client(redis: EmbeddedRedis): Redis {
  const connection = new Redis(redis.socketPath, { maxRetriesPerRequest: null, retryStrategy: () => 10 });
  connection.on("error", () => {});
  clients.push(connection);
  return connection;
}

/** Which run of Redis answers there; waits for one. */
async function runIdOf(redis: EmbeddedRedis): Promise<string> {
  const connection = client(redis);
  try {
    return /run_id:(\w+)/.exec(await connection.info("server"))?.[1] ?? "";
  } finally {
    connection.disconnect();
  }
}

/** 0 for what is gone by now. */
const sizeOf = (path: string) => statSync(path, { throwIfNoEntry: false })?.size ?? 0;

/** Waits for a state that tells nobody when it is reached. */
async function until(condition: () => boolean | Promise<boolean>): Promise<void> {
  await vi.waitFor(async () => expect(await condition()).toBe(true), { timeout: 50_000, interval: 5 });
}

function kill(pid: number | undefined): void {
  try {
    if (pid !== undefined) process.kill(pid, "SIGKILL");
  } catch {
    // It was quicker.
  }
}

const keepers = () => processes().flatMap(({ pid, keeper }) => (keeper ? [pid] : []));
const servers = () => processes().flatMap(({ pid, keeper }) => (keeper ? [] : [pid]));

/** The keepers and servers of this test's directories that are alive, however they came to be. */
function processes(): { pid: number; keeper: boolean }[] {
  const found: { pid: number; keeper: boolean }[] = [];
  if (process.platform !== "linux") {
    const list = execFileSync("ps", ["-axww", "-o", "pid=,args="], { encoding: "utf8" });
    for (const [, pid, args = ""] of list.matchAll(/^ *(\d+) (.*)$/gm)) {
      if (args.includes(base) && /keeper\.js|(redis|valkey)-server/.test(args)) {
        found.push({ pid: Number(pid), keeper: args.includes("keeper.js") });
      }
    }
    return found;
  }
  for (const pid of readdirSync("/proc").map(Number)) {
    if (!(pid > 0)) continue;
    try {
      const command = readFileSync(`/proc/${pid}/cmdline`, "utf8");
      const cwd = readlinkSync(`/proc/${pid}/cwd`);
      if (command.includes("keeper.js") && command.includes(base)) found.push({ pid, keeper: true });
      else if (cwd.startsWith(base) && /redis|valkey/.test(command)) found.push({ pid, keeper: false });
    } catch {
      // Not alive any more.
    }
  }
  return found;
}

/** A process that opens the embedded Redis when told to. */
class Holder {
  private static readonly program = `
    import { connect } from "node:net";
    import { createInterface } from "node:readline";
    import { openEmbedded } from "@drover/shared/redis/embedded";
    let redis;
    const runId = () => new Promise((resolve, reject) => {
      const socket = connect(redis.socketPath, () => socket.write("INFO server\\r\\n")).on("error", reject);
      socket.on("data", (text) => {
        const found = /run_id:(\\w+)/.exec(text);
        if (found) socket.destroy(), resolve(found[1]);
      });
    });
    console.log("up");
    createInterface(process.stdin).on("line", async (line) => {
      const { command, options } = JSON.parse(line);
      if (command === "open") redis = await openEmbedded(options);
      if (command === "close") redis.close();
      console.log(command === "close" ? "closed" : await runId());
    });`;

  readonly gone: Promise<unknown>;
  private readonly lines: AsyncIterator<string>;

  private constructor(private readonly child: ChildProcess & { stdin: NodeJS.WritableStream }) {
    // "close" comes once the process has ended and nobody holds its stdout any more.
    this.gone = once(child, "close");
    this.lines = createInterface(child.stdout as NodeJS.ReadableStream)[Symbol.asyncIterator]();
    holders.push(this);
  }

  static async start(): Promise<Holder> {
    const child = spawn(process.execPath, ["--input-type=module", "-e", Holder.program], {
      cwd: import.meta.dirname,
      env: { ...process.env, NODE_OPTIONS: "" },
      stdio: ["pipe", "pipe", "inherit"],
    });
    const holder = new Holder(child);
    expect(await holder.line()).toBe("up");
    return holder;
  }

  get exitCode(): number | null {
    return this.child.exitCode;
  }

  /** Opens it and resolves to the run id of the Redis that it got. */
  open(options: { idleMs?: number } = {}): Promise<string> {
    return this.tell("open", { stateDir, ...options });
  }

  ask(): Promise<string> {
    return this.tell("ask");
  }

  close(): Promise<string> {
    return this.tell("close");
  }

  endInput(): void {
    this.child.stdin.end();
  }

  kill(): void {
    this.child.kill("SIGKILL");
  }

  private tell(command: string, options?: object): Promise<string> {
    this.child.stdin.write(`${JSON.stringify({ command, options })}\n`);
    return this.line();
  }

  private async line(): Promise<string> {
    const { value, done } = await this.lines.next();
    if (done) throw new Error("the holder has ended");
    return value;
  }
}
