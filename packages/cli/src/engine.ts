import { PROCESS_NAME } from "@drover/shared/process-name";
import { Keys } from "@drover/shared/protocol/keys";
import { Ledger } from "@drover/shared/protocol/ledger";
import { parseAddress, type RedisAddress } from "@drover/shared/redis/address";
import { connect } from "@drover/shared/redis/connect";
import { openEmbedded } from "@drover/shared/redis/embedded/embedded";
import type { Redis } from "ioredis";
import type { Settings } from "./settings/settings.js";

/** Redis and what is kept in it: what every command works on. */
export interface Engine {
  redis: Redis;
  /** Where it is, for further connections. */
  address: RedisAddress;
  keys: Keys;
  ledger: Ledger;
  close(): void;
}

/**
 * Connects to the Redis that the settings name, or to the one that Drover keeps for the state directory.
 *
 * @param namespace another fleet's name, see Keys.
 * @throws UnavailableError, EmbeddedError
 */
export async function openEngine(
  settings: Pick<Settings, "redis" | "state-dir">,
  namespace?: string,
): Promise<Engine> {
  const embedded =
    settings.redis === undefined
      ? await openEmbedded({ stateDir: settings["state-dir"] as string, ...idle() })
      : undefined;
  const address: RedisAddress = embedded
    ? { socketPath: embedded.socketPath }
    : parseAddress(settings.redis as string);
  const redis = await connect(address);
  const keys = new Keys(namespace);
  return {
    redis,
    address,
    keys,
    ledger: new Ledger(
      redis,
      keys,
      PROCESS_NAME,
      embedded ? " in Drover's own Redis: --redis names a fleet's" : "",
    ),
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
