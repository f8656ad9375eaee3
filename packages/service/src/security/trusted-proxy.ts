import { SettingsError } from "@drover/shared/errors";
import type { Request } from "express";
import ipaddr from "ipaddr.js";
import { type Caller, SCOPES, type Scope } from "./scopes.js";

/** Longest name of a user, in characters. */
const MOST_USER = 200;

type Range = ReturnType<typeof ipaddr.parseCIDR>;

export interface TrustedProxyOptions {
  /** Addresses, and ranges in CIDR notation, that the proxy asks from. */
  addresses: string[];
  /** Header that names the user. */
  userHeader: string;
  /** `USER=SCOPE,…`: what users may do beyond reading. */
  scopes: string[];
}

/**
 * A proxy that has users log in (OpenID Connect, say) and names them in a header. The header counts only where the peer of
 * the connection is in one of its ranges: everybody else can write it as well.
 */
export class TrustedProxy {
  readonly #ranges: Range[];
  readonly #header: string;
  readonly #scopes: Map<string, Scope[]>;

  /** @throws SettingsError for what is no address, header or scope. */
  constructor({ addresses, userHeader, scopes }: TrustedProxyOptions) {
    this.#ranges = addresses.map(rangeOf);
    if (!/^[A-Za-z0-9-]{1,100}$/.test(userHeader))
      throw new SettingsError(`${JSON.stringify(userHeader)} is no name of a header`);
    this.#header = userHeader.toLowerCase();
    this.#scopes = new Map(scopes.map(scopesOf));
  }

  /** Whether a request comes from the proxy itself. */
  sent(request: Pick<Request, "socket">): boolean {
    const { remoteAddress = "" } = request.socket;
    if (!ipaddr.isValid(remoteAddress)) return false;
    const address = ipaddr.process(remoteAddress);
    return this.#ranges.some(
      ([range, bits]) => range.kind() === address.kind() && address.match(range, bits),
    );
  }

  /** The user that the proxy names; undefined where it names none, or where it is not the proxy that asks. */
  callerOf(request: Request): Caller | undefined {
    if (!this.sent(request)) return undefined;
    const user = request.headers[this.#header];
    if (typeof user !== "string" || !/^[\x21-\x7e]+$/.test(user) || user.length > MOST_USER) return undefined;
    return { id: `proxy:${user}`, scopes: this.#scopes.get(user) ?? ["read"], isAmbient: true };
  }

  /** The host that a browser asked the proxy for, as the proxy tells; undefined where it does not. */
  hostOf(request: Request): string | undefined {
    const host = this.sent(request) ? request.headers["x-forwarded-host"] : undefined;
    return typeof host === "string" && /^[\w.:[\]-]+$/.test(host) ? host : undefined;
  }

  /** The address that the proxy was asked from, as it tells: the last one, which it has added itself. */
  clientOf(request: Request): string | undefined {
    const addresses = this.sent(request) ? request.headers["x-forwarded-for"] : undefined;
    const last = typeof addresses === "string" ? addresses.split(",").at(-1)?.trim() : undefined;
    return last !== undefined && ipaddr.isValid(last) ? last : undefined;
  }
}

function rangeOf(text: string): Range {
  if (ipaddr.isValidCIDR(text)) return ipaddr.parseCIDR(text);
  if (!ipaddr.isValid(text))
    throw new SettingsError(
      `${JSON.stringify(text)} is no address of a proxy: write 10.1.2.3 or 10.1.0.0/16`,
    );
  const address = ipaddr.process(text);
  return [address, address.kind() === "ipv4" ? 32 : 128];
}

function scopesOf(text: string): [user: string, scopes: Scope[]] {
  const at = text.lastIndexOf("=");
  const named = text.slice(at + 1).split(",");
  const scopes = SCOPES.filter((scope) => named.includes(scope));
  if (at < 1 || scopes.length !== named.length)
    throw new SettingsError(
      `${JSON.stringify(text)} is no user and scopes: write alice@example.com=read,operate (${SCOPES.join(", ")})`,
    );
  return [text.slice(0, at), scopes];
}
