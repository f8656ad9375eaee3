import { type ChildProcess, execFileSync, spawn } from "node:child_process";
import { once } from "node:events";
import {
  mkdtempSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  realpathSync,
  rmSync,
  statSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import {
  EmbeddedError,
  type EmbeddedOptions,
  type EmbeddedRedis,
  openEmbedded,
} from "@drover/shared/redis/embedded/embedded";
import { Redis } from "ioredis";
import { afterEach, beforeEach, expect, vi } from "vitest";

/** Directory of the test. */
export let base: string;
/** Contains a space and a non-ASCII character, as a home directory may. */
export let stateDir: string;
const opened: EmbeddedRedis[] = [];
const clients: Redis[] = [];
const holders: Holder[] = [];

beforeEach(() => {
  base = realpathSync(mkdtempSync(join(tmpdir(), "drover-embedded-")));
  stateDir = join(base, "Zustände, alle");
  // Short, because socket paths are limited, and separate, so that a test can look at all of its content.
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

/** Moves the state directory of the test. */
export function stateAt(directory: string): void {
  stateDir = directory;
}

export async function open(options: Omit<EmbeddedOptions, "stateDir"> = {}): Promise<EmbeddedRedis> {
  const redis = await openEmbedded({ stateDir, ...options });
  opened.push(redis);
  return redis;
}

export function closeAll(): void {
  for (const connection of clients.splice(0)) connection.disconnect();
  for (const redis of opened.splice(0)) redis.close();
}

export async function failure(opening: Promise<unknown>): Promise<EmbeddedError> {
  const error = await opening.then(
    () => undefined,
    (reason: unknown) => reason,
  );
  expect(error).toBeInstanceOf(EmbeddedError);
  return error as EmbeddedError;
}

export function client(redis: EmbeddedRedis): Redis {
  const connection = new Redis(redis.socketPath, { maxRetriesPerRequest: null, retryStrategy: () => 10 });
  connection.on("error", () => {});
  clients.push(connection);
  return connection;
}

/** The run id of the Redis that answers; waits for one. */
export async function runIdOf(redis: EmbeddedRedis): Promise<string> {
  const connection = client(redis);
  try {
    return /run_id:(\w+)/.exec(await connection.info("server"))?.[1] ?? "";
  } finally {
    connection.disconnect();
  }
}

/** 0 for a file that is gone. */
export const sizeOf = (path: string) => statSync(path, { throwIfNoEntry: false })?.size ?? 0;

/** Polls until a condition holds. */
export async function until(condition: () => boolean | Promise<boolean>): Promise<void> {
  await vi.waitFor(async () => expect(await condition()).toBe(true), { timeout: 50_000, interval: 5 });
}

export function kill(pid: number | undefined): void {
  try {
    if (pid !== undefined) process.kill(pid, "SIGKILL");
  } catch {
    // It was gone already.
  }
}

export const supervisors = () => processes().flatMap(({ pid, supervisor }) => (supervisor ? [pid] : []));
export const servers = () => processes().flatMap(({ pid, supervisor }) => (supervisor ? [] : [pid]));

/** The live supervisors and servers of this test's directories, whoever started them. */
export function processes(): { pid: number; supervisor: boolean }[] {
  const found: { pid: number; supervisor: boolean }[] = [];
  if (process.platform !== "linux") {
    const list = execFileSync("ps", ["-axww", "-o", "pid=,args="], { encoding: "utf8" });
    for (const [, pid, args = ""] of list.matchAll(/^ *(\d+) (.*)$/gm)) {
      if (args.includes(base) && /supervisor\.js|(redis|valkey)-server/.test(args)) {
        found.push({ pid: Number(pid), supervisor: args.includes("supervisor.js") });
      }
    }
    return found;
  }
  for (const pid of readdirSync("/proc").map(Number)) {
    if (!(pid > 0)) continue;
    try {
      const command = readFileSync(`/proc/${pid}/cmdline`, "utf8");
      const cwd = readlinkSync(`/proc/${pid}/cwd`);
      if (command.includes("supervisor.js") && command.includes(base)) found.push({ pid, supervisor: true });
      else if (cwd.startsWith(base) && /redis|valkey/.test(command)) found.push({ pid, supervisor: false });
    } catch {
      // It has ended.
    }
  }
  return found;
}

/** A process that opens the embedded Redis on request. */
export class Holder {
  private static readonly program = `
    import { connect } from "node:net";
    import { createInterface } from "node:readline";
    import { openEmbedded } from "@drover/shared/redis/embedded/embedded";
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
    // "close" comes once the process has ended and its stdout is closed.
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

  /** Opens the Redis and resolves to its run id. */
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
