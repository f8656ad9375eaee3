import { Redis, type RedisOptions } from "ioredis";
import { messageOf, UnavailableError } from "../errors.js";
import { redactUrl } from "../redact.js";

/** Where Redis is: a URL (`redis://`, `rediss://`) or the path of a unix socket. */
export type RedisAddress = { url: string } | { socketPath: string };

/** An address as it may be shown. */
export function showAddress(address: RedisAddress): string {
  return "url" in address ? redactUrl(address.url) : address.socketPath;
}

/**
 * A connection that survives Redis being away: commands wait for it to come back (`maxRetriesPerRequest: null`) and
 * are sent again, so every command of Drover is idempotent. Writes of one turn of the event loop leave in one system
 * call, which is about a quarter of what a small command costs.
 */
function connection(address: RedisAddress): Redis {
  const options = {
    lazyConnect: true,
    maxRetriesPerRequest: null,
    enableReadyCheck: true,
    retryStrategy: (tries: number) => Math.min(20 * 2 ** Math.min(tries, 6), 1000),
    connectTimeout: 5000,
  } satisfies RedisOptions;
  const redis = "url" in address ? new Redis(address.url, options) : new Redis(address.socketPath, options);
  redis.on("connect", () => {
    const stream = (redis as unknown as { stream?: Writable }).stream;
    if (stream) gatherWrites(stream);
  });
  // Without a listener ioredis prints every failed try; the one that matters is reported where it is awaited.
  redis.on("error", () => {});
  return redis;
}

interface Writable {
  write: (data: string | Buffer) => boolean;
}

/** Joins what is written in one turn of the event loop: one system call then carries the commands of many files. */
function gatherWrites(stream: Writable): void {
  const write = stream.write.bind(stream);
  let waiting: (string | Buffer)[] = [];
  stream.write = (data) => {
    if (waiting.push(data) === 1) {
      setImmediate(() => {
        const all = waiting;
        waiting = [];
        write(joined(all));
      });
    }
    return true;
  };
}

function joined(parts: (string | Buffer)[]): Buffer {
  let bytes = 0;
  for (const part of parts) bytes += typeof part === "string" ? Buffer.byteLength(part) : part.length;
  const all = Buffer.allocUnsafe(bytes);
  let at = 0;
  for (const part of parts) at += typeof part === "string" ? all.write(part, at) : part.copy(all, at);
  return all;
}

/**
 * Connects and makes sure that Redis answers and can be trusted with a queue.
 *
 * @throws UnavailableError when it does not answer within `timeoutMs` (default 5,000), needs other credentials, or
 *   would evict keys.
 */
export async function connect(address: RedisAddress, timeoutMs = 5000): Promise<Redis> {
  const redis = connection(address);
  let lastError: unknown = new Error("no answer");
  const remember = (error: unknown) => {
    lastError = error;
  };
  redis.on("error", remember);
  const timer = setTimeout(() => redis.disconnect(), timeoutMs);
  try {
    await redis.connect();
    await redis.ping();
    await refuseEviction(redis);
  } catch (error) {
    redis.disconnect();
    if (error instanceof UnavailableError) throw error;
    const reason = messageOf(/closed/i.test(messageOf(error)) ? lastError : error);
    throw new UnavailableError(
      `cannot reach Redis at ${showAddress(address)} (${reason}): check --redis or REDIS_URL, and that it runs`,
    );
  } finally {
    clearTimeout(timer);
    redis.off("error", remember);
  }
  return redis;
}

/** A queue's keys must never be evicted: with any policy but noeviction Redis would lose files silently. */
async function refuseEviction(redis: Redis): Promise<void> {
  const memory = await redis.info("memory");
  const policy = /^maxmemory_policy:(\S+)/m.exec(memory)?.[1];
  const limit = /^maxmemory:(\d+)/m.exec(memory)?.[1];
  if (policy !== undefined && policy !== "noeviction" && limit !== "0") {
    throw new UnavailableError(`Redis may evict keys (maxmemory-policy ${policy}): set it to noeviction`);
  }
}
