import { isUtf8 } from "node:buffer";
import { isIP, type Socket } from "node:net";
import { Readable } from "node:stream";
import { Agent, type Dispatcher, errors, Pool } from "undici";
import { TransferError } from "../../errors.js";
import { redactUrl } from "../../redact.js";
import { droverVersion } from "../../version.js";
import { bareHost, checkLiteral, guardedLookup, isLoopbackAddress } from "./address-guard.js";
import { HttpBody } from "./body.js";
import { Connections } from "./connections.js";
import { connectorOf } from "./connector.js";
import { DirectReceive } from "./direct-receive.js";
import { connectionError } from "./errors.js";
import type { AddressGuard } from "./guard.js";
import { Proxies, type ProxyServer, proxyRefusal, proxyUnreachable } from "./proxies.js";

const MOST_REDIRECTS = 10;
/** Headers of the user that may follow a redirect to another origin; all others could be credentials. */
const CROSS_ORIGIN_HEADERS = new Set(["accept", "accept-language", "user-agent"]);
/** Headers that only Drover may set, because a transfer depends on them. */
const OWN_HEADERS =
  /^(host|connection|content-length|transfer-encoding|upgrade|te|trailer|keep-alive|expect|range|if-(match|none-match|range|modified-since|unmodified-since)|accept-encoding)$/;

export type Headers = Record<string, string>;
/** Headers of a response; repeated ones are joined as RFC 9110 allows. */
export type AnswerHeaders = Record<string, string | undefined>;

export interface HttpAnswer {
  status: number;
  headers: AnswerHeaders;
  body: HttpBody;
}

export interface HttpOptions {
  /** Time limit in ms for getting a connection, free or new, and again for the response headers. */
  timeoutMs: number;
  /** Connections per origin. */
  connections: number;
  /** Time in ms that the rest of an unwanted body may take; default 1,000. */
  discardMs?: number;
  /** Value of User-Agent where a request has none of its own; default `drover/VERSION`. */
  userAgent?: string | undefined;
  /** Decides where GETs and posts may lead, redirects included. By default they may lead to every host that is named. */
  guard?: AddressGuard | undefined;
  /** Whether GETs follow redirects. Default true. */
  followsRedirects?: boolean;
}

/**
 * @returns the name in lower case.
 * @throws TransferError class `unsupported` for a header that a user cannot set.
 */
