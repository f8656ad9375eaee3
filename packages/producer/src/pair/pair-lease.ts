import { randomBytes } from "node:crypto";
import { setTimeout as sleep } from "node:timers/promises";
import { isProcessDead, PROCESS_NAME } from "@drover/shared/process-name";
import type { Redis } from "ioredis";
import { PairGuardError } from "./guards.js";

/** A holder that says nothing for so long has died, in milliseconds. */
const LEASE_MS = 30_000;
const RENEW_MS = 10_000;
const LOOK_MS = 250;

/** Drops or renews a lease if it is the caller's. */
const IF_MINE = `if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
if ARGV[2] == '0' then return redis.call('DEL', KEYS[1]) end
return redis.call('PEXPIRE', KEYS[1], ARGV[2])`;

/** What makes sure that one process at a time syncs a pair. Writes are bound to versions all the same. */
export class PairLease {
  readonly #timer: NodeJS.Timeout;

  private constructor(
    private readonly redis: Redis,
    private readonly key: string,
    private readonly token: string,
    onLost: () => void,
  ) {
    this.#timer = setInterval(() => {
      this.#ifMine(LEASE_MS).then(
        (mine) => mine || onLost(),
        () => {}, // Redis is away: the next renewal tells
      );
    }, RENEW_MS).unref();
  }

  /**
   * @param waitMs how long another holder is waited for.
   * @param onLost called when another process has taken it.
   * @throws PairGuardError `busy` if another process holds it for longer.
   */
  static async take(redis: Redis, key: string, waitMs: number, onLost: () => void): Promise<PairLease> {
    const token = `${PROCESS_NAME} ${randomBytes(9).toString("base64url")}`;
    const giveUpMs = performance.now() + waitMs;
    while ((await redis.set(key, token, "PX", LEASE_MS, "NX")) === null) {
      const holder = await redis.get(key);
      // What was killed on this machine holds nothing up; for another machine's the lease has to run out.
      if (holder !== null && isProcessDead(holder.split(" ")[0] as string)) {
        await redis.eval(IF_MINE, 1, key, holder, 0);
        continue;
      }
      if (performance.now() >= giveUpMs)
        throw new PairGuardError(
          "busy",
          "another process syncs this pair now: wait for it, or give --timeout",
        );
      await sleep(LOOK_MS);
    }
    return new PairLease(redis, key, token, onLost);
  }

  async #ifMine(ms: number): Promise<boolean> {
    return (await this.redis.eval(IF_MINE, 1, this.key, this.token, ms)) === 1;
  }

  /** Whether it was not taken by another process, which took this one for dead. */
  isHeld(): Promise<boolean> {
    return this.#ifMine(LEASE_MS);
  }

  async release(): Promise<void> {
    clearInterval(this.#timer);
    await this.#ifMine(0);
  }
}
