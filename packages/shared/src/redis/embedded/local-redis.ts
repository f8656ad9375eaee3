/**
 * One redis-server (or valkey-server) on one data directory: adopt it, start it, end it. Used by supervisor.ts
 * only. It talks RESP by hand, because loading a client would take longer than Redis takes to start.
 */
import { execFileSync, spawn } from "node:child_process";
import { closeSync, existsSync, openSync, readFileSync, readlinkSync, statSync, truncateSync } from "node:fs";
import { connect } from "node:net";
import { basename, dirname, join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { type Layout, writeSmallFile } from "./layout.js";

/** A Redis that answers. */
export interface LocalRedis {
  readonly pid: number;
  /** Resolves once the process is gone, for whatever reason. Never rejects. */
  readonly exited: Promise<void>;
}

/** What a start or an adoption needs. */
export interface RedisTask {
  readonly layout: Layout;
  readonly socketPath: string;
  /** Once aborted, the Redis is shut down, also one that is still starting. */
  readonly signal: AbortSignal;
  /** Called every now and then while Redis is seen to be loading or its data checked. */
  readonly onProgress: () => void;
  readonly log: (line: string) => void;
}

/** Time that a Redis may take to shut down before it is killed, in milliseconds. It may have to wait for an fsync. */
const SHUTDOWN_MS = 15_000;
/** Time that a Redis which accepted a connection may be silent, in milliseconds. */
const SILENCE_MS = 5_000;
/** An append-only file that has grown by less is loaded in no time. */
const MIN_GROWTH_BYTES = 1 << 20;
/** The log starts anew above this size, in bytes. */
const MAX_LOG_BYTES = 1 << 20;

/**
 * Takes over the Redis that a killed supervisor left behind. One that cannot be reached is ended: two servers on
 * one data directory would write into the same file.
 * @returns undefined if there is no Redis left on this data directory.
 */
export async function adoptRedis(task: RedisTask): Promise<LocalRedis | undefined> {
  const { layout, socketPath, log } = task;
  const answer = await ask(socketPath);
  if (answer?.serves(layout.dataDir)) {
    const { pid } = answer;
    const exited = gone(task, pid, true);
    shutDownOnAbort(task, pid, exited);
    if (await untilReady(task, pid, exited)) {
      log(`adopted the running Redis (pid ${pid})`);
      return { pid, exited };
    }
  }
  const pid = readPid(layout);
  if (pid !== undefined && isRedisOf(task, pid)) {
    log(`ending a Redis that cannot be reached (pid ${pid})`);
    const beat = setInterval(task.onProgress, 1_000);
    const exited = gone(task, pid, false);
    shutDown(task, pid, exited);
    await exited;
    clearInterval(beat);
  }
  return undefined;
}

/**
 * Repairs the data, starts `server` and waits until it answers.
 * @returns undefined if it was killed before that, which is no reason not to try again.
 * @throws Error with one line, which quotes the end of Redis's log, if it gave up by itself.
 */
export async function startRedis(task: RedisTask, server: string): Promise<LocalRedis | undefined> {
  const { layout, socketPath, signal, log } = task;
  await repairAof(task, server);
  if (signal.aborted) return undefined;

  if ((statSync(layout.redisLog, { throwIfNoEntry: false })?.size ?? 0) > MAX_LOG_BYTES) {
    truncateSync(layout.redisLog);
  }
  const output = openSync(layout.redisLog, "a", 0o600);
  const logStart = statSync(layout.redisLog).size;
  // The process starts as a shell that waits for our word, and the word is given only once its pid is on disk.
  // So there is no moment at which this supervisor can be killed and leave a Redis that its successor does not
  // know of: killed before the word, the shell reads the end of its input and exits.
  const child = spawn(
    "/bin/sh",
    ["-c", 'read -r go && exec "$0" "$@" </dev/null', server, ...configOf(layout, socketPath)],
    { cwd: layout.dataDir, stdio: ["pipe", output, output] },
  );
  closeSync(output);
  child.stdin?.on("error", () => {});
  const exited = new Promise<void>((resolve) => {
    const end = (why: string) => {
      log(`redis-server (pid ${child.pid}) ended: ${why}`);
      resolve();
    };
    child.once("error", (error) => end(error.message));
    child.once("exit", (code, killedBy) => end(killedBy ?? `exit code ${code}`));
  });
  const { pid } = child;
  if (pid === undefined) {
    await exited;
    throw new Error("cannot start a process for redis-server");
  }
  try {
    writeSmallFile(layout.redisPid, `${pid}\n`);
  } catch (error) {
    child.stdin?.destroy();
    await exited;
    throw error;
  }
  child.stdin?.end("go\n");
  shutDownOnAbort(task, pid, exited);
  if (await untilReady(task, pid, exited)) {
    log(`started ${server} (pid ${pid})`);
    return { pid, exited };
  }
  if (child.signalCode !== null || signal.aborted) return undefined;
  throw new Error(`${basename(server)} does not start: ${endOfLog(layout, logStart)}`);
}

/**
 * Has Redis write its data anew, in a process of its own, where its append-only file has grown much. What that holds is
 * executed at the next start, 0.3 s and more for what a run of 10,000 files leaves behind. Nothing is lost where this fails.
 */
export function compactAof(socketPath: string): void {
  let text = "";
  const socket = connect(socketPath)
    .setEncoding("utf8")
    .setTimeout(SILENCE_MS, () => socket.destroy());
  socket.on("error", () => {});
  socket.on("connect", () => socket.write("INFO persistence\r\n"));
  socket.on("data", (chunk: string) => {
    text += chunk;
    const [, currentBytes, baseBytes] =
      /\r\naof_current_size:(\d+)\r\naof_base_size:(\d+)\r\n/.exec(text) ?? [];
    if (currentBytes === undefined) return;
    const grown = Number(currentBytes) - Number(baseBytes);
    socket.end(grown > Math.max(Number(baseBytes) / 4, MIN_GROWTH_BYTES) ? "BGREWRITEAOF\r\n" : "");
    text = "";
  });
}

/** Waits until the Redis of this pid executes commands; false if it exits before that. */
async function untilReady(task: RedisTask, pid: number, exited: Promise<void>): Promise<boolean> {
  let running = true;
  void exited.then(() => {
    running = false;
  });
  while (running) {
    const answer = await ask(task.socketPath);
    if (answer?.pid === pid) {
      if (answer.ready) return true;
      task.onProgress();
    }
    await sleep(answer === undefined ? 3 : 50);
  }
  return false;
}

/**
 * The configuration, as arguments: no file to write on a full disk, and a file of the system's is not read.
 * Only options that Redis 6.2, every later one and Valkey know: `hash-max-ziplist-*` is the name that they
 * all accept for what is called listpack since 7.0. Debug and module commands are off by default since 7.0.
 */
function configOf(layout: Layout, socketPath: string): string[] {
  const settings: Record<string, string> = {
    port: "0",
    unixsocket: socketPath,
    unixsocketperm: "700",
    dir: layout.dataDir,
    daemonize: "no",
    loglevel: "notice",
    timeout: "0",
    appendonly: "yes",
    appendfsync: "everysec",
    "aof-load-truncated": "yes",
    "auto-aof-rewrite-percentage": "100",
    "auto-aof-rewrite-min-size": "64mb",
    save: "",
    maxmemory: "0",
    "maxmemory-policy": "noeviction",
    // A queued job is a hash with fields of some hundred bytes; above the default of 64 it takes twice the memory.
    "hash-max-ziplist-value": "1024",
    "hash-max-ziplist-entries": "512",
  };
  return Object.entries(settings).flatMap(([name, value]) => [`--${name}`, value]);
}

/**
 * Cuts what a crash left half-written off the end of the append-only file. Redis does so by itself at a
 * start, but not for garbage; and a transaction torn by the crash, which 7.0 leaves out at the first start,
 * it executes half of at the next one.
 */
async function repairAof(task: RedisTask, server: string): Promise<void> {
  const { layout, log } = task;
  const aof = [
    join(layout.dataDir, "appendonlydir", "appendonly.aof.manifest"),
    join(layout.dataDir, "appendonly.aof"), // Redis before 7.0
  ].find((path) => existsSync(path));
  const tool = join(dirname(server), basename(server).replace("-server", "-check-aof"));
  if (aof === undefined || !existsSync(tool)) return;

  const child = spawn(tool, ["--fix", aof], { cwd: layout.dataDir, stdio: ["pipe", "pipe", "ignore"] });
  child.stdin.on("error", () => {});
  child.stdin.end("y\n");
  let output = "";
  child.stdout.setEncoding("utf8").on("data", (text: string) => {
    output = (output + text).slice(-2_000);
  });
  const beat = setInterval(task.onProgress, 1_000);
  const code = await new Promise<number | string>((resolve) => {
    child.once("error", (error) => resolve(error.message));
    child.once("close", (exitCode, killedBy) => resolve(exitCode ?? killedBy ?? "?"));
  });
  clearInterval(beat);
  // Redis itself has the last word on whether the data can be loaded.
  const verdict = output.trim().split("\n").slice(-3).join("; ");
  if (code !== 0 || /truncated/i.test(output)) log(`${basename(tool)} --fix (${code}): ${verdict}`);
}

interface Answer {
  readonly pid: number;
  /** It executes commands; false while it loads its data. */
  readonly ready: boolean;
  /** Whether this is its data directory. */
  serves(dataDir: string): boolean;
}

/** Asks the Redis on a socket who it is; undefined if there is none, or none that answers in time. */
function ask(socketPath: string): Promise<Answer | undefined> {
  return new Promise((resolve) => {
    let text = "";
    const socket = connect(socketPath)
      .setEncoding("utf8")
      .setTimeout(SILENCE_MS, () => socket.destroy());
    socket.on("error", () => {});
    socket.on("close", () => resolve(undefined));
    socket.on("connect", () => socket.write("CONFIG GET dir\r\nINFO server\r\nPING\r\n"));
    socket.on("data", (chunk: string) => {
      text += chunk;
      const pong = /\r\n(\+PONG|-[A-Z]+ [^\r]*)\r\n$/.exec(text)?.[1];
      if (pong === undefined) return;
      resolve({
        pid: Number(/\r\nprocess_id:(\d+)\r\n/.exec(text)?.[1]),
        ready: pong === "+PONG",
        serves: (dataDir) => text.includes(`\r\n${dataDir}\r\n`),
      });
      socket.destroy();
    });
  });
}

function shutDownOnAbort(task: RedisTask, pid: number, exited: Promise<void>): void {
  const stop = () => shutDown(task, pid, exited);
  task.signal.addEventListener("abort", stop);
  // Its pid may belong to somebody else later.
  void exited.then(() => task.signal.removeEventListener("abort", stop));
  if (task.signal.aborted) stop();
}

/** Has Redis write everything to disk and exit. @param exited resolves then. */
function shutDown(task: RedisTask, pid: number, exited: Promise<void>): void {
  // The command is obeyed at once, the signal within 100 ms, and also by a Redis that cannot be reached.
  const socket = connect(task.socketPath, () => socket.write("SHUTDOWN\r\n"));
  socket.on("error", () => {}).resume();
  signalProcess(pid, "SIGTERM");
  const timer = setTimeout(() => {
    task.log(`redis-server (pid ${pid}) did not shut down within ${SHUTDOWN_MS} ms: killing it`);
    signalProcess(pid, "SIGKILL");
  }, SHUTDOWN_MS);
  void exited.then(() => {
    clearTimeout(timer);
    socket.destroy();
  });
}

/**
 * Resolves once a Redis that is not our child is gone. An open connection ends at once then; without a socket
 * its process is looked for again and again.
 */
async function gone(task: RedisTask, pid: number, reachable: boolean): Promise<void> {
  while (isRedisOf(task, pid)) {
    if (reachable) {
      await new Promise<void>((resolve) => {
        connect(task.socketPath)
          .on("error", () => {})
          .on("close", () => resolve())
          .resume();
      });
    }
    await sleep(10);
  }
}

/** Whether the process is a Redis (or the shell that becomes one) of this data directory, and no zombie. */
function isRedisOf({ layout, socketPath }: RedisTask, pid: number): boolean {
  try {
    if (process.platform === "linux") {
      const command = readFileSync(`/proc/${pid}/cmdline`, "utf8");
      return readlinkSync(`/proc/${pid}/cwd`) === layout.dataDir && /redis|valkey/.test(command);
    }
    const command = execFileSync("ps", ["-o", "args=", "-p", String(pid)], { encoding: "utf8" });
    // A running Redis shows its socket instead of its arguments; the name of its directory is never reused.
    const socketDir = basename(dirname(socketPath));
    return /redis|valkey/.test(command) && (command.includes(layout.dataDir) || command.includes(socketDir));
  } catch {
    return false;
  }
}

function readPid(layout: Layout): number | undefined {
  try {
    const pid = Number(readFileSync(layout.redisPid, "utf8"));
    return Number.isSafeInteger(pid) && pid > 1 ? pid : undefined;
  } catch {
    return undefined;
  }
}

function signalProcess(pid: number, signal: NodeJS.Signals): void {
  try {
    process.kill(pid, signal);
  } catch {
    // Gone already.
  }
}

/** The last complaints that Redis logged since `start`, without their prefixes, as one line. */
function endOfLog(layout: Layout, start: number): string {
  const lines = readFileSync(layout.redisLog).subarray(start).toString("utf8").split("\n");
  const complaints = lines.flatMap((line) => {
    // "19202:M 20 Nov 2026 11:13:02.111 # Server initialized"; on stderr it has no such prefix.
    const [, level, text = line] = /^\d+:\S+ .*? ([-.*#]) (.*)$/.exec(line) ?? [];
    return level === "#" || level === undefined ? [text.trim()] : [];
  });
  const telling = complaints.filter((text) => text !== "" && !LOGGED_AT_EVERY_START.test(text));
  return telling.slice(-3).join("; ") || `it logged nothing; is the disk of ${layout.dataDir} full?`;
}

/** Among it the advice for the administrator of a real server. */
const LOGGED_AT_EVERY_START =
  /^(WARNING|oO0OoO0|Redis version=|Valkey version=|Configuration loaded|Server initialized)/;
