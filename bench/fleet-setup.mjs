// A fleet to measure: a Redis of its own and workers, on loopback, and the slow origin.
import { spawn } from "node:child_process";
import { closeSync, openSync, readFileSync } from "node:fs";
import { connect } from "node:net";
import { join } from "node:path";
import { Keys } from "@drover/shared/protocol/keys";
import { Ledger } from "@drover/shared/protocol/ledger";
import { Redis } from "ioredis";
import { emptyDir, freePort, redisServer, root, sleep, sum, tail } from "./common.mjs";
import { countersOf, cpuOf, end, isAlive, peakRssOf } from "./system.mjs";

/** As Drover's own Redis is set (packages/shared/src/redis/embedded/local-redis.ts). */
export const REDIS_OPTIONS = [
  ...["--appendonly", "yes", "--appendfsync", "everysec", "--save", "", "--maxmemory-policy", "noeviction"],
  ...["--hash-max-ziplist-value", "1024", "--hash-max-ziplist-entries", "512"],
];
/** Without what is not Redis' default and matters for memory. */
export const PLAIN_REDIS_OPTIONS = REDIS_OPTIONS.slice(0, 8);

const START_MS = 20_000;

/** Asks again and again. @throws after `timeoutMs`. */
export async function until(what, ask, { everyMs = 20, timeoutMs = 600_000 } = {}) {
  const deadline = Date.now() + timeoutMs;
  for (;;) {
    const answer = await ask();
    if (answer) return answer;
    if (Date.now() > deadline) throw new Error(`${what}: not after ${timeoutMs / 1000} s`);
    await sleep(everyMs);
  }
}

/** Redis and the workers of one measurement. */
export class Fleet {
  workers = [];
  keys = new Keys();

  constructor(dir, env, drover) {
    Object.assign(this, { dir, env, drover });
  }

  /**
   * Starts Redis; workers come later.
   *
   * @param dir for its data and what the workers say; emptied.
   * @param drover the command, as words.
   */
  static async start({ dir, env, drover, options = REDIS_OPTIONS }) {
    emptyDir(dir);
    const fleet = new Fleet(dir, env, drover);
    const port = await freePort();
    fleet.url = `redis://127.0.0.1:${port}`;
    const where = ["--port", String(port), "--bind", "127.0.0.1", "--dir", dir];
    fleet.server = fleet.#spawn("redis", [redisServer(), ...where, ...options]);
    fleet.redis = new Redis(port, "127.0.0.1", { maxRetriesPerRequest: null });
    fleet.redis.on("error", () => {}); // It is tried again, and the next line has a limit.
    fleet.ledger = new Ledger(fleet.redis, fleet.keys, "bench");
    await Promise.race([
      fleet.redis.ping(),
      sleep(START_MS).then(() => {
        throw new Error(`Redis does not start: ${tail(join(dir, "redis.log"))}`);
      }),
    ]);
    return fleet;
  }