export function checkHeader(name: string): string {
  const lower = name.toLowerCase();
  if (!/^[!#$%&'*+.^_`|~0-9a-z-]+$/.test(lower))
    throw new TransferError("unsupported", `invalid header name ${JSON.stringify(name)}`);
  if (OWN_HEADERS.test(lower))
    throw new TransferError("unsupported", `the header ${name} is set by Drover itself`);
  return lower;
}

/** The method and body of a request. */
export interface HttpMessage {
  method: "GET" | "HEAD" | "PUT" | "POST" | "PATCH" | "DELETE" | "PROPFIND" | "MKCOL" | "MOVE";
  /**
   * Its length must be in the headers. A stream without one is sent in chunks; what it throws ends the request. The timeout
   * is that for taking each of its chunks, and again for the response after the last.
   */
  body?: Uint8Array | AsyncIterable<Uint8Array>;
  /**
   * Whether the response is short, so that it fails when nothing arrives within the timeout. For other
   * responses the reader watches the pace.
   */
  short?: true;
}

interface Target {
  origin: string;
  /** Path and query; to an http proxy the whole URL. */
  path: string;
  headers: Headers;
  /** The proxy that the request goes through, if any. */
  proxy?: ProxyServer | undefined;
}

/** Bytes of a body sent at a time; the timeout for the response starts after the last of them. */
const SEND_BYTES = 64 << 10;
/** Bytes that may then still be in the system's buffers, and the slowest speed at which they are sent. */
const BUFFERED_BYTES = 4 << 20;
const LEAST_BYTES_PER_SECOND = 32 << 10;

/** HTTP requests over pooled connections. GETs follow redirects safely. */
export class HttpClient {
  /** For hosts that the user named. */
  readonly #direct: Agent;
  /** For hosts reached by a redirect: public addresses only, plus loopback if the user named it. */
  #guarded: Agent | undefined;
  #guardedLoopback: Agent | undefined;
  /** For all GETs and posts where the options have a guard. */
  #checked: Agent | undefined;
  #services: Connections | undefined;
  readonly #proxies = new Proxies();
  /** The proxies of GETs and posts. */
  readonly #getProxies: Proxies;
  readonly #tunnels = new Set<Socket>();
  readonly #userAgent: string;

  constructor(private readonly options: HttpOptions) {
    this.#userAgent = options.userAgent ?? `drover/${droverVersion()}`;
    const { guard } = options;
    this.#getProxies = guard && !guard.usesProxies ? new Proxies({}) : this.#proxies;
    this.#direct = this.#agent();
  }

  #agent(lookup?: ReturnType<typeof guardedLookup>): Agent {
    return new Agent({ connections: this.options.connections, ...this.#connection(lookup) });
  }

  /**
   * Connections of guarded URLs. The lookup of each origin has its own rules: a host may be allowed with one port alone.
   * They never get the client certificate, which is not for whoever wrote the URL.
   */
  #agentOf(guard: AddressGuard): Agent {
    const { connections } = this.options;
    const factory = (origin: string | URL) =>
      new Pool(origin, {
        connections,
        ...this.#connection(guard.lookup(new URL(origin)), this.#getProxies),
      });
    return new Agent({ factory });
  }

  /** Options of a connection. */
  #connection(lookup?: ReturnType<typeof guardedLookup>, proxies = this.#proxies) {
    const { timeoutMs } = this.options;
    return {
      pipelining: 1,
      allowH2: false,
      keepAliveTimeout: 10_000,
      headersTimeout: timeoutMs,
      bodyTimeout: 0, // StallWatchdog watches slow bodies instead
      connect: connectorOf({
        timeoutMs,
        proxies,
        lookup,
        named: lookup === undefined,
        tunnels: this.#tunnels,
      }),
    };
  }

  async close(): Promise<void> {
    const all = [this.#direct, this.#guarded, this.#guardedLoopback, this.#checked, this.#services];
    const closed = Promise.all(all.map((each) => each?.destroy()));
    for (const socket of this.#tunnels) socket.destroy();
    await closed;
  }

  /**
   * Sends a GET and follows redirects to a final response.
   *
   * @param headers the user's headers, which stay with the origin of `url`.
   * @param extra conditions and ranges, sent to every hop.
   * @throws TransferError if no response was received; class `address` where the guard refuses a hop.
   */
  async get(url: string, headers: Headers, extra: Headers, signal: AbortSignal): Promise<HttpAnswer> {
    let target = parseUrl(url);
    const asked = target;
    let sent = headers;
    if (target.username !== "" || target.password !== "") {
      sent = { ...headers, authorization: basicAuth(target) };
    }
    const seen = new Set<string>();
    for (;;) {
      const agent = this.#agentFor(asked, target);
      const answer = await this.#request(
        agent,
        { origin: target.origin, path: target.pathname + target.search },
        { ...sent, ...extra, "accept-encoding": "identity" },
        signal,
        { method: "GET" },
      );
      const location = answer.headers.location;
      const follows = this.options.followsRedirects ?? true;
      if (!follows || !isRedirect(answer.status) || location === undefined) return answer;
      answer.body.discard(Number(answer.headers["content-length"] ?? 0));
      seen.add(target.href);
      const next = redirectTarget(target, location);
      if (seen.has(next.href)) throw redirectError(`redirect loop at ${redactUrl(next.href)}`);
      if (seen.size > MOST_REDIRECTS) throw redirectError(`more than ${MOST_REDIRECTS} redirects`);
      if (next.origin !== target.origin) {
        sent = Object.fromEntries(Object.entries(sent).filter(([name]) => CROSS_ORIGIN_HEADERS.has(name)));
      }
      target = next;
    }
  }

  /**
   * Posts a body to where a URL leads, as far as the guard lets it. Redirects are returned, not followed.
   *
   * @throws TransferError if no response was received; class `address` where the guard refuses the URL.
   */
  async post(url: string, body: Uint8Array, headers: Headers, signal: AbortSignal): Promise<HttpAnswer> {
    const target = parseUrl(url);
    const hasLogin = target.username !== "" || target.password !== "";
    return await this.#request(
      this.#agentFor(target, target),
      { origin: target.origin, path: target.pathname + target.search },
      {
        ...headers,
        ...(hasLogin ? { authorization: basicAuth(target) } : {}),
        "content-length": String(body.length),
      },
      signal,
      { method: "POST", body, short: true },
    );
  }

  /**
   * Sends one request to exactly this target of a service. Redirects are returned, not followed.
   *
   * @param path with its query, sent as it is without normalisation.
   * @param message default a GET.
   * @throws TransferError if no response was received.
   */
  ask(
    origin: string,
    path: string,
    headers: Headers,
    signal: AbortSignal,
    message: HttpMessage = { method: "GET" },
  ): Promise<HttpAnswer> {
    this.#services ??= new Connections(this.options.connections, this.#connection());
    return this.#request(this.#services, { origin, path }, headers, signal, message);
  }

  #agentFor(asked: URL, target: URL): Agent {
    const { guard } = this.options;
    if (guard) {
      guard.check(target);
      this.#checked ??= this.#agentOf(guard);
      return this.#checked;
    }
    if (target.hostname === asked.hostname) return this.#direct;
    const host = bareHost(asked.hostname);
    const loopback = host === "localhost" || (isIP(host) !== 0 && isLoopbackAddress(host));
    checkLiteral(target.hostname, loopback);
    if (loopback) {
      this.#guardedLoopback ??= this.#agent(guardedLookup(true));
      return this.#guardedLoopback;
    }
    this.#guarded ??= this.#agent(guardedLookup(false));
    return this.#guarded;
  }

  /** Sends a request, through the proxy of its origin if it has one. */
  async #request(
    agent: Agent | Connections,
    { origin, path }: { origin: string; path: string },
    given: Headers,
    signal: AbortSignal,
    message: HttpMessage,
  ): Promise<HttpAnswer> {
    const headers: Headers = { "user-agent": this.#userAgent, ...given };
    const proxies = agent === this.#services ? this.#proxies : this.#getProxies;
    const proxy = proxies.for(origin);
    if (!proxy || isHttps(origin))
      return await this.#dispatch(agent, { origin, path, headers, proxy }, signal, message);
    const { authorization } = proxy;
    if (authorization !== undefined) headers["proxy-authorization"] = authorization;
    const target = { origin, path: origin + path, headers, proxy };
    const answer = await this.#dispatch(agent, target, signal, message);
    if (answer.status !== 407) return answer;
    answer.body.discard(Number(answer.headers["content-length"] ?? 0));
    throw proxyRefusal(proxy, answer.status);
  }

  #dispatch(
    agent: Agent | Connections,
    { origin, path, headers, proxy }: Target,
    signal: AbortSignal,
    { method, body: sent, short }: HttpMessage,
  ): Promise<HttpAnswer> {
    const { timeoutMs, discardMs } = this.options;
    const streams = sent !== undefined && !(sent instanceof Uint8Array);
    const answerTimeoutMs = timeoutMs + (streams ? 0 : sendingMs(sent?.length ?? 0));
    return new Promise((resolve, reject) => {
      let body: HttpBody | undefined;
      let controller: Dispatcher.DispatchController | undefined;
      let stopped: Error | undefined;
      let timer: NodeJS.Timeout | undefined;
      let sentMs = 0;
      const stop = (reason: Error) => {
        stopped = reason;
        done();
        if (body) body.abort(reason);
        else controller?.abort(reason);
        reject(reason);
      };
      const onAbort = () => stop(reasonOf(signal));
      const done = () => {
        clearTimeout(timer);
        signal.removeEventListener("abort", onAbort);
      };
      /** Stops the request if what is to happen next takes longer. */
      const expect = (withinMs?: number) => {
        clearTimeout(timer);
        if (withinMs === undefined || stopped || body) return;
        timer = setTimeout(() => stop(connectionError(new errors.HeadersTimeoutError(), withinMs)), withinMs);
      };
      const bodyOf = (sending: Uint8Array | AsyncIterable<Uint8Array>) => {
        if (!(sending instanceof Uint8Array))
          // undici takes an iterable as it is, without a stream around it.
          return watched(sending, expect, timeoutMs) as unknown as Readable;
        return sending.length <= SEND_BYTES ? sending : Readable.from(slices(sending));
      };
      if (signal.aborted) return onAbort();
      signal.addEventListener("abort", onAbort, { once: true });
      // undici limits the time for a new connection, but not the wait for one that is in use.
      timer = setTimeout(() => {
        const error = new errors.ConnectTimeoutError();
        stop(proxy ? proxyUnreachable(proxy, error, timeoutMs) : connectionError(error, timeoutMs));
      }, timeoutMs);
      agent.dispatch(
        {
          origin,
          path,
          method,
          headers,
          ...(short ? { bodyTimeout: timeoutMs } : {}),
          // While a stream waits for its source, the server owes nothing.
          headersTimeout: streams ? 0 : answerTimeoutMs,
          ...(sent ? { body: bodyOf(sent) } : {}),
        },
        {
          onRequestStart(control) {
            controller = control;
            clearTimeout(timer);
            timer = undefined;
            sentMs = performance.now();
            if (stopped) control.abort(stopped);
          },
          onBodySent() {
            if (streams) return;
            clearTimeout(timer);
            timer = undefined;
            sentMs = performance.now();
          },
          onResponseStart(control, status, received) {
            if (status < 200) {
              // undici starts its limit again with each interim response.
              timer ??= setTimeout(
                () => stop(connectionError(new errors.HeadersTimeoutError(), timeoutMs)),
                answerTimeoutMs - (performance.now() - sentMs),
              );
              return;
            }
            clearTimeout(timer);
            const answerHeaders = joined(received);
            // Sockets of tunnels are read by Node alone.
            const direct = proxy && isHttps(origin) ? undefined : DirectReceive.of(answerHeaders);
            body = new HttpBody(control, direct, discardMs);
            resolve({ status, headers: answerHeaders, body });
          },
          onResponseData(_control, chunk) {
            body?.push(chunk);
          },
          onResponseEnd(_control, trailers) {
            done();
            if (!body) return;
            body.trailers = joined(trailers);
            body.end();
          },
          onResponseError(_control, error) {
            done();
            const known = connectionError(error, timeoutMs);
            if (body) body.fail(known.class === "connect" ? brokenOff(body.receivedBytes) : known);
            else reject(known);
          },
        },
      );
    });
  }
}

