import { createServer, type IncomingHttpHeaders, type IncomingMessage, type ServerResponse } from "node:http";
import { createServer as createTlsServer } from "node:https";
import { type AddressInfo, createServer as createRawServer, type Server, type Socket } from "node:net";
import { performance } from "node:perf_hooks";

export interface RecordedRequest {
  readonly method: string;
  /** As it came over the wire, without the query. */
  readonly path: string;
  readonly query: string;
  readonly headers: IncomingHttpHeaders;
  /** Milliseconds on the monotonic clock. */
  readonly at: number;
}

export interface Exchange {
  readonly request: IncomingMessage;
  readonly response: ServerResponse;
  /** Which request to this route it is, counted from 1. */
  readonly nth: number;
}

/** Answers one request, well or badly. */
export type Behaviour = (exchange: Exchange) => void | Promise<void>;

interface Route {
  readonly behaviours: readonly Behaviour[];
  count: number;
}

export interface TlsFiles {
  readonly key: string;
  readonly cert: string;
}

/**
 * An HTTP(S) server on 127.0.0.1 that misbehaves as told and remembers what it was asked. Each has a port, and
 * so a circuit breaker, of its own: tests share nothing when each starts its own.
 */
export class FaultOrigin {
  readonly requests: RecordedRequest[] = [];
  readonly #routes = new Map<string, Route>();
  readonly #waiting = new Set<() => void>();
  readonly #server: Server & { closeAllConnections(): void };
  readonly #scheme: string;

  private constructor(tls: TlsFiles | undefined) {
    const answer = (request: IncomingMessage, response: ServerResponse) =>
      void this.#answer(request, response);
    this.#server = tls ? createTlsServer(tls, answer) : createServer(answer);
    this.#scheme = tls ? "https" : "http";
    // A client that gives up in the middle is part of the show.
    this.#server.on("connection", (socket: Socket) => socket.on("error", () => {}));
    this.#server.on("tlsClientError", () => {});
  }

  static async start(tls?: TlsFiles): Promise<FaultOrigin> {
    const origin = new FaultOrigin(tls);
    await listen(origin.#server);
    return origin;
  }

  get port(): number {
    return (this.#server.address() as AddressInfo).port;
  }

  get host(): string {
    return `127.0.0.1:${this.port}`;
  }

  /** The URL of a path on this server. */
  url(path = "/"): string {
    return `${this.#scheme}://${this.host}${path}`;
  }

  /**
   * The n-th request to `path` gets the n-th behaviour, and the last one answers all further ones. A path that
   * ends in `*` matches every path that starts so. A path with percent escapes stays as it is on the wire, any
   * other is encoded. Answers with the URL.
   */
  route(path: string, ...behaviours: Behaviour[]): string {
    this.#routes.set(path, { behaviours, count: 0 });
    return this.url(/%[0-9a-f]{2}/i.test(path) ? path : encodeURI(path));
  }

  requestsTo(path: string): RecordedRequest[] {
    return this.requests.filter((request) => request.path === path);
  }

  /** Fulfilled once `count` requests have come, to `path` if one is given. */
  async waitFor(count: number, path?: string, timeoutMs = 20_000): Promise<void> {
    const seen = () => (path === undefined ? this.requests : this.requestsTo(path)).length >= count;
    if (seen()) return;
    await new Promise<void>((resolve, reject) => {
      const timer = setTimeout(() => {
        this.#waiting.delete(look);
        reject(new Error(`waited ${timeoutMs} ms in vain for request ${count} to ${path ?? "anything"}`));
      }, timeoutMs);
      const look = () => {
        if (!seen()) return;
        clearTimeout(timer);
        this.#waiting.delete(look);
        resolve();
      };
      this.#waiting.add(look);
    });
  }

  async stop(): Promise<void> {
    const closed = new Promise((resolve) => this.#server.close(resolve));
    this.#server.closeAllConnections();
    await closed;
  }

  async #answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const [path = "/", query = ""] = (request.url ?? "/").split("?", 2);
    request.on("error", () => {});
    response.on("error", () => {});
    request.resume();
    const { method = "GET", headers } = request;
    this.requests.push({ method, path, query, headers, at: performance.now() });
    const route = this.#find(path);
    if (route) route.count += 1;
    for (const look of [...this.#waiting]) look();
    if (!route) {
      response.writeHead(404, { "content-type": "text/plain" }).end("no such path\n");
      return;
    }
    const behaviour = route.behaviours[Math.min(route.count, route.behaviours.length) - 1];
    try {
      await behaviour?.({ request, response, nth: route.count });
    } catch {
      request.socket.destroy();
    }
  }

  #find(path: string): Route | undefined {
    const exact = this.#routes.get(path) ?? this.#routes.get(decoded(path));
    if (exact) return exact;
    for (const [key, route] of this.#routes) {
      if (key.endsWith("*") && path.startsWith(key.slice(0, -1))) return route;
    }
    return undefined;
  }
}

/** A TCP server for what no HTTP server would say. */
export class RawOrigin {
  connections = 0;
  readonly #sockets = new Set<Socket>();
  readonly #server: Server;

  private constructor(onConnection: (socket: Socket) => void) {
    this.#server = createRawServer((socket) => {
      this.connections += 1;
      this.#sockets.add(socket);
      socket.on("error", () => {});
      socket.on("close", () => this.#sockets.delete(socket));
      onConnection(socket);
    });
  }

  static async start(onConnection: (socket: Socket) => void): Promise<RawOrigin> {
    const origin = new RawOrigin(onConnection);
    await listen(origin.#server);
    return origin;
  }

  url(path = "/"): string {
    return `http://127.0.0.1:${(this.#server.address() as AddressInfo).port}${path}`;
  }

  async stop(): Promise<void> {
    const closed = new Promise((resolve) => this.#server.close(resolve));
    for (const socket of this.#sockets) socket.destroy();
    await closed;
  }
}

/** A URL on which nobody listens. */
export async function refusedUrl(path = "/"): Promise<string> {
  const origin = await FaultOrigin.start();
  const url = origin.url(path);
  await origin.stop();
  return url;
}

function decoded(path: string): string {
  try {
    return decodeURIComponent(path);
  } catch {
    return path;
  }
}

async function listen(server: Server): Promise<void> {
  await new Promise<void>((resolve, reject) => {
    server.once("error", reject);
    server.listen(0, "127.0.0.1", resolve);
  });
}
