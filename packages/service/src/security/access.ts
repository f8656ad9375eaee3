import { createHash, timingSafeEqual } from "node:crypto";
import type { Request, Response } from "express";
import { Problem } from "../http/problem.js";
import { isForwarded, isLoopback, isOwnHost } from "./local-request.js";
import { isSameOrigin, isWrite } from "./same-origin.js";
import { type Caller, SCOPES, type Scope } from "./scopes.js";
import { sessionIdOf, setSessionCookie } from "./session-cookie.js";
import type { SessionStore } from "./sessions.js";
import { hashOf, type TokenStore } from "./tokens.js";
import type { TrustedProxy } from "./trusted-proxy.js";

const EVERYTHING = { scopes: SCOPES };
const NOBODY: Caller = { id: "nobody", scopes: [] };
/** Who has the token of the environment. */
const ENVIRONMENT: Caller = { id: "environment", ...EVERYTHING };
/** A store without a token is looked at again after this time, in milliseconds. */
const LOOK_MS = 5_000;

export interface AccessOptions {
  tokens: TokenStore;
  sessions: SessionStore;
  /** The token of the environment, which may do everything; undefined for none. */
  environmentToken: string | undefined;
  /** Has users log in, and names them; undefined for none. */
  proxy: TrustedProxy | undefined;
  /** Whether callers of other machines need no token either. */
  insecure: boolean;
  /** Whether a token was ever seen by a server of this state directory. */
  hasSeenToken: boolean;
  /** Notes that one was. */
  noteTokenSeen(): void;
}

/**
 * Decides who may call what. Without any token, callers of this machine may do everything. Once a server has seen a
 * token, only tokens open it, even if all of them are revoked or Redis has lost them. A browser that has shown one has a
 * session instead. Behind a proxy that names users, nobody is let in without a token or a name.
 */
export class Access {
  #needsToken: boolean;
  #lookedMs = 0;

  constructor(private readonly options: AccessOptions) {
    const { environmentToken, hasSeenToken, proxy } = options;
    this.#needsToken = environmentToken !== undefined || hasSeenToken || proxy !== undefined;
    if (environmentToken !== undefined) options.noteTokenSeen();
  }

