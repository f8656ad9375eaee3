import type { RequestRate } from "@drover/shared/protocol/request-rate";
import type { Request } from "express";
import ipaddr from "ipaddr.js";
import { Problem } from "../http/problem.js";
import type { Route } from "../http/route.js";
import { type Caller, UNTOKENED } from "./scopes.js";

/**
 * Refuses callers that ask too often: by their tokens, or by their addresses where they have none. Routes that are open to
 * all, and those that storages notify, are not limited.
 *
 * @throws Problem 429.
 */
export async function limitRate(
  rate: RequestRate | undefined,
  { scope }: Pick<Route, "scope">,
  caller: Caller,
  request: Request,
): Promise<void> {
  if (rate === undefined || scope === "open" || scope === "notify") return;
  const who = UNTOKENED.includes(caller.id) ? networkOf(request.socket.remoteAddress ?? "") : caller.id;
  const waitMs = await rate.take(who);
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
