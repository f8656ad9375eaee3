import { X509Certificate } from "node:crypto";
import { readFileSync } from "node:fs";
import type { ConnectionOptions } from "node:tls";
import { Cluster, Redis, type RedisOptions } from "ioredis";
import { errnoCode, messageOf, UnavailableError } from "../errors.js";
import { parseRedisUrl, type RedisAddress, type RedisNode, type RedisTarget } from "./address.js";
import { gatherWrites } from "./wire.js";

/** Options of a client of one node, without those that change its type. */
export type NodeOptions = Omit<RedisOptions, "replyMapping">;

/** A connection in the making. */
export interface Client {
  /** Not connected yet. A Cluster's client, too, has this type: see {@link clusterOf}. */
  redis: Redis;
  /** From now on it never gives up: until this is called, the first failure to connect is the last. */
  established(): void;
  /** How to reach the first of several nodes alone, in order to learn what is wrong with it. */
  probe: NodeOptions | undefined;
}

/** Redis is given this long to accept a connection, in milliseconds. */
const CONNECT_MS = 5000;
/**
 * A Redis that owes an answer and says nothing for so long, in milliseconds, is taken for dead: its machine may be
 * off, and another one master by now. Longer than any command of ours may take (BullMQ blocks for 10 s), shorter than
 * locks and leases last.
 */
const SILENCE_MS = 15_000;
/** One that refuses to write is tried again after so long, in milliseconds. */
const REFUSED_MS = 1000;
/** A Sentinel, or a node of a Cluster that is asked where things are, has so long before the next one is asked. */
const NODE_MS = 2000;

/** Delay before try n to connect again, in milliseconds. */
function retryDelay(tries: number): number {
  return Math.min(20 * 2 ** Math.min(tries, 6), 1000);
}

/**
 * Makes the client for an address. Whatever its kind, commands wait for Redis to come back (`maxRetriesPerRequest:
 * null`), or for another master, and are sent again, so every command of Drover is idempotent. Writes of one turn of
 * the event loop leave in one system call, which is about a quarter of what a small command costs. A duplicate, such
 * as BullMQ makes of it, has all of this too.
 *
 * @throws UnavailableError when the URL or DROVER_REDIS_CA cannot be used.
 */
export function makeClient(address: RedisAddress): Client {
  const state = { established: false, refused: false };
  const common = {
    lazyConnect: true,
    maxRetriesPerRequest: null,
    connectTimeout: CONNECT_MS,
    socketTimeout: SILENCE_MS,
    // A master that has become a replica, or lacks one that it needs: ask for the master, send the command again.
    reconnectOnError: (error: Error) => {
      if (!/(^|-)(READONLY|NOREPLICAS|UNBLOCKED) /.test(error.message)) return false;
      state.refused = true;
      return 2;
    },
    // The first time, connect() looks by itself; afterwards a Redis that loads its data is waited for.
    enableReadyCheck: false,
  } satisfies RedisOptions;
  const retryStrategy = (tries: number) => {
    const delay = state.refused ? REFUSED_MS : retryDelay(tries);
    state.refused = false;
    return state.established ? delay : null;
  };
  const single = (options: NodeOptions, probe?: NodeOptions): Client => {
    const redis = dressed(new Redis({ ...common, retryStrategy, ...options }));
    const established = () => {
      state.established = true;
      redis.options.enableReadyCheck = true;
    };
    return { redis, established, probe };
  };
  if ("socketPath" in address) return single({ path: address.socketPath });
  const target = readTarget(address.url);
  const { nodes, credentials } = target;
  const tls = target.tls ? { tls: tlsOptions() } : {};
  if (target.kind === "single") return single({ ...nodes[0], ...credentials, ...tls, db: target.db });
  if (target.kind === "sentinel") {
    const { username, password } = target.sentinelCredentials;
    const options = {
      ...credentials,
      db: target.db,
      sentinels: nodes,
      name: target.master,
      sentinelUsername: username,
      sentinelPassword: password,
      sentinelRetryStrategy: retryStrategy,
      sentinelCommandTimeout: NODE_MS,
      // A master that was replaced and lives takes writes for some seconds more, and then throws them away.
      failoverDetector: true,
      ...(target.tls ? { ...tls, sentinelTLS: tls.tls, enableTLSForSentinelMode: true } : {}),
    };
    return single(options, { ...nodes[0], ...target.sentinelCredentials, ...tls });
  }
  const cluster = dressedCluster(
    new Cluster(nodes, {
      lazyConnect: true,
      redisOptions: { ...common, ...credentials, ...tls },
      clusterRetryStrategy: retryStrategy,
      slotsRefreshTimeout: NODE_MS,
      // Each wait for a failover counts as a redirection.
      maxRedirections: Number.POSITIVE_INFINITY,
      // Two nodes that each take the other for the master are asked in turn, but not in a tight loop.
      retryDelayOnMoved: 20,
      // A Cluster that is down answers CLUSTERDOWN, and is asked again.
      enableReadyCheck: false,
      // Names stay names: TLS compares them with the certificate, and one that is unknown stops no other.
      dnsLookup: (name, callback) => callback(null, name),
    }),
    state,
  );
  const established = () => {
    state.established = true;
    for (const node of cluster.nodes()) node.options.enableReadyCheck = true;
  };
  // Cluster has the commands of Redis, and `duplicate` and `disconnect` as BullMQ and we call them.
  return { redis: cluster as unknown as Redis, established, probe: { ...nodes[0], ...credentials, ...tls } };
}

