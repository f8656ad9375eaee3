import { type ChildProcess, execFileSync, spawn } from "node:child_process";
import {
  closeSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readdirSync,
  readFileSync,
  rmSync,
} from "node:fs";
import { join, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { until } from "./gate.js";

export const REPOSITORY = fileURLToPath(new URL("../..", import.meta.url)).replace(/\/$/, "");
const MAIN = join(REPOSITORY, "packages/cli/bundle/main.js");

export interface StartOptions {
  readonly env?: Readonly<Record<string, string | undefined>>;
  readonly cwd?: string;
  /** Given to standard input, which is empty otherwise. */
  readonly input?: string;
  /** After this long the process is killed and the result is an error. Defaults to 60,000. */
  readonly timeoutMs?: number;
  /** Runs the process as this user. Needs root. */
  readonly uid?: number;
  /** Standard output goes to this file; `stdout` of the result is then empty. */
  readonly stdoutTo?: string;
  /** Gives it a terminal: both of its streams come as `stdout`, with all that moves the cursor. Needs python3. */
  readonly terminal?: boolean;
}

/** Runs a command in a terminal of 100 columns and passes its exit code on. */
const IN_TERMINAL = [
  "python3",
  "-c",
  "import os, pty, sys; sys.exit(os.waitstatus_to_exitcode(pty.spawn(sys.argv[1:])))",
  "sh",
  "-c",
  'stty cols 100 rows 30; exec "$@"',
  "sh",
];

export interface Result {
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
  readonly stdout: string;
  readonly stderr: string;
  readonly durationMs: number;
  /** Most memory that the process held, in MiB; undefined where /proc does not tell. */
  readonly peakMiB: number | undefined;
}

/** One element of `drover sync --json`. */
export interface Item {
  readonly run: string;
  /** A file that was removed at the destination has none: null. */
  readonly source: string;
  readonly destination: string;
  readonly checksum: string | null;
  readonly status: "ok" | "failed" | "blocked" | "locked" | "cancelled";
  readonly outcome: "copied" | "unchanged" | "deleted" | "failed" | "blocked" | "locked" | "cancelled";
  readonly bytes: number;
  readonly verified_by: string | null;
  /** Present where it is true. */
  readonly unconditional?: true;
  readonly permissions_lost?: true;
  readonly attempts: number;
  readonly duration_ms: number;
  readonly error?: { readonly class: string; readonly message: string };
}

/** A running `drover` command, in a process group of its own as a shell would give it. */
export class DroverProcess {
  stdout = "";
  stderr = "";
  readonly result: Promise<Result>;
  readonly #child: ChildProcess;
  readonly #waiting = new Set<() => void>();
  readonly #terminal: boolean;
  #ended = false;
  #peakMiB: number | undefined;

  constructor(args: readonly string[], env: NodeJS.ProcessEnv, options: StartOptions & { cwd: string }) {
    const { uid, terminal = false } = options;
    const started = performance.now();
    const [program = "", ...rest] = [...(terminal ? IN_TERMINAL : []), process.execPath, MAIN, ...args];
    const output = options.stdoutTo === undefined ? "pipe" : openSync(options.stdoutTo, "w");
    const child: ChildProcess = spawn(program, rest, {
      cwd: options.cwd,
      env,
      detached: true,
      stdio: ["pipe", output, "pipe"],
      ...(uid === undefined ? {} : { uid, gid: uid }),
    });
    this.#child = child;
    this.#terminal = terminal;
    if (typeof output === "number") closeSync(output);
    child.stdin?.on("error", () => {}); // it may leave without reading its input
    if (!terminal) child.stdin?.end(options.input ?? "");
    child.stdout?.setEncoding("utf8").on("data", (text: string) => this.#heard("stdout", text));
    child.stderr?.setEncoding("utf8").on("data", (text: string) => this.#heard("stderr", text));
    const memory = setInterval(() => this.#look(), 50);
    const timeoutMs = options.timeoutMs ?? 60_000;
    this.result = new Promise((fulfil, reject) => {
      const timer = setTimeout(() => {
        this.kill("SIGKILL");
        reject(new Error(`drover ${args.join(" ")} ran for more than ${timeoutMs} ms\n${this.output}`));
      }, timeoutMs);
      const end = () => {
        clearTimeout(timer);
        clearInterval(memory);
        this.#ended = true;
        for (const look of [...this.#waiting]) look();
      };
      child.once("error", (error) => {
        end();
        reject(error);
      });
      child.once("close", (code, signal) => {
        end();
        const durationMs = performance.now() - started;
        const { stdout, stderr } = this;
        fulfil({ code, signal, stdout, stderr, durationMs, peakMiB: this.#peakMiB });
      });
    });
    // A test that fails before it awaits the result must not also fail for that.
    this.result.catch(() => {});
  }

  get pid(): number {
    return this.#child.pid ?? -1;
  }

  get output(): string {
    return `--- stdout\n${this.stdout}--- stderr\n${this.stderr}`;
  }

  get running(): boolean {
    return !this.#ended;
  }

  /** A signal to the process alone. */
  kill(signal: NodeJS.Signals): void {
    if (!this.#ended) this.#child.kill(signal);
  }

  /** Ctrl-C: a terminal sends SIGINT to the whole process group, and without one we do. */
  interrupt(): void {
    if (this.#ended) return;
    if (this.#terminal) this.#child.stdin?.write("\u0003");
    else process.kill(-this.pid, "SIGINT");
  }

  /** Fulfilled when the pattern has appeared on a stream. Fails if the process ends without saying it. */
  async waitFor(stream: "stdout" | "stderr", expected: RegExp, timeoutMs = 20_000): Promise<RegExpExecArray> {
    const find = () => expected.exec(this[stream]);
    return await new Promise((fulfil, reject) => {
      const done = (act: () => void) => {
        clearTimeout(timer);
        this.#waiting.delete(look);
        act();
      };
      const look = () => {
        const match = find();
        if (match) done(() => fulfil(match));
        else if (this.#ended) done(() => reject(new Error(`ended without ${expected}\n${this.output}`)));
      };
      const timer = setTimeout(
        () => done(() => reject(new Error(`no ${expected} in ${timeoutMs} ms\n${this.output}`))),
        timeoutMs,
      );
      this.#waiting.add(look);
      look();
    });
  }

  #heard(stream: "stdout" | "stderr", text: string): void {
    this[stream] += text;
    for (const look of [...this.#waiting]) look();
  }

  #look(): void {
    try {
      const match = /^VmHWM:\s+(\d+) kB/m.exec(readFileSync(`/proc/${this.pid}/status`, "utf8"));
      if (match) this.#peakMiB = Number(match[1]) / 1024;
    } catch {
      // not Linux, or just gone
    }
  }
}

/**
 * A home directory, state directory and runtime directory of their own, below a path short enough for unix
 * sockets. Everything that was started in it, the embedded Redis too, ends with {@link dispose}.
 */
export class Sandbox {
  readonly root = mkdtempSync("/tmp/dv-");
  readonly home = join(this.root, "home");
  readonly state = join(this.root, "state");
  readonly runtime = join(this.root, "run");
  readonly #processes = new Set<DroverProcess>();
  #works = 0;

  constructor() {
    for (const directory of [this.home, this.state, this.runtime]) mkdirSync(directory, { mode: 0o700 });
  }

  /** A fresh directory for one test. */
  work(): string {
    this.#works += 1;
    const directory = join(this.root, `w${this.#works}`);
    mkdirSync(directory);
    return directory;
  }

  start(args: readonly string[], options: StartOptions = {}): DroverProcess {
    const env: NodeJS.ProcessEnv = { ...process.env };
    for (const name of Object.keys(env)) {
      if (
        /^(DROVER_|REDIS_|AWS_|(SCRIPT_NAME|SCRIPT_VERSION|REPO_ROOT|RUN_ID|NODE_OPTIONS|NODE_V8_COVERAGE)$)/.test(
          name,
        )
      ) {
        delete env[name];
      }
      if (/^(https?_proxy|all_proxy|no_proxy|vitest.*|ci|no_color|force_color)$/i.test(name))
        delete env[name];
    }
    Object.assign(env, {
      HOME: this.home,
      XDG_STATE_HOME: this.state,
      XDG_CONFIG_HOME: undefined,
      XDG_RUNTIME_DIR: this.runtime,
      DROVER_EMBEDDED_IDLE_MS: "1000",
      NODE_ENV: undefined,
      TERM: "xterm-256color",
      ...options.env,
    });
    const child = new DroverProcess(args, env, { ...options, cwd: options.cwd ?? this.root });
    this.#processes.add(child);
    void child.result.catch(() => {}).finally(() => this.#processes.delete(child));
    return child;
  }

  async run(args: readonly string[], options: StartOptions = {}): Promise<Result> {
    return await this.start(args, options).result;
  }

  /** `drover sync … --json`, its output parsed. */
  async sync(args: readonly string[], options: StartOptions = {}): Promise<Result & { items: Item[] }> {
    const result = await this.run(["sync", ...args, "--json"], options);
    return { ...result, items: parseItems(result) };
  }

  /** Process ids of the Redis servers that live in this sandbox. */
  redisPids(): number[] {
    return this.#processTable()
      .filter(({ program }) => /\b(redis|valkey)-server$/.test(program))
      .map(({ pid }) => pid);
  }

  /** Every process whose command line names this sandbox. */
  #processTable(): { pid: number; program: string }[] {
    const table = execFileSync("ps", ["-A", "-ww", "-o", "pid=,args="], { encoding: "utf8" });
    return table
      .split("\n")
      .filter((line) => line.includes(`${this.root}/`))
      .map((line) => line.trim().split(/\s+/))
      .map(([pid = "", program = ""]) => ({ pid: Number(pid), program }));
  }

  /** Contents of every file below the state, runtime and home directories but Redis's own data. */
  stateFiles(): { path: string; text: string }[] {
    return [this.state, this.runtime, this.home].flatMap((directory) =>
      filesBelow(directory)
        .filter((path) => !/(\.aof|\.rdb|\.manifest|\.sock)$/.test(path))
        .map((path) => ({ path, text: readFileSync(path, "latin1") })),
    );
  }

  async dispose(): Promise<void> {
    for (const child of this.#processes) {
      child.kill("SIGKILL");
      await child.result.catch(() => {});
    }
    // What it left running in the background, the embedded Redis and whatever looks after it.
    await until("the sandbox's processes to end", () => {
      const left = this.#processTable();
      for (const { pid } of left) {
        try {
          process.kill(pid, "SIGKILL");
        } catch {
          // ended by itself meanwhile
        }
      }
      return left.length === 0;
    });
    rmSync(this.root, { recursive: true, force: true, maxRetries: 5, retryDelay: 100 });
  }
}

export const hasTerminal = (() => {
  try {
    execFileSync("python3", ["-c", "import pty"], { stdio: "ignore" });
    return true;
  } catch {
    return false;
  }
})();

export function parseItems(result: Result): Item[] {
  try {
    const items: unknown = JSON.parse(result.stdout);
    if (Array.isArray(items)) return items as Item[];
  } catch {
    // reported below, with everything that helps
  }
  throw new Error(
    `exit ${result.code}, no JSON array on stdout\n${result.stdout}\n--- stderr\n${result.stderr}`,
  );
}

/** Paths of all regular files and links below a directory, sorted; none where there is no directory. */
export function filesBelow(directory: string): string[] {
  if (!existsSync(directory)) return [];
  return readdirSync(directory, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile() || entry.isSymbolicLink())
    .map((entry) => resolve(entry.parentPath, entry.name))
    .sort();
}

/** Staging files that were left behind below a directory. */
export function leftovers(directory: string): string[] {
  return filesBelow(directory).filter((path) => /\/\.drover-[^/]*$/.test(path));
}
