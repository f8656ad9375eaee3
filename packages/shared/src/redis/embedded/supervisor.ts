/**
 * The supervisor: a small process that runs the Redis of one state directory for all `drover` processes of one
 * user, and ends it when nobody uses it any more.
 *
 *     node supervisor.js STATE_DIR SOCKET_DIR IDLE_MS SERVER
 *
 * Anybody may start one at any time (embedded.ts does whenever it cannot reach one). A lock that the kernel
 * frees when its holder dies lets a single supervisor through; whoever finds a supervisor serving leaves. A user is an
 * open connection to `k.sock`, which the kernel closes however its process ends. It sends `use` once; to it
 * the supervisor writes lines: `loading` now and then while Redis starts, `ready` once it answers, or
 * `error MESSAGE` if it cannot be had.
 *
 * Nothing that a supervisor does needs it to end well: killed at any point, its successor adopts or ends the Redis
 * that it left, and repairs the data. So every unexpected error may just end the process.
 */
import { once } from "node:events";
import {
  closeSync,
  existsSync,
  fstatSync,
  ftruncateSync,
  openSync,
  rmdirSync,
  rmSync,
  statSync,
  watch,
  writeSync,
} from "node:fs";
import { connect, createServer, type Socket } from "node:net";
import { DatabaseSync } from "node:sqlite";
import { setTimeout as sleep } from "node:timers/promises";
import { errnoCode } from "../../errors.js";
import {
  checkSocketDir,
  type Layout,
  layoutOf,
  reasonOf,
  recordedSocketDir,
  redisSocket,
  supervisorSocket,
  writeRecord,
} from "./layout.js";
import { adoptRedis, compactAof, type LocalRedis, startRedis } from "./local-redis.js";

/** Time to wait for a supervisor that is stopping, in milliseconds: longer than it gives its Redis to shut down. */
const LOCK_WAIT_MS = 20_000;
/**
 * Time to wait for the first user, in milliseconds, if that is longer than idleMs: the one that started us tries
 * again every 100 ms.
 */
const FIRST_USER_MS = 2_000;
/** More deaths of Redis than this within DEATH_WINDOW_MS, and it is given up. */
const MAX_DEATHS = 5;
const DEATH_WINDOW_MS = 30_000;
/** Time after which Redis may compact its data when the last user has left, in milliseconds. */
const COMPACT_MS = 500;
const MAX_LOG_BYTES = 1 << 20;
/** setTimeout fires at once for anything longer. */
const MAX_TIMER_MS = 2 ** 31 - 1;
const SQLITE_BUSY = 5;

class Supervisor {
  private readonly users = new Set<Socket>();
  private readonly door = createServer((user) => this.admit(user));
  private readonly stopping = new AbortController();
  private readonly deaths: number[] = [];
  private idleTimer: NodeJS.Timeout | undefined;
  private compactTimer: NodeJS.Timeout | undefined;
  private ready = false;
  /** Whether there was a user yet, and not only another supervisor that looked whether we serve. */
  private used = false;
  /** The last word to every user, once Redis has been given up. */
  private farewell: string | undefined;

  constructor(
    private readonly layout: Layout,
    private readonly socketDir: string,
    private readonly idleMs: number,
    private readonly server: string,
  ) {}

  /** Serves until nobody uses Redis any more. @throws Error with one line if Redis cannot be had. */
  async run(): Promise<void> {
    await this.open();
    try {
      writeRecord(this.layout, this.socketDir);
      while (!this.stopping.signal.aborted) {
        const redis = await this.startOrAdopt();
        if (redis !== undefined) await this.serve(redis);
        if (this.users.size === 0) this.stop("Redis ended and nobody uses it");
        if (!this.stopping.signal.aborted) this.countDeath(redis !== undefined);
      }
    } catch (error) {
      await this.dismiss(reasonOf(error));
      throw error;
    }
  }

  private async serve(redis: LocalRedis): Promise<void> {
    this.ready = true;
    this.tell("ready");
    await redis.exited;
    this.ready = false;
  }

