import { SettingsError, UnavailableError } from "@drover/shared/errors";
import { Keys } from "@drover/shared/protocol/keys";
import { parseAddress, showAddress } from "@drover/shared/redis/address";
import { clusterOf, makeClient } from "@drover/shared/redis/client";
import type { Redis } from "ioredis";

/** Keys that are asked for, or removed, at once. */
const BATCH = 1_000;

/** The prefixes of the keys of each namespace. */
const PREFIXES = {
  templates: ["template:", "templates:"],
  bccache: ["bccache:"],
  responses: ["response:", "responses:"],
  gather: ["gather:"],
} as const;

/** A group of keys of a program's cache. */
export type CacheNamespace = keyof typeof PREFIXES;
export const CACHE_NAMESPACES = Object.keys(PREFIXES) as CacheNamespace[];

/** The prefixes of a namespace's keys. */
export function prefixesOf(namespace: CacheNamespace): readonly string[] {
  return PREFIXES[namespace];
}

/** @throws SettingsError for a name that is none. */
export function namespaceOf(text: string): CacheNamespace {
  const found = CACHE_NAMESPACES.find((each) => each === text.trim().toLowerCase());
  if (found !== undefined) return found;
  throw new SettingsError(`${JSON.stringify(text)} is no namespace: ${CACHE_NAMESPACES.join(", ")}`);
}

/**
 * The cache of the user's program, in a Redis of any kind, which may evict keys. It is walked by SCAN and emptied by UNLINK, in
 * bounded memory. Keys of Drover's own are never touched, whoever asks for it. A connection that breaks makes the operation fail.
 */
export class Cache {
  private constructor(
    private readonly redis: Redis,
    private readonly own: string,
  ) {}

  /**
   * @param url as `--redis` takes it.
   * @param namespace of Drover's keys. Default `{drover}`.
   * @throws UnavailableError if it does not answer in time.
   */
  static async open(url: string, timeoutMs: number, namespace = new Keys().namespace): Promise<Cache> {
    const address = parseAddress(url);
    const { redis } = makeClient(address);
    let failure: Error | undefined;
    redis.on("error", (error: Error) => {
      failure = error;
    });
    const late = Promise.withResolvers<never>();
    const timer = setTimeout(() => late.reject(new Error("no answer in time")), timeoutMs);
    try {
      await Promise.race([redis.connect().then(() => redis.ping()), late.promise]);
    } catch (error) {
      redis.disconnect();
      const why = (failure ?? (error as Error)).message;
      throw new UnavailableError(
        `cannot reach the cache at ${showAddress(address)} (${why}): check --cache, and that it runs`,
      );
    } finally {
      clearTimeout(timer);
    }
    return new Cache(redis, namespace);
  }

  close(): void {
    this.redis.disconnect();
  }

  /** Whether a key is Drover's own. */
  isOwn(key: string): boolean {
    return key === this.own || key.startsWith(`${this.own}:`);
  }

  /** Every key with a prefix, in batches and in no order; a key may come twice. */
  async *keys(prefix: string): AsyncGenerator<string[]> {
    const match = `${escaped(prefix)}*`;
    const nodes = clusterOf(this.redis)?.nodes("master") ?? [this.redis];
    for (const node of nodes) {
      let cursor = "0";
      do {
        const [next, found] = await node.scan(cursor, "MATCH", match, "COUNT", BATCH);
        cursor = next;
        const others = found.filter((key) => !this.isOwn(key));
        if (others.length > 0) yield others;
      } while (cursor !== "0");
    }
  }

  /** Removes keys. @returns those that were there. @throws SettingsError for a key of Drover's own. */
  async unlink(keys: readonly string[]): Promise<string[]> {
    const removed: string[] = [];
    for (let from = 0; from < keys.length; from += BATCH) {
      const batch = keys.slice(from, from + BATCH);
      for (const key of batch) if (this.isOwn(key)) throw ownKey(key);
      // One by one, since those of a Cluster are on several nodes; they leave in one system call.
      const counts = await Promise.all(batch.map((key) => this.redis.unlink(key)));
      removed.push(...batch.filter((_, at) => (counts[at] as number) > 0));
    }
    return removed;
  }

  /** Which of some keys are there. @throws SettingsError for a key of Drover's own. */
  async existing(keys: readonly string[]): Promise<string[]> {
    for (const key of keys) if (this.isOwn(key)) throw ownKey(key);
    const counts = await Promise.all(keys.map((key) => this.redis.exists(key)));
    return keys.filter((_, at) => (counts[at] as number) > 0);
  }

  async set(key: string, bytes: Buffer): Promise<void> {
    if (this.isOwn(key)) throw ownKey(key);
    await this.redis.set(key, bytes);
  }

  async publish(channel: string, message: string): Promise<void> {
    await this.redis.publish(channel, message);
  }
}

function ownKey(key: string): SettingsError {
  return new SettingsError(`${key} is a key of Drover itself: drover cache is for caches of other programs`);
}

/** A text as SCAN's MATCH takes it literally. */
function escaped(text: string): string {
  return text.replace(/[\\*?[\]^]/g, "\\$&");
}
