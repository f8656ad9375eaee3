/**
 * The embedded Redis: one private redis-server per state directory, shared by all `drover` processes of one
 * user. It belongs to none of them but to a supervisor process (supervisor.ts), so it outlives the first one, survives
 * the death of any, and stops by itself when nobody uses it.
 */
import { type ChildProcess, spawn } from "node:child_process";
import { accessSync, closeSync, constants, existsSync, openSync, readFileSync, statSync } from "node:fs";
import { connect, type Socket } from "node:net";
import { delimiter, isAbsolute, join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import {
  checkSocketDir,
  chooseSocketDir,
  EmbeddedError,
  type Layout,
  prepareStateDir,
  readRecord,
  reasonOf,
  recordedSocketDir,
  redisSocket,
  supervisorSocket,
} from "./layout.js";

export { EmbeddedError };

export interface EmbeddedOptions {
  /** Where the data lives, in `redis/`; created with mode 0700 if missing. One state directory has one Redis. */
  stateDir: string;
  /**
   * How long to wait for a sign of life, in milliseconds. A Redis that loads a lot of data gives some, so it
   * may take longer than this. Defaults to 15,000.
   */
  startTimeoutMs?: number;
  /**
   * How long Redis stays after the last process has left, in milliseconds. The process that starts it decides
   * for all. Defaults to 60,000.
   */
  idleMs?: number;
  /**
   * Called with one line when Redis was lost after it had been opened and cannot be brought back yet. It is
   * tried again and again until `close`. Default: nothing is called.
   */
  onTrouble?: (message: string) => void;
}

export interface EmbeddedRedis {
  /**
   * Path of the unix socket of Redis. It stays the same when Redis is restarted, unless its directory has
   * become unusable (a removed XDG_RUNTIME_DIR).
   */
  readonly socketPath: string;
  /** Stops using Redis. It goes on for others, and otherwise stops after `idleMs`. Exiting does the same. */
  close(): void;
}

/**
 * Opens the Redis of a state directory, and starts it if it is not running (about 0.1 s). Until `close` or the
 * end of the process it is kept running, and brought back with its data should it or its supervisor die: clients
 * need only reconnect. This keeps no process alive that has nothing else to do.
 *
 * @throws EmbeddedError if it cannot be had: no redis-server installed, an unusable state directory, damaged
 *   data, a full disk, no sign of life within `startTimeoutMs`.
 */
export async function openEmbedded(options: EmbeddedOptions): Promise<EmbeddedRedis> {
  if (process.platform === "win32") {
    throw new EmbeddedError("the embedded Redis needs unix sockets: name a Redis with --redis URL");
  }
  const link = new SupervisorLink(prepareStateDir(options.stateDir), {
    startTimeoutMs: options.startTimeoutMs ?? GREETING_MS,
    idleMs: options.idleMs ?? 60_000,
    onTrouble: options.onTrouble ?? (() => {}),
  });
  await link.open();
  return {
    get socketPath() {
      return redisSocket(link.socketDir);
    },
    close: () => link.close(),
  };
}

/**
 * The server to run: `valkey-server` or else `redis-server`, from PATH, then from where packages put it on
 * systems that leave that directory out of PATH.
 * @returns an absolute path, or undefined if there is none.
 */
export function findRedisServer(env: NodeJS.ProcessEnv = process.env): string | undefined {
  const path = (env.PATH ?? "").split(delimiter).filter(isAbsolute);
  const usual = ["/usr/sbin", "/usr/local/bin", "/usr/local/sbin", "/opt/homebrew/bin"];
  for (const dirs of [path, usual]) {
    for (const name of ["valkey-server", "redis-server"]) {
      for (const dir of dirs) {
        const file = join(dir, name);
        if (isExecutable(file)) return file;
      }
    }
  }
  return undefined;
}

const NO_SERVER =
  "no valkey-server or redis-server found: install one (Debian/Ubuntu: apt-get install redis-server; " +
  "macOS: brew install valkey), or name a Redis with --redis URL";

/** How long a Redis that loads its data may be silent, in milliseconds. */
const GREETING_MS = 15_000;

const SUPERVISOR = fileURLToPath(new URL("./supervisor.js", import.meta.url));

type ResolvedOptions = Required<Omit<EmbeddedOptions, "stateDir">>;

/** This process's stake in the Redis: an open connection to its supervisor, renewed whenever it breaks. */
class SupervisorLink {
  /** Where the supervisor was reached last. */
  socketDir: string;
  private socket: Socket | undefined;
  /** The supervisor that we started, while it runs. It need not be the one that we reach. */
  private started: ChildProcess | undefined;
  private closed = false;

  constructor(
    private readonly layout: Layout,
    private readonly settings: ResolvedOptions,
  ) {
    this.socketDir = chooseSocketDir(layout.stateDir);
  }

  /** @throws EmbeddedError */
  async open(): Promise<void> {
    await this.reach(false);
  }

  close(): void {
    this.closed = true;
    this.socket?.destroy();
  }

  /**
   * Tries to reach a supervisor, and starts one whenever there is none, until one says that Redis is ready. Any
   * number of processes may do so at once: all but one of the supervisors leave again.
   * @param background whether this must not keep the process alive.
   */
  private async reach(background: boolean): Promise<void> {
    const { startTimeoutMs } = this.settings;
    let deadline = performance.now() + startTimeoutMs;
    let failure: string | undefined;
    for (let pause = 5; !this.closed; pause = Math.min(pause * 1.1, 100)) {
      // Looked up anew each time: the next supervisor may listen elsewhere.
      const socketDir = locate(this.layout);
      const path = supervisorSocket(socketDir);
      // Where there is surely none it is started in this turn of the event loop: it comes up while the caller goes on.
      const greeting: Greeting = existsSync(path)
        ? await greet(path, startTimeoutMs, background)
        : { outcome: "absent" };
      switch (greeting.outcome) {
        case "ready":
          this.hold(greeting.socket, socketDir);
          return;
        case "error":
          throw new EmbeddedError(
            `the embedded Redis of ${this.layout.stateDir} failed: ${greeting.message}`,
          );
        case "silent":
          throw this.timedOut();
        case "left":
          // It was there a moment ago, so its successor gets the full time.
          deadline = performance.now() + startTimeoutMs;
          break;
        case "absent":
          if (failure !== undefined) throw new EmbeddedError(failure);
          if (performance.now() > deadline) throw this.timedOut();
      }
      if (this.started === undefined && !this.closed) {
        this.start((message) => {
          failure = message;
        });
      }
      await sleep(pause, undefined, { ref: !background });
    }
  }

  private hold(socket: Socket, socketDir: string): void {
    if (this.closed) {
      socket.destroy();
      return;
    }
    this.socketDir = socketDir;
    this.socket = socket.unref();
    socket.once("close", () => {
      if (!this.closed) void this.regain();
    });
  }

  /** The supervisor is gone, but we still need Redis. Never rejects, and never gives up before `close`. */
  private async regain(): Promise<void> {
    for (let pause = 500; !this.closed; pause = Math.min(pause * 2, 30_000)) {
      try {
        await this.reach(true);
        return;
      } catch (error) {
        this.settings.onTrouble(reasonOf(error));
      }
      await sleep(pause, undefined, { ref: false });
    }
  }

  /**
   * Starts a supervisor that has nothing of ours: not the terminal's process group (Ctrl-C is for us, not for
   * Redis), no stdio (a pipe that we write to ends when we do), not the directory, and of the environment only
   * what finds programs and libraries (NODE_OPTIONS may hold a debugger's port).
   * @param onFailure is called with one line if that supervisor fails.
   * @throws EmbeddedError if there is nothing to start.
   */
  private start(onFailure: (message: string) => void): void {
    const server = findRedisServer();
    if (server === undefined) throw new EmbeddedError(NO_SERVER);
    const socketDir = chooseSocketDir(this.layout.stateDir);
    const env: NodeJS.ProcessEnv = {};
    for (const name of ["PATH", "HOME", "TZ", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH"]) {
      if (process.env[name] !== undefined) env[name] = process.env[name];
    }
    const { stateDir, supervisorLog } = this.layout;
    let log: number;
    try {
      log = openSync(supervisorLog, "a", 0o600);
    } catch (error) {
      throw new EmbeddedError(`cannot write ${supervisorLog}: ${reasonOf(error)}`);
    }
    const supervisor = spawn(
      process.execPath,
      // Node 22 still calls node:sqlite experimental.
      [
        "--disable-warning=ExperimentalWarning",
        SUPERVISOR,
        stateDir,
        socketDir,
        `${this.settings.idleMs}`,
        server,
      ],
      { cwd: "/", detached: true, env, stdio: ["ignore", log, log] },
    );
    closeSync(log);
    this.started = supervisor;
    supervisor.unref();
    supervisor.once("error", (error) => {
      this.started = undefined;
      onFailure(`cannot start a process to keep the embedded Redis: ${reasonOf(error)}`);
    });
    supervisor.once("exit", (code) => {
      this.started = undefined;
      // 0: another one serves. A signal: somebody killed it, which is no reason not to try again.
      if (code === 0 || code === null) return;
      onFailure(
        `the embedded Redis of ${stateDir} cannot be kept: ` +
          (lastError(supervisorLog, supervisor.pid) ??
            `its keeper ended with exit code ${code}; see ${supervisorLog}`),
      );
    });
  }

  private timedOut(): EmbeddedError {
    const { stateDir, supervisorLog } = this.layout;
    const record = readRecord(this.layout);
    const supervisor =
      record === undefined
        ? "has no keeper yet"
        : `is kept by process ${record.pid} on ${record.host}, which does not answer at ${supervisorSocket(record.socketDir)}`;
    return new EmbeddedError(
      `no sign of life from the embedded Redis of ${stateDir} for ${this.settings.startTimeoutMs / 1000} s: it ` +
        `${supervisor}; see ${supervisorLog}, end that process, or name another state directory`,
    );
  }
}

/**
 * Where a supervisor is to be found, if there is one: where the last one was, if that is still a safe place.
 * @throws EmbeddedError if no place is safe.
 */
function locate(layout: Layout): string {
  const recorded = recordedSocketDir(layout);
  try {
    if (recorded !== undefined && checkSocketDir(recorded)) return recorded;
  } catch {
    // Somebody else's by now. The next supervisor goes elsewhere as well.
  }
  const chosen = chooseSocketDir(layout.stateDir);
  checkSocketDir(chosen);
  return chosen;
}

type Greeting =
  | { outcome: "ready"; socket: Socket }
  | { outcome: "error"; message: string }
  /** Nobody listens. */
  | { outcome: "absent" }
  /** It hung up before it said anything final: it is stopping, or was killed. */
  | { outcome: "left" }
  | { outcome: "silent" };

/** Connects to a supervisor and waits for what it has to say. Never rejects. */
function greet(path: string, silenceMs: number, background: boolean): Promise<Greeting> {
  return new Promise((resolve) => {
    let text = "";
    let connected = false;
    const socket = connect(path).setEncoding("utf8");
    const timer = setTimeout(() => settle({ outcome: "silent" }), silenceMs);
    if (background) {
      socket.unref();
      timer.unref();
    }
    const settle = (greeting: Greeting) => {
      clearTimeout(timer);
      if (greeting.outcome !== "ready") socket.destroy();
      resolve(greeting);
    };
    socket.on("error", () => {}); // "close" follows.
    socket.on("connect", () => {
      connected = true;
      socket.write("use\n");
    });
    socket.on("close", () => settle({ outcome: connected ? "left" : "absent" }));
    socket.on("data", (chunk: string) => {
      timer.refresh();
      text += chunk;
      const verdict = /^(?:loading\n)*(?:(ready)|error (.*))\n/.exec(text);
      if (verdict === null) return;
      socket.removeAllListeners("data").resume(); // It is "ready" again after each restart of Redis.
      settle(verdict[1] ? { outcome: "ready", socket } : { outcome: "error", message: verdict[2] ?? "" });
    });
  });
}

function isExecutable(file: string): boolean {
  try {
    accessSync(file, constants.X_OK);
    return statSync(file).isFile();
  } catch {
    return false;
  }
}

/** What the supervisor of this pid logged as its last error. */
function lastError(supervisorLog: string, pid: number | undefined): string | undefined {
  try {
    const mark = `[${pid}] error: `;
    const line = readFileSync(supervisorLog, "utf8")
      .split("\n")
      .findLast((text) => text.includes(mark));
    return line?.slice(line.indexOf(mark) + mark.length);
  } catch {
    return undefined;
  }
}