  private async open(): Promise<void> {
    const path = supervisorSocket(this.socketDir);
    // Left by a supervisor that was killed: we hold the lock, so nobody listens there.
    rmSync(path, { force: true });
    await new Promise<void>((resolve, reject) => {
      this.door.once("error", reject).listen(path, resolve);
    });
    this.watchFiles(path);
    this.armIdleTimer();
    for (const signal of ["SIGTERM", "SIGINT"] as const) process.once(signal, () => this.stop(signal));
  }

  private async startOrAdopt(): Promise<LocalRedis | undefined> {
    const task = {
      layout: this.layout,
      socketPath: redisSocket(this.socketDir),
      signal: this.stopping.signal,
      onProgress: () => this.tell("loading"),
      log,
    };
    return (await adoptRedis(task)) ?? (await startRedis(task, this.server));
  }

  /** @param served whether that Redis had come as far as serving; if not, it does not count as recovered. */
  private countDeath(served: boolean): void {
    const now = performance.now();
    this.deaths.push(now);
    while (served && (this.deaths[0] ?? now) < now - DEATH_WINDOW_MS) this.deaths.shift();
    if (this.deaths.length > MAX_DEATHS) {
      throw new Error(
        `redis-server died ${this.deaths.length} times in a short time; see ${this.layout.redisLog}`,
      );
    }
  }

  private admit(user: Socket): void {
    this.users.add(user);
    this.clearTimers();
    user.on("error", () => {});
    user.on("close", () => {
      this.users.delete(user);
      if (this.users.size === 0) this.armIdleTimer();
    });
    user.on("data", () => {
      this.used = true;
    });
    if (this.farewell !== undefined) user.end(this.farewell);
    else if (this.ready) user.write("ready\n");
  }

  private tell(line: string): void {
    for (const user of this.users) user.write(`${line}\n`);
  }

  private armIdleTimer(): void {
    this.clearTimers();
    const idleMs = this.used ? this.idleMs : Math.max(this.idleMs, FIRST_USER_MS);
    this.idleTimer = setTimeout(() => this.stop("idle"), idleMs);
    this.compactTimer = setTimeout(() => this.ready && compactAof(redisSocket(this.socketDir)), COMPACT_MS);
  }

  private clearTimers(): void {
    clearTimeout(this.idleTimer);
    clearTimeout(this.compactTimer);
  }

  /**
   * The door goes first, in one step: it takes no user from here on, and whoever was let in before knows from
   * the end of the connection that there is a new supervisor to be had. That one waits for our lock, which is to
   * say for the end of Redis.
   */
  private stop(why: string): void {
    if (this.stopping.signal.aborted) return;
    log(`stopping: ${why}`);
    this.close();
    for (const user of this.users) user.destroy();
    this.stopping.abort();
  }

  private close(): void {
    this.clearTimers();
    if (this.door.listening) this.door.close(); // Removes k.sock as well.
  }

  /**
   * Says to the users why there is no Redis. If it went wrong before the first one came, that one is awaited: the
   * log is a poor messenger when the disk is full.
   */
  private async dismiss(reason: string): Promise<void> {
    this.farewell = `error ${reason}\n`;
    if (!this.used) await Promise.race([once(this.door, "connection"), sleep(FIRST_USER_MS)]);
    this.close();
    const gone = [...this.users].map((user) => new Promise((resolve) => user.on("close", resolve)));
    for (const user of this.users) if (!user.writableEnded) user.end(this.farewell);
    await Promise.race([Promise.all(gone), sleep(1_000)]);
  }

  /**
   * Without its socket a supervisor cannot be found, and without its lock file it is not the only one: somebody
   * logged out (which takes XDG_RUNTIME_DIR away), a cleaner of /tmp came by, or the state directory was
   * removed. Then we stop, and users that still live start another.
   */
  private watchFiles(socketPath: string): void {
    const identify = (path: string) => statSync(path, { throwIfNoEntry: false })?.ino;
    const [socketId, lockId] = [identify(socketPath), identify(this.layout.lockFile)];
    const check = () => {
      if (!this.door.listening) return; // We have removed it ourselves.
      if (identify(socketPath) !== socketId || identify(this.layout.lockFile) !== lockId) {
        this.stop("its socket or its lock file was removed");
      }
    };
    for (const path of [this.socketDir, this.layout.lockFile]) {
      try {
        watch(path, check).on("error", () => {});
      } catch {
        // No watches left on this machine, or a file system without them: we go without this care.
      }
    }
  }
}