  #spawn(name, command) {
    const log = openSync(join(this.dir, `${name}.log`), "w");
    const child = spawn(command[0], command.slice(1), {
      cwd: this.dir,
      env: this.env,
      detached: true,
      stdio: ["ignore", log, log],
    });
    closeSync(log);
    child.on("error", () => {});
    return child;
  }

  /** Starts workers; resolves when all take jobs. */
  async start(workers, concurrency, to) {
    const command = [...this.drover, "worker", "--redis", this.url, "--root", to];
    const started = Array.from({ length: workers }, (_, at) => {
      const name = `worker-${this.workers.length + at}`;
      return { name, child: this.#spawn(name, [...command, "--concurrency", String(concurrency)]) };
    });
    this.workers.push(...started.map(({ child }) => child));
    for (const { name, child } of started) {
      const log = join(this.dir, `${name}.log`);
      const ready = () => {
        if (child.exitCode !== null) throw new Error(`${name} ended: ${tail(log)}`);
        return readFileSync(log, "utf8").includes("worker ready");
      };
      await until(name, ready, { timeoutMs: START_MS });
    }
  }

  /** The command that syncs a list with this fleet. */
  sync(list, to, ...options) {
    const where = ["--artifact-root", to, "--script-name", "", "--durability", "rename"];
    return [...this.drover, "sync", "--from-file", list, "--redis", this.url, ...where, ...options];
  }

  /** CPU seconds so far and peak memory, by role; the memory of the largest worker. */
  reading() {
    const memory = this.workers.map((worker) => peakRssOf(worker.pid) ?? 0);
    return {
      cpu: {
        workers: sum(this.workers.map((worker) => cpuOf(worker.pid) ?? 0)),
        redis: cpuOf(this.server.pid) ?? 0,
      },
      rss: {
        worker: memory.length > 0 ? Math.max(...memory) : undefined,
        redis: peakRssOf(this.server.pid),
      },
    };
  }

  async counters() {
    return countersOf(await this.redis.info("all"));
  }

  /** Bytes of Redis' data: what it uses without its clients' buffers and the log's. */
  async dataBytes() {
    const text = await this.redis.info("memory");
    const number = (name) => Number(new RegExp(`^${name}:(\\d+)`, "m").exec(text)?.[1] ?? 0);
    return number("used_memory") - number("mem_clients_normal") - number("mem_aof_buffer");
  }

  /** The run that was submitted last, or undefined. */
  async lastRun() {
    return (await this.redis.zrange(this.keys.runs(), -1, -1))[0];
  }

  /** Resolves when nothing of a run is open. */
  async over(run) {
    const state = () => this.redis.hget(this.keys.run(run), "state");
    const settled = async () => {
      const { files, settled } = await this.ledger.counts(run);
      return files === settled && (await state()) !== "running";
    };
    await until(`run ${run}`, settled);
  }

  /** Counts every command that clients send, by name, those in scripts not included. @returns ends it. */
  async watch() {
    const own = /addr=(\S+)/.exec(await this.redis.call("client", "info"))?.[1];
    const sent = {};
    const monitor = await this.redis.monitor();
    monitor.on("monitor", (_time, [name], source) => {
      if (source === "lua" || source === own) return;
      sent[name.toLowerCase()] = (sent[name.toLowerCase()] ?? 0) + 1;
    });
    return async () => {
      await this.redis.echo("end");
      await sleep(200); // What was sent before it is on its way.
      monitor.disconnect();
      return sent;
    };
  }

  async stop() {
    await end(this.workers.map(({ pid }) => ({ pid, isRedis: false })));
    this.workers = [];
    this.redis.disconnect();
    await end([{ pid: this.server.pid, isRedis: true }]);
  }
}

/** Starts an origin that answers after `delayMs`. @returns where it is, and its process. */
export async function startSlowOrigin(files, delayMs, env) {
  const child = spawn(process.execPath, [join(root, "bench/origin.mjs"), files, String(delayMs)], {
    env,
    detached: true,
    stdio: ["ignore", "pipe", "inherit"],
  });
  let said = "";
  child.stdout.on("data", (data) => {
    said += data;
  });
  await until("the slow origin", () => /^\d+\n/.test(said) || !isAlive(child.pid), { timeoutMs: START_MS });
  if (said === "") throw new Error("the slow origin does not start");
  return { child, url: `http://127.0.0.1:${said.trim()}` };
}

/**
 * Answers per second that an origin can give: a thousand connections ask for one file as fast as they can.
 *
 * @param bytes length of the file.
 */
export async function rateOf(origin, path, bytes) {
  const { hostname, port } = new URL(origin);
  const request = `GET ${path} HTTP/1.1\r\nHost: ${hostname}\r\n\r\n`;
  let answers = 0;
  let whole = Number.POSITIVE_INFINITY; // Length of an answer with its head
  const sockets = Array.from({ length: 1000 }, () => {
    const socket = connect(Number(port), hostname, () => socket.write(request));
    let received = 0;
    socket.on("error", () => {}); // It answers nothing then, and the rate says so.
    socket.on("data", (data) => {
      if (received === 0) whole = data.indexOf("\r\n\r\n") + 4 + bytes;
      received += data.length;
      if (received < whole) return;
      received = 0;
      answers++;
      socket.write(request);
    });
    return socket;
  });
  await sleep(1000); // connecting
  const before = answers;
  const started = performance.now();
  await sleep(2000);
  const rate = (answers - before) / ((performance.now() - started) / 1000);
  for (const socket of sockets) socket.destroy();
  return rate;
}
