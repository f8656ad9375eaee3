import type { Keys } from "@drover/shared/protocol/keys";
import { RequestRate } from "@drover/shared/protocol/request-rate";
import type { Request } from "express";
import type { Redis } from "ioredis";
import ipaddr from "ipaddr.js";
import { Problem } from "../http/problem.js";
import type { Route } from "../http/route.js";
import { type Caller, UNTOKENED } from "./scopes.js";

/** Requests with a wrong token, or without one, that an address may make in a second: nobody has a reason for many. */
const UNAUTHORIZED_PER_SECOND = 10;

/** Limits how often callers ask, at all servers of a fleet together. What is counted is forgotten within seconds. */
export class RateLimits {
  readonly #callers: RequestRate;
  readonly #unauthorized: RequestRate;

  /** @param perSecond requests of one caller, more than 0. */
  constructor(redis: Redis, keys: Keys, perSecond: number) {
    this.#callers = new RequestRate(redis, keys, perSecond);
    this.#unauthorized = new RequestRate(redis, keys, Math.min(perSecond, UNAUTHORIZED_PER_SECOND));
  }

  /**
   * Refuses callers that ask too often: by their tokens, or by their addresses where they need none. Routes that are open
   * to all, and those that storages notify, are not limited.
   *
   * @throws Problem 429.
   */
  async check({ scope }: Pick<Route, "scope">, caller: Caller, request: Request): Promise<void> {
    if (scope === "open" || scope === "notify") return;
    const who = UNTOKENED.includes(caller.id) ? networkOf(request.socket.remoteAddress ?? "") : caller.id;
    refuse(await this.#callers.take(who));
  }

  /**
   * Counts a request that is about to be answered with 401, by its address, whatever token it came with. Right tokens of
   * the same address are not held up: others may share it.
   *
   * @throws Problem 429.
   */
  async unauthorized(address: string): Promise<void> {
    refuse(await this.#unauthorized.take(`unauthorized ${networkOf(address)}`));
  }
}

/** @param waitMs until there is a request again; 0 where there is one. */
function refuse(waitMs: number): void {
  if (waitMs === 0) return;
  throw new Problem(429, "too many requests: try again after the time in Retry-After", {
    headers: { "Retry-After": String(Math.ceil(waitMs / 1000)) },
  });
}

/** An IPv4 address, or the /64 network of an IPv6 address, which is one machine's. */
export function networkOf(address: string): string {
  if (!ipaddr.isValid(address)) return "unknown";
  const parsed = ipaddr.process(address);
  return parsed instanceof ipaddr.IPv6
    ? `${parsed.toNormalizedString().split(":").slice(0, 4).join(":")}::`
    : parsed.toString();
}
