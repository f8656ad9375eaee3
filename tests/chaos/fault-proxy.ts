import { once } from "node:events";
import { type AddressInfo, connect, createServer, type Server, type Socket } from "node:net";

/** What a link does to bytes, the same in both directions. */
export interface Slowness {
  /** One way. */
  readonly latencyMs: number;
  /** Per connection and direction. */
  readonly bytesPerSecond: number;
}

const FAST: Slowness = { latencyMs: 0, bytesPerSecond: Number.POSITIVE_INFINITY };
/** What may be on its way in one direction of a connection before its sender has to wait. */
const MOST_UNDERWAY_BYTES = 256 * 1024;

interface Link {
  held: boolean;
  slowness: Slowness;
}

/** One direction of one connection. */
class Pipe {
  readonly #underway: { chunk: Buffer | "end"; dueMs: number }[] = [];
  #bytes = 0;
  #lineFreeMs = 0;
  #timer: NodeJS.Timeout | undefined;

  constructor(
    private readonly from: Socket,
    private readonly to: Socket,
    private readonly link: Link,
  ) {
    from.on("data", (chunk: Buffer) => this.#take(chunk, chunk.length));
    from.on("end", () => this.#take("end", 0));
    to.on("drain", () => this.go());
    to.on("close", () => clearTimeout(this.#timer));
  }

  /** Holds or passes on, as the link is now. */
  go(): void {
    clearTimeout(this.#timer);
    for (;;) {
      if (this.link.held || this.to.destroyed) {
        this.from.pause();
        return;
      }
      const next = this.#underway[0];
      if (next === undefined) break;
      const waitMs = next.dueMs - performance.now();
      if (waitMs > 0) {
        this.#timer = setTimeout(() => this.go(), waitMs);
        break;
      }
      this.#underway.shift();
      if (next.chunk === "end") {
        this.to.end();
        return;
      }
      this.#bytes -= next.chunk.length;
      if (!this.to.write(next.chunk)) {
        this.from.pause();
        return; // "drain" goes on
      }
    }
    if (this.#bytes < MOST_UNDERWAY_BYTES) this.from.resume();
    else this.from.pause();
  }

  #take(chunk: Buffer | "end", size: number): void {
    const { latencyMs, bytesPerSecond } = this.link.slowness;
    this.#lineFreeMs = Math.max(this.#lineFreeMs, performance.now()) + (size / bytesPerSecond) * 1000;
    this.#underway.push({ chunk, dueMs: this.#lineFreeMs + latencyMs });
    this.#bytes += size;
    this.go();
  }
}

/** A TCP link to a server on this machine that can be cut, held and slowed. It keeps its port all along. */
export class FaultProxy {
  /** Connections that were accepted so far. */
  accepted = 0;
  readonly #link: Link = { held: false, slowness: FAST };
  readonly #sockets = new Set<Socket>();
  readonly #pipes = new Set<Pipe>();
  /** Connections that came while the link was held: connected to the server once it is not. */
  readonly #waiting = new Set<Socket>();
  #server: Server | undefined;
  #port = 0;

  private constructor(private readonly targetPort: number) {}

  static async start(targetPort: number): Promise<FaultProxy> {
    const proxy = new FaultProxy(targetPort);
    await proxy.accept();
    return proxy;
  }

  get port(): number {
    return this.#port;
  }

  /** Resets every connection. New ones are accepted. */
  cut(): void {
    for (const socket of this.#sockets) socket.resetAndDestroy();
  }

  /** Resets every connection and listens no more: new ones are refused, until {@link accept}. */
  async refuse(): Promise<void> {
    const server = this.#server;
    this.#server = undefined;
    const closed = server && new Promise((resolve) => server.close(resolve));
    this.cut();
    await closed;
  }

  async accept(): Promise<void> {
    if (this.#server) return;
    const server = createServer({ allowHalfOpen: true, pauseOnConnect: true }, (socket) => this.#on(socket));
    server.listen(this.#port, "127.0.0.1");
    await once(server, "listening");
    this.#server = server;
    this.#port = (server.address() as AddressInfo).port;
  }

  /** A black hole: connections stay open and new ones are accepted, but not a byte passes, nor the news of an end. */
  hold(): void {
    this.#link.held = true;
    for (const pipe of this.#pipes) pipe.go();
  }

  /** After {@link hold}: what was sent meanwhile arrives, as it does when a network that lost packets is mended. */
  release(): void {
    this.#link.held = false;
    for (const socket of this.#waiting) this.#join(socket);
    this.#waiting.clear();
    for (const pipe of this.#pipes) pipe.go();
  }

  slow(slowness: Slowness): void {
    this.#link.slowness = slowness;
  }

  /** As on the first day: accepts and passes at full speed. */
  async heal(): Promise<void> {
    this.#link.slowness = FAST;
    this.release();
    await this.accept();
  }

  async stop(): Promise<void> {
    await this.refuse();
  }

  #on(socket: Socket): void {
    this.accepted += 1;
    this.#track(socket);
    if (this.#link.held) this.#waiting.add(socket);
    else this.#join(socket);
  }

  #join(client: Socket): void {
    if (client.destroyed) return;
    const server = connect({ port: this.targetPort, host: "127.0.0.1", allowHalfOpen: true });
    this.#track(server);
    const pipes = [new Pipe(client, server, this.#link), new Pipe(server, client, this.#link)];
    for (const pipe of pipes) this.#pipes.add(pipe);
    for (const [one, other] of [
      [client, server],
      [server, client],
    ] as const) {
      one.on("close", () => {
        // Both ended in order and all has passed, or one of them broke: then the other one hears of it.
        if (!other.writableFinished) other.resetAndDestroy();
        for (const pipe of pipes) this.#pipes.delete(pipe);
      });
    }
    for (const pipe of pipes) pipe.go();
  }

  #track(socket: Socket): void {
    socket.setNoDelay(true);
    this.#sockets.add(socket);
    socket.on("error", () => {}); // "close" follows
    socket.on("close", () => {
      this.#sockets.delete(socket);
      this.#waiting.delete(socket);
    });
  }
}
