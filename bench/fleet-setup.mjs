// A fleet to measure: a separate Redis and workers on loopback, and the slow origin.
import { spawn } from "node:child_process";
import { closeSync, openSync, readFileSync } from "node:fs";
import { connect } from "node:net";
import { join } from "node:path";
import { Keys } from "@drover/shared/protocol/keys";
import { Ledger } from "@drover/shared/protocol/ledger";
import { Redis } from "ioredis";
import { emptyDir, freePort, redisServer, root, sleep, sum, tail } from "./common.mjs";
import { countersOf, cpuOf, end, isAlive, peakRssOf } from "./system.mjs";

/** The options of the embedded Redis (packages/shared/src/redis/embedded/local-redis.ts). */
export const REDIS_OPTIONS = [
  ...["--appendonly", "yes", "--appendfsync", "everysec", "--save", "", "--maxmemory-policy", "noeviction"],
  ...["--hash-max-ziplist-value", "1024", "--hash-max-ziplist-entries", "512"],
];
/** Without the options that differ from Redis's defaults and affect memory. */
export const PLAIN_REDIS_OPTIONS = REDIS_OPTIONS.slice(0, 8);

const START_MS = 20_000;

/** Polls until a condition holds. @throws after `timeoutMs`. */
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
   * Starts Redis without workers.
   *
   * @param dir for its data and the output of the workers; emptied.
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
    fleet.redis.on("error", () => {}); // It is tried again until the time limit of the next line.
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

  /** Starts workers; resolves when all of them take jobs. */
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

  /** CPU seconds so far and peak memory in bytes, by role; for workers the memory of the largest. */
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

  /** Bytes of Redis's data, without the buffers of clients and log. */
  async dataBytes() {
    const text = await this.redis.info("memory");
    const number = (name) => Number(new RegExp(`^${name}:(\\d+)`, "m").exec(text)?.[1] ?? 0);
    return number("used_memory") - number("mem_clients_normal") - number("mem_aof_buffer");
  }

  /** The latest run, or undefined. */
  async lastRun() {
    return (await this.redis.zrange(this.keys.runs(), -1, -1))[0];
  }

  /** Resolves when no file of a run is open. */
  async over(run) {
    const state = () => this.redis.hget(this.keys.run(run), "state");
    const settled = async () => {
      const { files, settled } = await this.ledger.counts(run);
      return files === settled && (await state()) !== "running";
    };
    await until(`run ${run}`, settled);
  }

  /** Counts the commands of clients by name, without those in scripts. @returns a function that ends this. */
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
      await sleep(200); // Commands sent before that are still in transit.
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

/** Starts an origin that answers after `delayMs`. @returns its URL and its process. */
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
 * Responses per second of an origin, when a thousand connections request one file as fast as they can.
 *
 * @param bytes length of the file.
 */
export async function rateOf(origin, path, bytes) {
  const { hostname, port } = new URL(origin);
  const request = `GET ${path} HTTP/1.1\r\nHost: ${hostname}\r\n\r\n`;
  let answers = 0;
  let whole = Number.POSITIVE_INFINITY; // Length of a response with its header
  const sockets = Array.from({ length: 1000 }, () => {
    const socket = connect(Number(port), hostname, () => socket.write(request));
    let received = 0;
    socket.on("error", () => {}); // It gets no responses then, which shows in the rate.
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
