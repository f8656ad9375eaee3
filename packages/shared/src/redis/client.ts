import { X509Certificate } from "node:crypto";
import type { EventEmitter } from "node:events";
import { readFileSync } from "node:fs";
import type { ConnectionOptions } from "node:tls";
import { Cluster, Redis, type RedisOptions } from "ioredis";
import { errnoCode, messageOf, UnavailableError } from "../errors.js";
import { count, gauge } from "../telemetry.js";
import { parseRedisUrl, type RedisAddress, type RedisNode, type RedisTarget } from "./address.js";
import { refusalOf } from "./errors.js";
import { gatherWrites } from "./wire.js";

/** Options of a client of one node, without those that change its type. */
export type NodeOptions = Omit<RedisOptions, "replyMapping">;

/** A client that is not connected yet. */
export interface Client {
  /** A Cluster's client, too, has this type: see {@link clusterOf}. */
  redis: Redis;
  /** From now on it never gives up: until this is called, the first failure to connect is the last. */
  established(): void;
  /** How to reach the first of several nodes alone, in order to learn what is wrong with it. */
  probe: NodeOptions | undefined;
}

/** Time that Redis has to accept a connection, in milliseconds. */
const CONNECT_TIMEOUT_MS = 5000;
/**
 * A Redis that owes an answer and has sent nothing for this time, in milliseconds, is taken for dead: its machine may
 * be off, and another one master by now. Longer than any command of ours may take (BullMQ blocks for 10 s), shorter
 * than locks and leases last.
 */
const SILENCE_TIMEOUT_MS = 15_000;
/** Delay before a server that refused a command is tried again, in milliseconds. */
export const REFUSED_DELAY_MS = 1000;
/**
 * Time that a Sentinel or a node of a Cluster has to answer where the data is, before another is asked, in
 * milliseconds.
 */
const NODE_TIMEOUT_MS = 2000;
/** Delay before a command is sent again that a Cluster's node sent elsewhere, in milliseconds. */
const MOVED_DELAY_MS = 20;

/** What a client and its duplicates have learnt so far. */
interface ClientState {
  /** It was connected once: from then on it never gives up. */
  established: boolean;
  /** The last server refused a command. */
  refused: boolean;
  /** Why a server last refused one, and when (monotonic ms). */
  refusal: { why: string; atMs: number } | undefined;
}

const newState = (): ClientState => ({ established: false, refused: false, refusal: undefined });

const states = new WeakMap<EventEmitter, ClientState>();

/**
 * Why a server has refused a command of this client, or of a duplicate, within the last `ms` milliseconds; undefined
 * where none has.
 */
export function recentRefusal(redis: Redis, ms: number): string | undefined {
  const refusal = states.get(redis)?.refusal;
  return refusal && performance.now() - refusal.atMs < ms ? refusal.why : undefined;
}

/** Delay before try n to connect again, in milliseconds: 40 at first, then twice as much each time, 1,000 at most. */
function retryDelayMs(tries: number): number {
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
  if ("socketPath" in address) return nodeClient({ path: address.socketPath });
  const target = readTarget(address.url);
  const tls = target.tls ? { tls: tlsOptions() } : {};
  switch (target.kind) {
    case "single":
      return nodeClient({ ...target.nodes[0], ...target.credentials, ...tls, db: target.db });
    case "sentinel":
      return sentinelClient(target, tls);
    case "cluster":
      return clusterClient(target, tls);
  }
}

type TlsOptions = { tls?: ConnectionOptions };

function commonOptions(state: ClientState) {
  return {
    lazyConnect: true,
    maxRetriesPerRequest: null,
    connectTimeout: CONNECT_TIMEOUT_MS,
    socketTimeout: SILENCE_TIMEOUT_MS,
    // Wait a moment, ask for the master where another one may be it by now, and send the command again.
    reconnectOnError: (error: Error) => {
      const why = refusalOf(error);
      if (why === undefined) return false;
      state.refused = true;
      state.refusal = { why, atMs: performance.now() };
      return 2;
    },
    // The first time, connect() looks by itself. Later what a Redis that loads its data refuses is sent again, as all
    // else; a check would lose it where a script keeps Redis busy.
    enableReadyCheck: false,
  } satisfies RedisOptions;
}

function retryStrategyOf(state: ClientState): (tries: number) => number | null {
  return (tries) => {
    const delayMs = state.refused ? REFUSED_DELAY_MS : retryDelayMs(tries);
    state.refused = false;
    return state.established ? delayMs : null;
  };
}

/** @param state shared with the retry strategies among `options`. Default: its own. */
function nodeClient(options: NodeOptions, probe?: NodeOptions, state: ClientState = newState()): Client {
  const retryStrategy = retryStrategyOf(state);
  const redis = configured(new Redis({ ...commonOptions(state), retryStrategy, ...options }), state);
  const established = () => {
    state.established = true;
  };
  return { redis, established, probe };
}

