import { createServer, type IncomingMessage, request, type ServerResponse } from "node:http";
import { createServer as createTlsServer } from "node:https";
import { type AddressInfo, connect, type Socket } from "node:net";
import type { TlsFiles } from "./fault-origin.js";

interface ProxiedRequest {
  readonly method: string;
  /** As it came over the wire: a whole URL, or `host:port` of CONNECT. */
  readonly target: string;
  readonly authorization: string | undefined;
}

/** An HTTP proxy on 127.0.0.1. Whatever host is asked for, it connects to that port of this machine. */
export class TestProxy {
  readonly requests: ProxiedRequest[] = [];
  /** Status that everything is refused with; 0 for none. */
  refuses = 0;
  /** Whether it takes requests and never answers. */
  silent = false;
  /** The Proxy-Authorization that it wants. */
  wants: string | undefined;
  readonly #sockets = new Set<Socket>();
  readonly #server;
  #onRequest = () => {};

  private constructor(tls: TlsFiles | undefined) {
    const answer = (asked: IncomingMessage, response: ServerResponse) => this.#forward(asked, response);
    this.#server = tls ? createTlsServer(tls, answer) : createServer(answer);
    this.#server.on("connection", (socket: Socket) => this.#keep(socket));
    this.#server.on("connect", (asked: IncomingMessage, socket: Socket) => this.#tunnel(asked, socket));
    this.#server.on("tlsClientError", () => {});
  }

  static async start(tls?: TlsFiles): Promise<TestProxy> {
    const proxy = new TestProxy(tls);
    await new Promise<void>((resolve) => proxy.#server.listen(0, "127.0.0.1", resolve));
    return proxy;
  }

  get port(): number {
    return (this.#server.address() as AddressInfo).port;
  }

  url(user = "", scheme = "http"): string {
    return `${scheme}://${user === "" ? "" : `${user}@`}127.0.0.1:${this.port}`;
  }

  async stop(): Promise<void> {
    const closed = new Promise((resolve) => this.#server.close(resolve));
    for (const socket of this.#sockets) socket.destroy();
    await closed;
  }

  /** Resolves at the next request. */
  asked(): Promise<void> {
    return new Promise((resolve) => {
      this.#onRequest = resolve;
    });
  }

  #keep(socket: Socket): void {
    this.#sockets.add(socket);
    socket.on("error", () => {}).on("close", () => this.#sockets.delete(socket));
  }

  /** @returns the status that a request is refused with; 0 for none. */
  #refusal({ method = "", url: target = "", headers }: IncomingMessage): number {
    const authorization = headers["proxy-authorization"];
    this.requests.push({ method, target, authorization });
    this.#onRequest();
    return this.wants !== undefined && authorization !== this.wants ? 407 : this.refuses;
  }

  #forward(asked: IncomingMessage, response: ServerResponse): void {
    const status = this.#refusal(asked);
    if (this.silent) return;
    if (status !== 0 || !URL.canParse(asked.url ?? "")) {
      response.writeHead(status || 400).end();
      return;
    }
    const { port, pathname, search } = new URL(asked.url as string);
    const { "proxy-authorization": _own, ...headers } = asked.headers;
    const onward = request({
      host: "127.0.0.1",
      port,
      path: pathname + search,
      method: asked.method,
      headers,
    });
    onward.on("response", (answer) => {
      response.writeHead(answer.statusCode as number, answer.rawHeaders);
      answer.pipe(response);
    });
    onward.on("error", () => response.destroy());
    asked.pipe(onward);
  }

  #tunnel(asked: IncomingMessage, socket: Socket): void {
    const status = this.#refusal(asked);
    this.#keep(socket);
    if (this.silent) return;
    if (status !== 0) {
      socket.end(`HTTP/1.1 ${status} Refused\r\ncontent-length: 0\r\n\r\n`);
      return;
    }
    const onward = connect(Number(asked.url?.split(":").at(-1)), "127.0.0.1", () => {
      socket.write("HTTP/1.1 200 Connection established\r\n\r\n");
      socket.pipe(onward).pipe(socket);
    });
    this.#keep(onward);
    onward.on("error", () => socket.destroy());
  }
}
