import { type ChildProcess, spawn } from "node:child_process";
import { randomBytes } from "node:crypto";
import { once } from "node:events";
import { mkdtempSync, rmSync } from "node:fs";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { Keys } from "@drover/shared/protocol/keys";
import { connect, type RedisAddress } from "@drover/shared/redis/connect";
import { findRedisServer } from "@drover/shared/redis/embedded/embedded";
import type { Redis } from "ioredis";
import { test as base } from "vitest";
import { CONTAINER_LIFE_SECONDS, dockerAnswers, testcontainers } from "./docker.js";
import { until } from "./gate.js";

/** Overridden by DROVER_TEST_IMAGE. */
const IMAGE = "valkey/valkey:9.0-alpine";

/** Durable against a kill -9 of the server: what it has acknowledged is with the kernel. */
const SETTINGS = [
  ...["--appendonly", "yes", "--appendfsync", "no", "--save", "", "--maxmemory-policy", "noeviction"],
  ...["--loglevel", "notice", "--daemonize", "no", "--protected-mode", "no"],
];

/** A real Redis (or Valkey) of a test's own, that can be hurt. It keeps its data and its address all along. */
export interface TestRedis {
  readonly kind: "docker" | "local";
  readonly address: RedisAddress;
  /** kill -9. Connections are broken, nothing listens when this resolves. */
  kill(): Promise<void>;
  /** After {@link kill}: starts it again with its data. */
  start(): Promise<void>;
  /** {@link kill} and {@link start}. */
  restart(): Promise<void>;
  /** SIGSTOP: connections stay open, nothing is answered. */
  pause(): Promise<void>;
  /** SIGCONT. */
  resume(): Promise<void>;
  /** Ends it and removes its data. */
  stop(): Promise<void>;
}

/**
 * Starts a Redis: in a container where a Docker engine answers, else the local binary. DROVER_TEST_REDIS=docker or
 * =local forces one of them.
 */
export async function startRedis(): Promise<TestRedis> {
  const wanted = process.env.DROVER_TEST_REDIS ?? "";
  if (!["", "docker", "local"].includes(wanted)) {
    throw new Error(`DROVER_TEST_REDIS must be docker or local, not ${JSON.stringify(wanted)}`);
  }
  if (wanted === "docker") return DockerRedis.launch();
  if (wanted === "local" || !(await dockerAnswers())) return LocalRedis.launch();
  try {
    return await DockerRedis.launch();
  } catch (error) {
    // An engine that cannot have the image, such as one without a network, is as good as none.
    console.warn(`no Redis from Docker (${String(error)}): using the local one`);
    return LocalRedis.launch();
  }
}

class LocalRedis implements TestRedis {
  readonly kind = "local";
  readonly address: { socketPath: string };
  readonly #directory = mkdtempSync("/tmp/dvr-"); // short: the path of a socket must be
  #shell: ChildProcess | undefined;
  #pid = 0;