function sentinelClient(target: RedisTarget & { kind: "sentinel" }, tls: TlsOptions): Client {
  const { username, password } = target.sentinelCredentials;
  const state = newState();
  const options = {
    ...target.credentials,
    db: target.db,
    sentinels: target.nodes,
    name: target.master,
    sentinelUsername: username,
    sentinelPassword: password,
    sentinelRetryStrategy: retryStrategyOf(state),
    sentinelCommandTimeout: NODE_TIMEOUT_MS,
    // A master that was replaced and lives takes writes for some seconds more, and then throws them away.
    failoverDetector: true,
    ...(target.tls ? { ...tls, sentinelTLS: tls.tls, enableTLSForSentinelMode: true } : {}),
  };
  return nodeClient(options, { ...target.nodes[0], ...target.sentinelCredentials, ...tls }, state);
}

function clusterClient({ nodes, credentials }: RedisTarget, tls: TlsOptions): Client {
  const state = newState();
  const cluster = configuredCluster(
    new Cluster(nodes, {
      lazyConnect: true,
      redisOptions: { ...commonOptions(state), ...credentials, ...tls },
      clusterRetryStrategy: retryStrategyOf(state),
      slotsRefreshTimeout: NODE_TIMEOUT_MS,
      // Each wait for a failover counts as a redirection.
      maxRedirections: Number.POSITIVE_INFINITY,
      // Two nodes that each take the other for the master are asked in turn, but not in a tight loop.
      retryDelayOnMoved: MOVED_DELAY_MS,
      // A Cluster that is down answers CLUSTERDOWN, and is asked again.
      enableReadyCheck: false,
      // Names stay names: TLS compares them with the certificate, and one that is unknown stops no other.
      dnsLookup: (name, callback) => callback(null, name),
    }),
    state,
  );
  const established = () => {
    state.established = true;
  };
  // Cluster has the commands of Redis, and `duplicate` and `disconnect` as BullMQ and we call them.
  return { redis: cluster as unknown as Redis, established, probe: { ...nodes[0], ...credentials, ...tls } };
}

/** The Cluster behind a client, or undefined where it is no Cluster's. */
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

const AWAY = { state: "away" } as const;
const BACK = { state: "back" } as const;

/** Connections of this process that broke and are being made again. */
let awayConnections = 0;
gauge("redis.connections_away", () => awayConnections);

/** Counts when a connection breaks and when it is there again. */
function reportAvailability(client: EventEmitter): void {
  let away = false;
  const returned = () => {
    if (away) awayConnections--;
    away = false;
  };
  client.on("reconnecting", () => {
    if (away) return;
    away = true;
    awayConnections++;
    count("redis.connection", 1, AWAY);
  });
  client.on("ready", () => {
    if (away) count("redis.connection", 1, BACK);
    returned();
  });
  client.on("end", returned);
}

/** Gives a client what no option does, and its duplicates too. */
function configured(redis: Redis, state: ClientState): Redis {
  states.set(redis, state);
  const duplicate = redis.duplicate.bind(redis);
  redis.duplicate = (override) => configured(duplicate(override), state);
  redis.on("connect", () => gatherWrites(redis));
  configureSentinels(redis);
  reportAvailability(redis);
  // Without a listener ioredis prints every failed try; the one that matters is reported where it is awaited.
  redis.on("error", () => {});
  return redis;
}

/** What the connector of ioredis has for Sentinels beyond its types. */
interface SentinelConnector {
  connectToSentinel?: (...args: unknown[]) => Redis;
  /** Closes the connection when its master is replaced. */
  failoverDetector?: { cleanup(): void } | null;
}

function configureSentinels(redis: Redis): void {
  const { connector } = redis as unknown as { connector: SentinelConnector };
  const connectToSentinel = connector.connectToSentinel?.bind(connector);
  if (!connectToSentinel) return;
  // Clients that watch for a failover would print which Sentinels cannot be reached.
  connector.connectToSentinel = (...args) => connectToSentinel(...args).on("error", () => {});
  // The detector of a connection that broke would close the next one in the making, which ioredis takes for the end.
  redis.on("close", () => connector.failoverDetector?.cleanup());
}

function configuredCluster(cluster: Cluster, state: ClientState): Cluster {
  states.set(cluster, state);
  const duplicate = cluster.duplicate.bind(cluster);
  cluster.duplicate = ((nodes: RedisNode[] | undefined, override: object | undefined) =>
    configuredCluster(duplicate(nodes, override) as Cluster, state)) as typeof cluster.duplicate;
  cluster.on("+node", (node: Redis) => {
    node.on("connect", () => gatherWrites(node));
  });
  reportAvailability(cluster);
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