  /** Whether callers need a token. Redis is asked every few seconds until there is one. */
  async needsToken(): Promise<boolean> {
    if (this.#needsToken || Date.now() < this.#lookedMs + LOOK_MS) return this.#needsToken;
    if (await this.options.tokens.exist()) this.#noteToken();
    this.#lookedMs = Date.now();
    return this.#needsToken;
  }

  /**
   * Who asks for a route.
   *
   * @throws Problem 401 without a token that is needed, 403 where the token does not allow it, or where a request
   *   without a token does not come from this machine alone, or a browser's change from a page of another origin.
   */
  async check(request: Request, scope: Scope | "open"): Promise<Caller> {
    if (scope === "open") return NOBODY;
    const caller = await this.identify(request);
    if (caller === undefined) {
      const detail =
        bearerOf(request) === undefined
          ? "this service needs a token: send Authorization: Bearer TOKEN (drover token create makes one)"
          : "the token is not known, has expired or was revoked";
      throw new Problem(401, detail, { headers: { "WWW-Authenticate": 'Bearer realm="drover"' } });
    }
    if (caller.isAmbient) this.requireSameOrigin(request);
    requireScope(caller, scope);
    return caller;
  }

  /**
   * Who asks: by a token, a session, or a proxy's word; or anybody where none is needed.
   *
   * @returns undefined for somebody who is not known and would have to be.
   * @throws Problem 403 where a request without a token does not come from this machine alone.
   */
  async identify(request: Request): Promise<Caller | undefined> {
    const given = bearerOf(request);
    const user = this.options.proxy?.callerOf(request);
    // Some proxies send an Authorization of their own along.
    if (given !== undefined) return (await this.#callerOf(given)) ?? user;
    const known = (await this.#sessionOf(request)) ?? user;
    if (known !== undefined) return known;
    return (await this.needsToken()) ? undefined : this.#untokened(request);
  }

  /** Refuses a change that a page of another origin asks for, with what a browser sends by itself. @throws Problem 403. */
  requireSameOrigin(request: Request): void {
    if (isWrite(request) && !isSameOrigin(request, this.options.proxy?.hostOf(request)))
      throw new Problem(
        403,
        "pages of other origins may change nothing: this needs the service's own Origin",
      );
  }

  /**
   * Opens a session for a browser that shows a token.
   *
   * @returns whether the token is known.
   */
  async logIn(token: string, request: Request, response: Response): Promise<boolean> {
    const caller = await this.#callerOf(token);
    if (caller === undefined) return false;
    await this.#closeSession(request);
    setSessionCookie(request, response, await this.options.sessions.open(caller.id, hashOf(token)));
    return true;
  }

  /** Ends the session of a browser. */
  async logOut(request: Request, response: Response): Promise<void> {
    await this.#closeSession(request);
    setSessionCookie(request, response, undefined);
  }

  /** Whether a request comes with a session that has not ended. */
  async isLoggedIn(request: Request): Promise<boolean> {
    return (await this.#sessionOf(request)) !== undefined;
  }

  /** The address that asked: the peer's, or what a trusted proxy says of its own. */
  addressOf(request: Request): string {
    return this.options.proxy?.clientOf(request) ?? request.socket.remoteAddress ?? "";
  }

  async #closeSession(request: Request): Promise<void> {
    const id = sessionIdOf(request);
    if (id !== undefined) await this.options.sessions.close(id);
  }

  async #sessionOf(request: Request): Promise<Caller | undefined> {
    const { sessions, tokens, environmentToken } = this.options;
    const id = sessionIdOf(request);
    const session = id === undefined ? undefined : await sessions.find(id);
    if (session === undefined) return undefined;
    const sha256 = Buffer.from(session.sha256, "hex");
    const isEnvironment = session.token === ENVIRONMENT.id;
    const isItsToken = environmentToken !== undefined && hashOf(environmentToken).equals(sha256);
    const known = isEnvironment ? isItsToken && ENVIRONMENT : await tokens.callerOf(session.token, sha256);
    return known ? { ...known, isAmbient: true } : undefined;
  }

  #untokened(request: Request): Caller {
    if (this.options.insecure) return { id: "anybody", ...EVERYTHING };
    const refuse = (why: string) => new Problem(403, `${why}: make a token with drover token create`);
    if (isForwarded(request)) throw refuse("without a token, requests through a proxy are refused");
    if (!isLoopback(request.socket.remoteAddress))
      throw refuse("without a token, only this machine may call");
    if (!isOwnHost(request)) throw refuse("without a token, the service is called localhost or 127.0.0.1");
    const { origin } = request.headers;
    if (origin !== undefined && origin !== `http://${request.headers.host}`)
      throw refuse("without a token, pages of other origins may not call");
    return { id: "loopback", ...EVERYTHING };
  }

  async #callerOf(given: string): Promise<Caller | undefined> {
    const { environmentToken, tokens } = this.options;
    if (environmentToken !== undefined && isSame(given, environmentToken)) return ENVIRONMENT;
    const token = await tokens.verify(given);
    if (token) this.#noteToken();
    return token;
  }

  #noteToken(): void {
    if (!this.#needsToken) this.options.noteTokenSeen();
    this.#needsToken = true;
  }
}

/** @throws Problem 403 where a caller does not have a scope. */
export function requireScope({ scopes }: Caller, scope: Scope): void {
  if (!scopes.includes(scope))
    throw new Problem(403, `the token does not allow this: it needs the scope ${scope}`);
}

/** The bearer token of a request; undefined for none. */
function bearerOf(request: Request): string | undefined {
  const match = /^Bearer +(\S+)$/i.exec(request.headers.authorization ?? "");
  return match?.[1] ?? (request.headers.authorization === undefined ? undefined : "");
}

/** Compares two secrets in a time that does not tell where they differ. */
export function isSame(one: string, other: string): boolean {
  const hash = (text: string) => createHash("sha256").update(text).digest();
  return timingSafeEqual(hash(one), hash(other));
}