function isHttps(origin: string): boolean {
  return origin.startsWith("https:");
}

/** Why a request was aborted. */
function reasonOf({ reason }: AbortSignal): Error {
  if (!(reason instanceof Error)) return new TransferError("cancelled", "cancelled");
  if (reason.name !== "TimeoutError") return reason;
  return new TransferError("timeout", "network timeout: no answer in time", { verdict: "fail" });
}

/** Longest time in ms that so many bytes may be in the system's buffers before they are sent. */
function sendingMs(bytes: number): number {
  return (Math.min(bytes, BUFFERED_BYTES) / LEAST_BYTES_PER_SECOND) * 1000;
}

/**
 * Passes a stream on, and has each wait for the server limited: for its taking of a chunk, and for the response after the
 * last one. The wait for the source is not.
 */
async function* watched(
  chunks: AsyncIterable<Uint8Array>,
  expect: (withinMs?: number) => void,
  timeoutMs: number,
): AsyncGenerator<Uint8Array> {
  let bytes = 0;
  for await (const chunk of chunks) {
    if (chunk.length === 0) continue;
    bytes += chunk.length;
    expect(timeoutMs + sendingMs(chunk.length));
    yield chunk;
    expect();
  }
  expect(timeoutMs + sendingMs(bytes));
}

