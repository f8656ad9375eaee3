import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { createServer } from "node:net";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { findRedisServer } from "@drover/shared/redis/embedded/embedded";
import { Redis, type RedisOptions } from "ioredis";
import type { Certificate } from "./certificate.js";
import { until } from "./gate.js";

/** Name of the master that Sentinels watch. */
export const MASTER = "fleet";
const SLOTS = 16_384;
/** After so long without an answer, in milliseconds, a master is replaced. */
const DOWN_MS = 500;
/** A replica is up at once, and others hear of it within a second. */
const FAST_REPLICAS = ["--repl-diskless-sync-delay", "0", "--repl-ping-replica-period", "1"];

/** A port of 127.0.0.1 on which nothing listens at the moment. */
async function freePort(): Promise<number> {
  const server = createServer().listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address() as { port: number };
  server.close();
  await once(server, "close");
  return port;
}

/** A Redis or a Sentinel on a port of its own. */
export class Server {
  readonly directory = mkdtempSync("/tmp/dvk-");
  port = 0;
  /** Where other nodes of its Cluster find it. */
  busPort = 0;
  readonly #direct: Redis[] = [];
  #shell: ChildProcess | undefined;
  #pid = 0;

  private constructor(
    private readonly options: string[],
    private readonly tls: Certificate | undefined,
    private readonly sentinel: string[] | undefined,
  ) {}