/**
 * Takes the lock, or ends the process if another supervisor serves already. SQLite is the one thing in Node that
 * takes a lock of the kernel's. Nothing is ever written to that database, so this works on a full disk too.
 * Once the lock is ours, nothing else in this process may open the file: with POSIX locks, closing any
 * descriptor of it frees the lock.
 */
async function takeLock(layout: Layout, wantedDir: string): Promise<DatabaseSync> {
  const deadline = performance.now() + LOCK_WAIT_MS;
  for (let pause = 5; ; pause = Math.min(pause * 1.5, 50)) {
    closeSync(openSync(layout.lockFile, "a", 0o600));
    const before = statSync(layout.lockFile).ino;
    const database = new DatabaseSync(layout.lockFile);
    try {
      database.exec("PRAGMA journal_mode = MEMORY; BEGIN EXCLUSIVE");
      // Whoever removed the state directory while we waited has removed the lock that we got.
      if (statSync(layout.lockFile, { throwIfNoEntry: false })?.ino === before) return database;
    } catch (error) {
      if (!(error instanceof Error && "errcode" in error && error.errcode === SQLITE_BUSY)) {
        throw new Error(`cannot lock ${layout.lockFile}: ${reasonOf(error)}`);
      }
    }
    database.close();
    if (await isServed(recordedSocketDir(layout), wantedDir)) process.exit(0);
    if (performance.now() > deadline) {
      throw new Error(`another keeper holds ${layout.lockFile}, but cannot be reached`);
    }
    await sleep(pause);
  }
}

/** Whether a supervisor listens in one of these directories. */
async function isServed(...socketDirs: (string | undefined)[]): Promise<boolean> {
  for (const dir of new Set(socketDirs)) {
    if (dir === undefined || !existsSync(supervisorSocket(dir))) continue;
    const served = await new Promise<boolean>((resolve) => {
      const socket = connect(supervisorSocket(dir), () => {
        resolve(true);
        socket.destroy();
      });
      // A queue that is full is a queue.
      socket.on("error", (error) => resolve(errnoCode(error) === "EAGAIN"));
    });
    if (served) return true;
  }
  return false;
}

/** Where the predecessor was, so that its users and its Redis need not move; else where our starter wants it. */
function settleSocketDir(layout: Layout, wantedDir: string): string {
  const former = recordedSocketDir(layout);
  if (former !== undefined && former !== wantedDir) {
    try {
      checkSocketDir(former, true);
      return former;
    } catch {
      // Gone with the session that it belonged to.
    }
  }
  checkSocketDir(wantedDir, true);
  return wantedDir;
}

/** Our stderr is the log file. A line that a full disk does not take is not worth dying for. */
function log(line: string): void {
  try {
    writeSync(2, `${new Date().toISOString()} [${process.pid}] ${line}\n`);
  } catch {
    // There is nowhere to say it.
  }
}

async function main(stateDir = "", wantedDir = "", idleMs = "", server = ""): Promise<void> {
  process.umask(0o077);
  const layout = layoutOf(stateDir);
  const lock = await takeLock(layout, wantedDir);
  if (fstatSync(2).size > MAX_LOG_BYTES) ftruncateSync(2);
  const socketDir = settleSocketDir(layout, wantedDir);
  try {
    await new Supervisor(layout, socketDir, Math.min(Number(idleMs), MAX_TIMER_MS), server).run();
  } finally {
    try {
      rmSync(redisSocket(socketDir), { force: true });
      rmdirSync(socketDir);
    } catch {
      // It was removed already, or is not empty; the next supervisor does not mind.
    }
    lock.close(); // Kept reachable up to here: the garbage collector would free the lock.
  }
}

main(...process.argv.slice(2)).then(
  () => process.exit(0),
  (error: unknown) => {
    log(`error: ${reasonOf(error)}`);
    process.exit(1);
  },
);
