import { type ChildProcess, spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import { mkdirSync, readFileSync, statSync, truncateSync } from "node:fs";
import { type AddressInfo, createServer } from "node:net";
import { basename, dirname, join } from "node:path";
import { createInterface } from "node:readline";
import { connect } from "@drover/shared/redis/connect";
import { findRedisServer } from "@drover/shared/redis/embedded/embedded";
import { until } from "../harness/gate.js";

const SETTINGS = [
  ...["--bind", "127.0.0.1", "--save", "", "--maxmemory-policy", "noeviction"],
  ...["--appendonly", "yes", "--appendfsync", "everysec", "--hash-max-listpack-value", "1024"],
];
const LOOK_EVERY_MS = 50;
/** Sizes of the append-only file are remembered for so long. */
const REMEMBERED_MS = 10_000;

/** What of its data a Redis loses when its machine dies. */
export interface Loss {
  /** The time before the death whose writes are lost. With `appendfsync everysec` it can be up to two seconds. */
  readonly lostMs: number;
  /** Bytes after that which are kept: they end in the middle of a command. */
  readonly tornBytes: number;
}

/**
 * A redis-server with an append-only file, on a TCP port that stays the same. A `kill -9` alone loses nothing, the
 * kernel has what was acknowledged; {@link crash} with a loss is what the death of the machine does.
 */
export class RedisUnderFire {
  /** Files and sizes that the last {@link crash} cut. */
  lastCut = "";
  readonly #sizes: { atMs: number; file: string; size: number }[] = [];
  #shell: ChildProcess | undefined;
  #watch: NodeJS.Timeout | undefined;

  private constructor(
    private readonly directory: string,
    readonly port: number,
    private readonly server: string,
  ) {}

  /** @param directory of its own, for its data and its log. */
  static async launch(directory: string): Promise<RedisUnderFire> {
    const server = findRedisServer();
    if (server === undefined)
      throw new Error("no redis-server or valkey-server on PATH: make setup installs one");
    mkdirSync(directory, { recursive: true });
    const redis = new RedisUnderFire(directory, await freePort(), server);
    await redis.start();
    return redis;
  }

  get url(): string {
    return `redis://127.0.0.1:${this.port}`;
  }

  get running(): boolean {
    return this.#shell !== undefined;
  }

  /** Mends the end of the append-only file, starts the server with it, and waits until it takes commands. */
  async start(): Promise<void> {
    this.#mend();
    // The shell's input ends with this process, however that ends, and the server with it.
    const script = '"$@" >>redis.log 2>&1 & echo $!; read -r _; kill -9 $!; wait $!';
    const args = ["-c", script, "sh", this.server, "--port", String(this.port), ...SETTINGS];
    const shell = spawn("sh", args, { cwd: this.directory, stdio: ["pipe", "pipe", "ignore"] });
    this.#shell = shell;
    await once(createInterface({ input: shell.stdout as NodeJS.ReadableStream }), "line");
    const address = { url: this.url };
    const redis = await until("Redis to answer", () => connect(address, 1_000).catch(() => undefined));
    redis.disconnect();
    this.#sizes.length = 0;
    this.#look();
    this.#watch = setInterval(() => this.#look(), LOOK_EVERY_MS);
  }

  /** kill -9, and the loss of what was written last. Nothing listens when this resolves. */
  async crash(loss?: Loss): Promise<void> {
    const shell = this.#shell;
    if (!shell) return;
    this.#shell = undefined;
    clearInterval(this.#watch);
    const closed = once(shell, "close");
    const diedMs = performance.now();
    shell.stdin?.end();
    await closed;
    this.lastCut = loss ? this.#cut(diedMs - loss.lostMs, loss.tornBytes) : "";
  }

  async stop(): Promise<void> {
    await this.crash();
  }

  /** The last incremental file: the one that is being written to. */
  #file(): string {
    const manifest = readFileSync(join(this.#aofDirectory, "appendonly.aof.manifest"), "utf8");
    const name = [...manifest.matchAll(/^file (\S+) seq \d+ type i/gm)].at(-1)?.[1];
    if (name === undefined) throw new Error(`no incremental file in the manifest\n${manifest}`);
    return name;
  }

  get #aofDirectory(): string {
    return join(this.directory, "appendonlydir");
  }

  #look(): void {
    try {
      const file = this.#file();
      const { size } = statSync(join(this.#aofDirectory, file));
      const atMs = performance.now();
      this.#sizes.push({ atMs, file, size });
      while ((this.#sizes[0]?.atMs ?? atMs) < atMs - REMEMBERED_MS) this.#sizes.shift();
    } catch {
      // just being rewritten
    }
  }

  #cut(fromMs: number, tornBytes: number): string {
    const file = this.#file();
    const path = join(this.#aofDirectory, file);
    const { size } = statSync(path);
    // What was there at the start stays.
    const then = this.#sizes.findLast(({ atMs }) => atMs <= fromMs) ?? this.#sizes[0];
    // What an earlier file held was synced when this one was begun.
    const left = Math.min(size, (then?.file === file ? then.size : 0) + tornBytes);
    truncateSync(path, left);
    return `${file}: ${size} -> ${left} bytes`;
  }

  /** As the documentation of Redis asks before a start: 7.0 may otherwise execute half of a torn transaction. */
  #mend(): void {
    const manifest = join(this.#aofDirectory, "appendonly.aof.manifest");
    if (!statSync(manifest, { throwIfNoEntry: false })) return;
    const tool = join(dirname(this.server), basename(this.server).replace("-server", "-check-aof"));
    const { status, stdout, stderr, error } = spawnSync(tool, ["--fix", manifest], {
      input: "y\n",
      encoding: "utf8",
    });
    if (status !== 0) throw error ?? new Error(`${tool} --fix: exit ${status}\n${stdout}${stderr}`);
  }
}

async function freePort(): Promise<number> {
  const server = createServer();
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address() as AddressInfo;
  const closed = once(server, "close");
  server.close();
  await closed;
  return port;
}
