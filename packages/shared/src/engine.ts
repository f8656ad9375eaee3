import type { Redis } from "ioredis";
import { PROCESS_NAME } from "./process-name.js";
import { Keys } from "./protocol/keys.js";
import { Ledger } from "./protocol/ledger.js";
import { parseAddress, type RedisAddress } from "./redis/address.js";
import { connect } from "./redis/connect.js";
import { openEmbedded } from "./redis/embedded/embedded.js";

/** Redis and what is kept in it: what every command works on. */
export interface Engine {
  redis: Redis;
  /** Where it is, for further connections. */
  address: RedisAddress;
  keys: Keys;
  ledger: Ledger;
  close(): void;
}

export interface EngineOptions {
  /** URL of a fleet's Redis; undefined for the one that Drover runs for the state directory. */
  redis?: string | undefined;
  /** Where the data of Drover's own Redis lives: an absolute path. Needed where `redis` is undefined. */
  stateDir: string;
  /** Name of the fleet, see {@link Keys}. Defaults to `{drover}`. */
  namespace?: string | undefined;
}

/**
 * Connects to a Redis, or to the one that Drover keeps for a state directory, which is started where it does not run.
 *
 * @throws UnavailableError, EmbeddedError where it cannot be had.
 */
export async function openEngine({ redis: url, stateDir, namespace }: EngineOptions): Promise<Engine> {
  const embedded = url === undefined ? await openEmbedded({ stateDir, ...idle() }) : undefined;
  const address: RedisAddress = embedded ? { socketPath: embedded.socketPath } : parseAddress(url as string);
  const redis = await connect(address);
  const keys = new Keys(namespace);
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

/** How long Drover's own Redis stays when nobody uses it: a minute, unless the environment says otherwise. */
function idle(): { idleMs?: number } {
  const idleMs = Number(process.env.DROVER_EMBEDDED_IDLE_MS);
  return idleMs > 0 ? { idleMs } : {};
}
