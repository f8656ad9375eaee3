import { randomUUID } from "node:crypto";
import type { Redis } from "ioredis";
import type { Keys } from "./keys.js";
import { claimRequestScript } from "./lua/claim-request.lua.js";
import { releaseRequestScript } from "./lua/release-request.lua.js";

/** A claim whose server has died expires after this time, in milliseconds. */
const CLAIM_MS = 10_000;
const RENEW_EVERY_MS = 3_000;
/** Records are kept for this time at least, in milliseconds, from when their run began. */
export const IDEMPOTENCY_KEPT_MS = 24 * 3_600_000;

/** What is known of a request by its idempotency key. */
export type Claimed =
  | { is: "claimed"; claim: RequestClaim }
  /** It was answered before. */
  | { is: "answered"; answer: string }
  /** The same request is under way, for at most this time in milliseconds if its server has died. */
  | { is: "busy"; forMs: number }
  /** The key came with another request. */
  | { is: "other" };

/** The claim of a request was another's by the time that its run was to be made: nothing was made. */
export class ClaimLostError extends Error {
  override name = "ClaimLostError";

  constructor() {
    super("the same request is answered elsewhere");
  }
}

/** The sole right to answer a request. It is renewed until it is released. */
export class RequestClaim {
  readonly #renewal: NodeJS.Timeout;

  /**
   * @param name of the record of the request.
   * @param token of this claim.
   */
  constructor(
    readonly name: string,
    readonly token: string,
    private readonly how: { renew(): Promise<unknown>; release(): Promise<unknown> },
  ) {
    this.#renewal = setInterval(() => void how.renew().catch(() => {}), RENEW_EVERY_MS).unref();
  }

  /** Ends it. The request may be sent anew then, unless its run was made. */
  async release(): Promise<void> {
    clearInterval(this.#renewal);
    await this.how.release();
  }
}

/** Requests that were answered, and those that are under way, by idempotency key. */
export class Idempotency {
  constructor(
    private readonly redis: Redis,
    private readonly keys: Keys,
  ) {}

  /**
   * Claims a request.
   *
   * @param name of its record: of who asks, and of the key.
   * @param request hash of what is asked for.
   */
  async claim(name: string, request: string): Promise<Claimed> {
    const names = [this.keys.idempotency(name)];
    const token = randomUUID();
    const ask = () => claimRequestScript.run(this.redis, names, [request, token, CLAIM_MS]);
    const [is, more] = (await ask()) as ["claimed" | "other"] | ["busy", number] | ["answered", string];
    if (is === "answered") return { is, answer: more };
    if (is === "busy") return { is, forMs: Math.max(more, 0) };
    if (is === "other") return { is };
    const release = () => releaseRequestScript.run(this.redis, names, [token]);
    return { is, claim: new RequestClaim(name, token, { renew: ask, release }) };
  }
}
