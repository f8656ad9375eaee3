import { createHash, timingSafeEqual } from "node:crypto";
import type { Request } from "express";
import { Problem } from "../http/problem.js";
import { type Caller, SCOPES, type Scope } from "./scopes.js";
import type { TokenStore } from "./tokens.js";

const EVERYTHING = { scopes: SCOPES };
const NOBODY: Caller = { id: "nobody", scopes: [] };
/** A store without a token is looked at again after this time, in milliseconds. */
const LOOK_MS = 5_000;
/** Headers that a proxy adds: behind one, whoever asks looks like this machine. */
const FORWARDED =
  /^(forwarded|via|x-forwarded-.*|x-real-ip|x-client-ip|x-cluster-client-ip|true-client-ip|cf-connecting-ip)$/;
/** Names of this machine that a browser can only have typed itself. */
const OWN_HOSTS = /^(localhost|127\.\d+\.\d+\.\d+|\[::1\])(:\d+)?$/i;

export interface AccessOptions {
  tokens: TokenStore;
  /** The token of the environment, which may do everything; undefined for none. */
  environmentToken: string | undefined;
  /** Whether callers of other machines need no token either. */
  insecure: boolean;
  /** Whether a token was ever seen by a server of this state directory. */
  hasSeenToken: boolean;
  /** Notes that one was. */
  noteTokenSeen(): void;
}

/**
 * Decides who may call what. Without any token, callers of this machine may do everything. Once a server has seen a
 * token, only tokens open it, even if all of them are revoked or Redis has lost them.
 */
export class Access {
  #needsToken: boolean;
  #lookedMs = 0;

  constructor(private readonly options: AccessOptions) {
    this.#needsToken = options.environmentToken !== undefined || options.hasSeenToken;
    if (options.environmentToken !== undefined) options.noteTokenSeen();
  }

  /** Whether callers need a token. Redis is asked every few seconds until there is one. */
  async needsToken(): Promise<boolean> {
    if (this.#needsToken || Date.now() < this.#lookedMs + LOOK_MS) return this.#needsToken;
    if (await this.options.tokens.exist()) {
      this.#needsToken = true;
      this.options.noteTokenSeen();
    }
    this.#lookedMs = Date.now();
    return this.#needsToken;
  }

  /**
   * Who asks for a route.
   *
   * @throws Problem 401 without a token that is needed, 403 where the token does not allow it, or where a request
   *   without a token does not come from this machine alone.
   */
  async check(request: Request, scope: Scope | "open"): Promise<Caller> {
    if (scope === "open") return NOBODY;
    const given = bearerOf(request);
    if (given === undefined && !(await this.needsToken())) return this.#untokened(request);
    const caller = given === undefined ? undefined : await this.#callerOf(given);
    if (caller === undefined) {
      const detail =
        given === undefined
          ? "this service needs a token: send Authorization: Bearer TOKEN (drover token create makes one)"
          : "the token is not known, has expired or was revoked";
      throw new Problem(401, detail, { headers: { "WWW-Authenticate": 'Bearer realm="drover"' } });
    }
    if (!caller.scopes.includes(scope))
      throw new Problem(403, `the token does not allow this: it needs the scope ${scope}`);
    return caller;
  }

  #untokened(request: Request): Caller {
    if (this.options.insecure) return { id: "anybody", ...EVERYTHING };
    const refuse = (why: string) => new Problem(403, `${why}: make a token with drover token create`);
    if (Object.keys(request.headers).some((name) => FORWARDED.test(name)))
      throw refuse("without a token, requests through a proxy are refused");
    if (!isLoopback(request.socket.remoteAddress))
      throw refuse("without a token, only this machine may call");
    if (!OWN_HOSTS.test(request.headers.host ?? ""))
      throw refuse("without a token, the service is called localhost or 127.0.0.1");
    const { origin } = request.headers;
    if (origin !== undefined && origin !== `http://${request.headers.host}`)
      throw refuse("without a token, pages of other origins may not call");
    return { id: "loopback", ...EVERYTHING };
  }

  async #callerOf(given: string): Promise<Caller | undefined> {
    const { environmentToken, tokens } = this.options;
    if (environmentToken !== undefined && isSame(given, environmentToken))
      return { id: "environment", ...EVERYTHING };
    const token = await tokens.verify(given);
    if (token && !this.#needsToken) {
      this.#needsToken = true;
      this.options.noteTokenSeen();
    }
    return token;
  }
}

/** The bearer token of a request; undefined for none. */
function bearerOf(request: Request): string | undefined {
  const match = /^Bearer +(\S+)$/i.exec(request.headers.authorization ?? "");
  return match?.[1] ?? (request.headers.authorization === undefined ? undefined : "");
}

/** Whether an address is this machine's own. */
export function isLoopback(address: string | undefined): boolean {
  return address !== undefined && /^(::ffff:)?127\.|^::1$/.test(address);
}

/** Compares two secrets in a time that does not tell where they differ. */
export function isSame(one: string, other: string): boolean {
  const hash = (text: string) => createHash("sha256").update(text).digest();
  return timingSafeEqual(hash(one), hash(other));
}