  /**
   * @param options of redis-server.
   * @param more `tls`: speak nothing but TLS. `sentinel`: lines of a Sentinel's configuration.
   */
  static async start(
    options: string[] = [],
    more: { tls?: Certificate | undefined; sentinel?: string[] } = {},
  ): Promise<Server> {
    const server = new Server(options, more.tls, more.sentinel);
    // Somebody else may take the port before we listen on it.
    for (let tries = 1; ; tries++) {
      server.port = await freePort();
      if (options.includes("--cluster-enabled")) server.busPort = await freePort();
      if (await server.#launch()) return server;
      if (tries > 3) throw new Error("no port to listen on");
    }
  }

  /** After {@link kill}: starts it again where it was, with what it had saved. */
  async restart(): Promise<void> {
    if (!(await this.#launch())) throw new Error(`port ${this.port} is taken`);
  }

  async #launch(): Promise<boolean> {
    const { options, sentinel } = this;
    const program = findRedisServer();
    if (program === undefined) throw new Error("no redis-server on PATH: make setup installs one");
    const settings = [
      ...["--bind", "127.0.0.1", "--dir", this.directory, "--loglevel", "notice"],
      ...(sentinel ? [] : ["--save", ""]),
      ...(this.tls ? ["--port", "0", "--tls-port", String(this.port)] : ["--port", String(this.port)]),
      ...(this.tls ? tlsSettings(this.tls) : []),
      ...options,
    ];
    if (this.busPort > 0) settings.push("--cluster-port", String(this.busPort));
    if (sentinel) writeFileSync(join(this.directory, "sentinel.conf"), `${sentinel.join("\n")}\n`);
    const file = sentinel ? [join(this.directory, "sentinel.conf"), "--sentinel"] : [];
    // The shell's input ends with this process, however that ends, and the server with it.
    const script = '"$@" 2>&1 & echo $!; read -r _; kill -9 $!; wait $!';
    const shell = spawn("sh", ["-c", script, "sh", program, ...file, ...settings], {
      stdio: ["pipe", "pipe", "ignore"],
    });
    this.#shell = shell;
    const log: string[] = [];
    const ready = await new Promise<boolean>((resolve, reject) => {
      createInterface({ input: shell.stdout }).on("line", (line) => {
        log.push(line);
        if (/^\d+$/.test(line)) this.#pid = Number(line);
        if (/Ready to accept connections|Sentinel ID is/.test(line)) resolve(true);
        if (/Address already in use|Failed listening/.test(line)) resolve(false);
        if (/FATAL CONFIG|exiting now/.test(line)) setImmediate(() => reject(new Error(log.join("\n"))));
      });
    });
    if (!ready) await this.kill();
    return ready;
  }

  get address(): string {
    return `127.0.0.1:${this.port}`;
  }

  /** A connection of the test's own to just this server, which ends with it. */
  direct(options: RedisOptions = {}): Redis {
    const tls = this.tls ? { tls: { ca: this.tls.cert } } : {};
    const redis = new Redis(Object.assign({ host: "127.0.0.1", port: this.port }, tls, options) as object);
    redis.on("error", () => {});
    this.#direct.push(redis);
    return redis;
  }

  /** SIGSTOP: connections stay open, nothing is answered. Whatever ends it ends it in this state, too. */
  async pause(): Promise<void> {
    process.kill(this.#pid, "SIGSTOP");
  }

  /** kill -9. */
  async kill(): Promise<void> {
    const shell = this.#shell;
    if (!shell) return;
    this.#shell = undefined;
    const closed = once(shell, "close");
    shell.stdin?.end();
    await closed;
  }

  /** Ends it and removes its data. */
  async stop(): Promise<void> {
    for (const redis of this.#direct) redis.disconnect();
    await this.kill();
    rmSync(this.directory, { recursive: true, force: true, maxRetries: 5, retryDelay: 50 });
  }
}

function tlsSettings(certificate: Certificate): string[] {
  return [
    ...["--tls-cert-file", certificate.certPath, "--tls-key-file", certificate.keyPath],
    ...["--tls-ca-cert-file", certificate.certPath, "--tls-auth-clients", "no"],
    ...["--tls-replication", "yes", "--tls-cluster", "yes"],
  ];
}

/** What one field of INFO says. */
async function info(redis: Redis, field: string): Promise<string | undefined> {
  return new RegExp(`^${field}:(.*?)\r?$`, "m").exec(await redis.info())?.[1];
}

async function stopAll(servers: Server[]): Promise<void> {
  await Promise.all(servers.map((server) => server.stop()));
}

export interface Passwords {
  /** Of whoever has the data. */
  data: string;
  /** Of the Sentinels. */
  sentinel: string;
}

/** A master, its replica and one Sentinel, which decides alone. */
export class Watched {
  private constructor(
    readonly master: Server,
    readonly replica: Server,
    readonly sentinel: Server,
    private readonly passwords: Passwords,
  ) {}

  static async start(passwords: Passwords, tls?: Certificate): Promise<Watched> {
    const data = ["--requirepass", passwords.data, "--masterauth", passwords.data];
    const master = await Server.start([...data, ...FAST_REPLICAS], { tls });
    const of = ["--replicaof", "127.0.0.1", String(master.port)];
    const replica = await Server.start([...data, ...of], { tls });
    const control = replica.direct({ password: passwords.data });
    await until(
      "the replica to be in step",
      async () => (await info(control, "master_link_status")) === "up",
    );
    const sentinel = await Server.start([], {
      tls,
      sentinel: [
        `sentinel monitor ${MASTER} 127.0.0.1 ${master.port} 1`,
        `sentinel auth-pass ${MASTER} ${passwords.data}`,
        `sentinel down-after-milliseconds ${MASTER} ${DOWN_MS}`,
        `sentinel failover-timeout ${MASTER} 5000`,
        `requirepass ${passwords.sentinel}`,
      ],
    });
    const watch = sentinel.direct({ password: passwords.sentinel });
    await until("the Sentinel to know the replica", async () => {
      const [[, flags] = []] = ((await watch.call("SENTINEL", "replicas", MASTER)) as string[][]).map(
        (fields) => [fields[fields.indexOf("port") + 1], fields[fields.indexOf("flags") + 1]],
      );
      return flags === "slave";
    });
    return new Watched(master, replica, sentinel, passwords);
  }

  /** The replica, in order to see what has come there. */
  follower(): Redis {
    return this.replica.direct({ password: this.passwords.data });
  }

  stop(): Promise<void> {
    return stopAll([this.sentinel, this.replica, this.master]);
  }
}

/** A Cluster of some masters, and a replica of that one which has a key. */
export class TestCluster {
  private constructor(
    readonly masters: Server[],
    readonly replica: Server | undefined,
    private readonly owner: number,
  ) {}

  /** @param key the master that has it gets a replica; none does without it. */
  static async start(
    count: number,
    options: string[],
    key?: string,
    tls?: Certificate,
  ): Promise<TestCluster> {
    const settings = [
      ...["--cluster-enabled", "yes", "--cluster-node-timeout", String(2 * DOWN_MS)],
      // One that has met nobody does not know its own address.
      ...["--cluster-announce-ip", "127.0.0.1", ...FAST_REPLICAS],
      ...options,
    ];
    const all = await Promise.all(
      Array.from({ length: count + (key ? 1 : 0) }, () => Server.start(settings, { tls })),
    );
    const masters = all.slice(0, count);
    const replica = all[count];
    const direct = all.map((server) => server.direct());
    const [first] = direct as [Redis];
    const share = Math.ceil(SLOTS / count);
    for (const [at] of masters.entries()) {
      const node = direct[at] as Redis;
      await node.call("CLUSTER", "SET-CONFIG-EPOCH", String(at + 1));
      const last = Math.min((at + 1) * share, SLOTS) - 1;
      await node.call("CLUSTER", "ADDSLOTSRANGE", String(at * share), String(last));
    }
    for (const [at, server] of all.entries()) {
      if (at === 0) continue;
      await first.call("CLUSTER", "MEET", "127.0.0.1", String(server.port), String(server.busPort));
    }
    const known = async (node: Redis) =>
      /^cluster_known_nodes:(\d+)/m.exec(String(await node.cluster("INFO")))?.[1];
    for (const node of direct)
      await until("the nodes to meet", async () => Number(await known(node)) === all.length);
    const slot = key ? Number(await first.cluster("KEYSLOT", key)) : 0;
    const owner = Math.floor(slot / share);
    if (replica) {
      const id = String(await direct[owner]?.cluster("MYID"));
      const node = direct[count] as Redis;
      await node.cluster("REPLICATE", id);
      await until("the replica to be in step", async () => (await info(node, "master_link_status")) === "up");
      for (const each of direct)
        await until("the nodes to know the replica", async () =>
          ((await each.cluster("SLOTS")) as unknown[][]).some((slots) => slots.length > 3),
        );
    }
    for (const node of direct)
      await until("the Cluster to be up", async () =>
        String(await node.cluster("INFO")).includes("cluster_state:ok"),
      );
    return new TestCluster(masters, replica, owner);
  }

  /** The master that has the key. */
  get master(): Server {
    return this.masters[this.owner] as Server;
  }

  get addresses(): string {
    return this.masters.map((server) => server.address).join(",");
  }

  /** The replica, in order to see what has come there. */
  follower(): Redis {
    if (!this.replica) throw new Error("no replica was asked for");
    return this.replica.direct({ readOnly: true });
  }

  stop(): Promise<void> {
    return stopAll([...this.masters, ...(this.replica ? [this.replica] : [])]);
  }
}
