import type { Redis } from "ioredis";
import type { Keys } from "./keys.js";
import { takeRequestScript } from "./lua/take-request.lua.js";

/** Requests that somebody may make at once after a pause, as a multiple of those of a second. */
const BURST_SECONDS = 2;

/** Limits how often each caller of the HTTP service asks, for all servers of a fleet together. */
export class RequestRate {
  readonly #everyUs: number;
  readonly #most: number;

  /** @param perSecond requests of one caller, more than 0. */
  constructor(
    private readonly redis: Redis,
    private readonly keys: Keys,
    perSecond: number,
  ) {
    this.#everyUs = Math.ceil(1e6 / perSecond);
    this.#most = Math.max(Math.floor(perSecond * BURST_SECONDS), 1);
  }

  /**
   * Takes one request of a caller, in one call of Redis.
   *
   * @returns 0, or after how many milliseconds there is one again: nothing is taken then.
   */
  async take(caller: string): Promise<number> {
    const names = [this.keys.requestRate(caller)];
    return (await takeRequestScript.run(this.redis, names, [this.#everyUs, this.#most])) as number;
  }
}
