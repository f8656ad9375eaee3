import { setTimeout as sleep } from "node:timers/promises";
import { Redis } from "ioredis";
import { UnavailableError } from "../errors.js";
import { type RedisAddress, showAddress } from "./address.js";
import { clusterOf, makeClient, type NodeOptions, recentRefusal } from "./client.js";
import { connectionFailure, isNotPermitted } from "./errors.js";

export { type RedisAddress, showAddress } from "./address.js";

/** Interval at which a Redis that loads its data is asked whether it is done, in milliseconds. */
const LOADING_POLL_MS = 50;
/** Time that a node has to say what is wrong with it, in milliseconds. */
const PROBE_TIMEOUT_MS = 1000;

/**
 * Connects to a Redis of any kind (single, behind Sentinels, Cluster) and makes sure that it answers and can be
 * trusted with a queue.
 *
 * @throws UnavailableError when it does not answer within `timeoutMs` (default 5,000), needs other credentials, is no
 *   master, or could evict keys; or when the address cannot be right.
 */
export async function connect(address: RedisAddress, timeoutMs = 5000): Promise<Redis> {
  const { redis, established, probe } = makeClient(address);
  let noted: string | undefined;
  const note = (error: unknown) => {
    const failure = connectionFailure(error);
    if (!failure.vague) noted = failure.reason;
  };
  redis.on("error", note);
  redis.on("node error", note);
  const late = Promise.withResolvers<never>();
  const timer = setTimeout(() => {
    late.reject(new Error(noted ?? recentRefusal(redis, timeoutMs) ?? `no answer in ${timeoutMs / 1000} s`));
  }, timeoutMs);
  try {
    await Promise.race([open(redis, showAddress(address)), late.promise]);
    established();
  } catch (error) {
    redis.disconnect();
    if (error instanceof UnavailableError) throw error;
    const failure = connectionFailure(error);
    const reason = failure.vague
      ? (noted ?? (probe && (await failureOfNode(probe))) ?? "no answer")
      : failure.reason;
    throw new UnavailableError(
      `cannot reach Redis at ${showAddress(address)} (${reason}): check --redis or REDIS_URL, and that it runs`,
    );
  } finally {
    clearTimeout(timer);
    redis.off("error", note);
    redis.off("node error", note);
  }
  return redis;
}

async function open(redis: Redis, shown: string): Promise<void> {
  await redis.connect();
  const cluster = clusterOf(redis);
  if (!cluster) return await check(redis, shown, false);
  await Promise.all(
    cluster.nodes("master").map((node) => check(node, `${node.options.host}:${node.options.port}`, true)),
  );
  const state = /^cluster_state:(\w+)/m.exec(String(await cluster.cluster("INFO")))?.[1];
  if (state !== "ok") throw new Error(`its cluster_state is ${state}`);
}

/** @throws UnavailableError when this is no master, or one that could evict keys: it would lose files silently. */
async function check(redis: Redis, shown: string, inCluster: boolean): Promise<void> {
  const info = await infoOf(redis, shown);
  const mode = info.get("redis_mode");
  if (mode === "cluster" && !inCluster)
    throw new UnavailableError(`the Redis at ${shown} is part of a Cluster: write redis+cluster://`);
  if (mode === "sentinel")
    throw new UnavailableError(`${shown} is a Sentinel: write redis+sentinel://HOST:PORT/MASTER`);
  if (info.get("role") === "slave" && !inCluster)
    throw new UnavailableError(`the Redis at ${shown} is a replica: name its master`);
  const policy = info.get("maxmemory_policy") ?? "noeviction";
  if (policy !== "noeviction") {
    throw new UnavailableError(
      `the Redis at ${shown} could evict keys (maxmemory-policy ${policy}): ` +
        "CONFIG SET maxmemory-policy noeviction, and set it in its configuration",
    );
  }
}

/** INFO of a Redis, once its data is loaded. */
async function infoOf(redis: Redis, shown: string): Promise<Map<string, string>> {
  for (;;) {
    let text: string;
    try {
      text = await redis.info();
    } catch (error) {
      if (!isNotPermitted(error)) throw error;
      const user = redis.options.username ?? "default";
      throw new UnavailableError(
        `the user ${user} of the Redis at ${shown} may not use INFO, which tells whether keys could be evicted: ` +
          `ACL SETUSER ${user} +info`,
      );
    }
    const info = new Map(
      Array.from(text.matchAll(/^(\w+):(.*?)\r?$/gm), (line) => [line[1] ?? "", line[2] ?? ""]),
    );
    if ((info.get("loading") ?? "0") === "0") return info;
    await sleep(LOADING_POLL_MS);
  }
}

/** Why one of several nodes cannot be reached: a client of all of them does not say. */
async function failureOfNode(options: NodeOptions): Promise<string | undefined> {
  const redis = new Redis({
    ...options,
    lazyConnect: true,
    retryStrategy: null,
    enableReadyCheck: false,
    connectTimeout: PROBE_TIMEOUT_MS,
    commandTimeout: PROBE_TIMEOUT_MS,
  });
  let reason: string | undefined;
  redis.on("error", (error) => {
    reason = connectionFailure(error).reason;
  });
  await redis.connect().catch(() => {});
  redis.disconnect();
  return reason;
}