  private constructor() {
    this.address = { socketPath: join(this.#directory, "r.sock") };
  }

  static async launch(): Promise<LocalRedis> {
    const redis = new LocalRedis();
    await redis.start();
    return redis;
  }

  async start(): Promise<void> {
    const found = findRedisServer();
    if (found === undefined)
      throw new Error("no redis-server or valkey-server on PATH: make setup installs one");
    const server = [found, "--port", "0", "--unixsocket", this.address.socketPath, ...SETTINGS];
    // The shell's input ends with this process, however that ends, and the server with it.
    const script = '"$@" >redis.log 2>&1 & echo $!; read -r _; kill -9 $!; wait $!';
    this.#shell = spawn("sh", ["-c", script, "sh", ...server], {
      cwd: this.#directory,
      stdio: ["pipe", "pipe", "ignore"],
    });
    const lines = createInterface({ input: this.#shell.stdout as NodeJS.ReadableStream });
    const [pid] = (await once(lines, "line")) as [string];
    this.#pid = Number(pid);
    await answers(this.address);
  }

  async kill(): Promise<void> {
    const shell = this.#shell;
    if (!shell) return;
    this.#shell = undefined;
    const closed = once(shell, "close");
    shell.stdin?.end();
    await closed;
  }

  async restart(): Promise<void> {
    await this.kill();
    await this.start();
  }

  async pause(): Promise<void> {
    process.kill(this.#pid, "SIGSTOP");
  }

  async resume(): Promise<void> {
    process.kill(this.#pid, "SIGCONT");
  }

  async stop(): Promise<void> {
    await this.kill();
    rmSync(this.#directory, { recursive: true, force: true, maxRetries: 5, retryDelay: 50 });
  }
}

/** A supervisor in the container, so that the server can be killed and the published port stays what it is. */
const SUPERVISOR = `
mkdir -p /tmp/drover-redis && cd /tmp/drover-redis || exit 1
server=$(command -v valkey-server || command -v redis-server)
trap 'touch stop; kill -9 "$(cat pid)"; exit 0' TERM INT
(sleep ${CONTAINER_LIFE_SECONDS}; touch stop; kill -9 "$(cat pid)") &
until [ -e stop ]; do
  "$server" --port 6379 "$@" & echo $! >pid
  wait "$(cat pid)"
  : >gone
  while [ -e hold ] && [ ! -e stop ]; do sleep 0.05; done
done`;

interface Container {
  exec(command: string[]): Promise<{ exitCode: number; output: string }>;
  stop(options?: { remove?: boolean; timeout?: number }): Promise<unknown>;
}

class DockerRedis implements TestRedis {
  readonly kind = "docker";

  private constructor(
    private readonly container: Container,
    readonly address: { url: string },
  ) {}

  static async launch(): Promise<DockerRedis> {
    const { GenericContainer, Wait } = await testcontainers();
    const container = await new GenericContainer(process.env.DROVER_TEST_IMAGE ?? IMAGE)
      .withEntrypoint(["sh", "-c", SUPERVISOR, "sh", ...SETTINGS])
      .withExposedPorts(6379)
      .withWaitStrategy(Wait.forLogMessage(/Ready to accept connections/))
      .withStartupTimeout(90_000)
      .start();
    const address = { url: `redis://${container.getHost()}:${container.getMappedPort(6379)}` };
    await answers(address);
    return new DockerRedis(container, address);
  }

  async #do(script: string): Promise<void> {
    const { exitCode, output } = await this.container.exec(["sh", "-c", `cd /tmp/drover-redis && ${script}`]);
    if (exitCode !== 0) throw new Error(`${script}: exit ${exitCode}: ${output}`);
  }

  async kill(): Promise<void> {
    await this.#do(
      'touch hold && rm -f gone && kill -9 "$(cat pid)" && while [ ! -e gone ]; do sleep 0.02; done',
    );
  }

  async start(): Promise<void> {
    await this.#do("rm -f hold");
    await answers(this.address);
  }

  async restart(): Promise<void> {
    await this.kill();
    await this.start();
  }

  async pause(): Promise<void> {
    await this.#do('kill -STOP "$(cat pid)"');
  }

  async resume(): Promise<void> {
    await this.#do('kill -CONT "$(cat pid)"');
  }

  async stop(): Promise<void> {
    await this.container.stop({ remove: true, timeout: 0 });
  }
}

/** Waits until it takes commands: it listens, and its data is loaded. */
async function answers(address: RedisAddress): Promise<void> {
  const redis = await until("Redis to answer", () => connect(address).catch(() => undefined), 30_000);
  redis.disconnect();
}

interface Fixtures {
  /** One per test file. */
  server: TestRedis;
  /** A connection of the test's own, as Drover makes them. */
  redis: Redis;
  /** A namespace of the test's own. */
  keys: Keys;
}

/** Tests against a real Redis: one server per file, one namespace per test. */
export const it = base.extend<Fixtures>({
  server: [
    // biome-ignore lint/correctness/noEmptyPattern: vitest reads what a fixture needs from the pattern
    async ({}, use) => {
      const server = await startRedis();
      await use(server);
      await server.stop();
    },
    { scope: "file" },
  ],
  redis: async ({ server }, use) => {
    const redis = await connect(server.address);
    await use(redis);
    redis.disconnect();
  },
  // biome-ignore lint/correctness/noEmptyPattern: see above
  keys: async ({}, use) => {
    await use(new Keys(`{t${randomBytes(6).toString("hex")}}`));
  },
});