/** The client as what it is, where it is that of a Cluster. */
export function clusterOf(redis: Redis): Cluster | undefined {
  return redis.isCluster ? (redis as unknown as Cluster) : undefined;
}

function readTarget(url: string): RedisTarget {
  try {
    return parseRedisUrl(url);
  } catch (error) {
    throw new UnavailableError(`the address of Redis must be ${messageOf(error)}`);
  }
}

/** Certificates are always verified: by the system's authorities, or by those in the file DROVER_REDIS_CA names. */
function tlsOptions(): ConnectionOptions {
  const path = process.env.DROVER_REDIS_CA;
  if (!path) return {};
  let ca: string;
  try {
    ca = readFileSync(path, "utf8");
  } catch (error) {
    throw new UnavailableError(
      `cannot read DROVER_REDIS_CA ${path} (${errnoCode(error) ?? messageOf(error)})`,
    );
  }
  try {
    new X509Certificate(ca);
  } catch {
    throw new UnavailableError(`DROVER_REDIS_CA ${path} holds no certificate in PEM form`);
  }
  return { ca };
}

/** Gives a client what no option does, and its duplicates too. */
function dressed(redis: Redis): Redis {
  const duplicate = redis.duplicate.bind(redis);
  redis.duplicate = (override) => dressed(duplicate(override));
  redis.on("connect", () => gatherWrites(redis));
  dressSentinels(redis);
  // Without a listener ioredis prints every failed try; the one that matters is reported where it is awaited.
  redis.on("error", () => {});
  return redis;
}

/** What ioredis has for Sentinels and does not tell of. */
interface SentinelParts {
  connectToSentinel?: (...args: unknown[]) => Redis;
  /** Closes the connection when its master is replaced. */
  failoverDetector?: { cleanup(): void } | null;
}

function dressSentinels(redis: Redis): void {
  const { connector } = redis as unknown as { connector: SentinelParts };
  const make = connector.connectToSentinel?.bind(connector);
  if (!make) return;
  // Clients that watch for a failover would print which Sentinels cannot be reached.
  connector.connectToSentinel = (...args) => make(...args).on("error", () => {});
  // The detector of a connection that broke would close the next one in the making, which ioredis takes for the end.
  redis.on("close", () => connector.failoverDetector?.cleanup());
}

function dressedCluster(cluster: Cluster, state: { established: boolean }): Cluster {
  const duplicate = cluster.duplicate.bind(cluster);
  cluster.duplicate = ((nodes: RedisNode[] | undefined, override: object | undefined) =>
    dressedCluster(duplicate(nodes, override) as Cluster, state)) as typeof cluster.duplicate;
  cluster.on("+node", (node: Redis) => {
    node.options.enableReadyCheck = state.established;
    node.on("connect", () => gatherWrites(node));
  });
  cluster.on("error", () => {});
  // Nodes that end after the Cluster's client itself set its status back to "close", from where it would go nowhere:
  // no command would be refused any more, nor would anybody connect it again.
  let ended = false;
  cluster.on("end", () => {
    ended = true;
  });
  cluster.on("connecting", () => {
    ended = false;
  });
  cluster.on("close", () => {
    if (ended) cluster.status = "end";
  });
  return cluster;
}