async function* slices(bytes: Uint8Array): AsyncGenerator<Uint8Array> {
  for (let at = 0; at < bytes.length; at += SEND_BYTES) yield bytes.subarray(at, at + SEND_BYTES);
}

function joined(received: Record<string, string | string[] | undefined>): AnswerHeaders {
  for (const name in received) {
    const value = received[name];
    if (Array.isArray(value)) received[name] = name === "location" ? value[0] : value.join(", ");
  }
  return received as AnswerHeaders;
}

/** @throws TransferError if the text is not an http(s) URL. */
export function parseUrl(text: string): URL {
  let url: URL;
  try {
    url = new URL(text);
  } catch {
    throw new TransferError("unsupported", `invalid URL ${redactUrl(text)}`, { permanent: true });
  }
  if (url.protocol !== "http:" && url.protocol !== "https:") {
    throw new TransferError("unsupported", `unsupported scheme ${url.protocol}//: use http, https or file`, {
      permanent: true,
    });
  }
  return url;
}

function basicAuth(url: URL): string {
  const plain = `${decode(url.username)}:${decode(url.password)}`;
  return `Basic ${Buffer.from(plain).toString("base64")}`;
}

function decode(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    return text; // not percent-encoded after all
  }
}

function isRedirect(status: number): boolean {
  return status === 301 || status === 302 || status === 303 || status === 307 || status === 308;
}

function redirectTarget(from: URL, location: string): URL {
  let next: URL;
  try {
    // Header values arrive as bytes. Servers send unencoded characters as UTF-8.
    const bytes = Buffer.from(location, "latin1");
    next = new URL(isUtf8(bytes) ? bytes.toString() : location, from);
  } catch {
    throw redirectError("redirect to an invalid URL");
  }
  if (next.protocol !== "http:" && next.protocol !== "https:") {
    throw redirectError(`refused redirect to a ${next.protocol} URL`);
  }
  next.username = "";
  next.password = "";
  next.hash = "";
  return next;
}

function brokenOff(bytes: number): TransferError {
  return new TransferError("truncated", `the connection broke off after ${bytes} bytes`, { verdict: "fail" });
}

function redirectError(message: string): TransferError {
  return new TransferError("redirect", message, { permanent: true, verdict: "ok" });
}
