import type { Redis } from "ioredis";
import { PROCESS_NAME } from "./process-name.js";
import { checkFormat } from "./protocol/format.js";
import { Keys } from "./protocol/keys.js";
import { Ledger } from "./protocol/ledger.js";
import { parseAddress, type RedisAddress } from "./redis/address.js";
import { connect } from "./redis/connect.js";
import { openEmbedded } from "./redis/embedded/embedded.js";

/** A connection to Redis and the ledger in it, for all commands. */
export interface Engine {
  redis: Redis;
  /** Address of `redis`, for further connections. */
  address: RedisAddress;
  keys: Keys;
  ledger: Ledger;
  close(): void;
}

export interface EngineOptions {
  /** URL of a fleet's Redis; undefined for the embedded Redis of the state directory. */
  redis?: string | undefined;
  /** Absolute path of the embedded Redis's data. Used if `redis` is undefined. */
  stateDir: string;
  /** Namespace of the fleet's keys, see {@link Keys}. Defaults to `{drover}`. */
  namespace?: string | undefined;
}

/**
 * Connects to a Redis, or to the embedded one of a state directory, which is started if it does not run.
 *
 * @throws UnavailableError, EmbeddedError if it cannot be reached or started; OtherFormatError if a later version of
 *   Drover keeps its records there.
 */
export async function openEngine({ redis: url, stateDir, namespace }: EngineOptions): Promise<Engine> {
  const embedded = url === undefined ? await openEmbedded({ stateDir, ...idle() }) : undefined;
  const address: RedisAddress = embedded ? { socketPath: embedded.socketPath } : parseAddress(url as string);
  const redis = await connect(address);
  const keys = new Keys(namespace);
  try {
    await checkFormat(redis, keys);
  } catch (error) {
    redis.disconnect();
    embedded?.close();
    throw error;
  }
  const whereabouts = embedded ? " in Drover's own Redis: --redis names a fleet's" : "";
  return {
    redis,
    address,
    keys,
    ledger: new Ledger(redis, keys, PROCESS_NAME, whereabouts),
    close() {
      redis.disconnect();
      embedded?.close();
    },
  };
}

/** How long the unused embedded Redis stays, from the environment; its default is a minute. */
function idle(): { idleMs?: number } {
  const idleMs = Number(process.env.DROVER_EMBEDDED_IDLE_MS);
  return idleMs > 0 ? { idleMs } : {};
}
