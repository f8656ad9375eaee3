import { once } from "node:events";
import { type AddressInfo, connect, createServer, type Socket } from "node:net";
import { test as base, describe, expect } from "vitest";
import { until } from "../harness/gate.js";
import { FaultProxy } from "./fault-proxy.js";

/** A connection whose every byte is kept. */
class Client {
  received = Buffer.alloc(0);
  /** How it ended: `end`, or the code of an error. */
  ended: string | undefined;
  readonly closed: Promise<void>;

  private constructor(readonly socket: Socket) {
    socket.on("data", (data: Buffer) => {
      this.received = Buffer.concat([this.received, data]);
    });
    socket.on("error", (error: NodeJS.ErrnoException) => {
      this.ended = error.code ?? "error";
    });
    socket.on("end", () => {
      this.ended = "end";
    });
    this.closed = new Promise((resolve) => socket.once("close", () => resolve()));
  }

  static async to(port: number): Promise<Client> {
    const client = new Client(connect(port, "127.0.0.1"));
    await once(client.socket, "connect");
    return client;
  }

  async got(text: string): Promise<void> {
    await until(`${text} to arrive`, () => this.received.toString() === text);
  }
}

interface Fixtures {
  /** Passes on to a server that sends back what it gets. */
  proxy: FaultProxy;
}

const it = base.extend<Fixtures>({
  // biome-ignore lint/correctness/noEmptyPattern: vitest reads what a fixture needs from the pattern
  proxy: async ({}, use) => {
    const echo = createServer({ allowHalfOpen: true }, (socket) => {
      socket.on("error", () => {});
      socket.pipe(socket);
    });
    echo.listen(0, "127.0.0.1");
    await once(echo, "listening");
    const proxy = await FaultProxy.start((echo.address() as AddressInfo).port);
    await use(proxy);
    await proxy.stop();
    echo.close();
  },
});

describe("a link", () => {
  it("passes everything in order, and the end", async ({ proxy }) => {
    const client = await Client.to(proxy.port);
    const sent = Buffer.alloc(5_000_000, "0123456789abcdef_");
    client.socket.end(sent);
    await client.closed;
    expect(client.received.equals(sent)).toBe(true);
    expect(client.ended).toBe("end");
  });

  it("that is cut resets what is open and takes new connections", async ({ proxy }) => {
    const client = await Client.to(proxy.port);
    client.socket.write("a");
    await client.got("a");
    proxy.cut();
    await client.closed;
    expect(client.ended).toBe("ECONNRESET");
    const next = await Client.to(proxy.port);
    next.socket.write("b");
    await next.got("b");
    next.socket.destroy();
  });

  it("that refuses is there again on the same port", async ({ proxy }) => {
    const client = await Client.to(proxy.port);
    await proxy.refuse();
    await client.closed;
    await expect(Client.to(proxy.port)).rejects.toThrow("ECONNREFUSED");
    await proxy.heal();
    const next = await Client.to(proxy.port);
    next.socket.write("b");
    await next.got("b");
    next.socket.destroy();
  });

  it("that is held passes nothing, and later all that was sent", async ({ proxy }) => {
    const old = await Client.to(proxy.port);
    old.socket.write("a");
    await old.got("a");
    proxy.hold();
    old.socket.write("b");
    const young = await Client.to(proxy.port);
    young.socket.write("c");
    const gone = await Client.to(proxy.port);
    gone.socket.resetAndDestroy();
    // Time enough for what must not happen.
    await new Promise((resolve) => setTimeout(resolve, 150));
    expect([old.received.toString(), young.received.toString()]).toEqual(["a", ""]);
    expect([old.ended, young.ended]).toEqual([undefined, undefined]);
    proxy.release();
    await old.got("ab");
    await young.got("c");
    old.socket.destroy();
    young.socket.destroy();
  });

  it("that is held can be cut", async ({ proxy }) => {
    const client = await Client.to(proxy.port);
    proxy.hold();
    client.socket.write("a");
    proxy.cut();
    await client.closed;
    expect([client.received.length, client.ended]).toEqual([0, "ECONNRESET"]);
  });

  it("that is slow delays and thins out, and is quick again once healed", async ({ proxy }) => {
    const client = await Client.to(proxy.port);
    proxy.slow({ latencyMs: 60, bytesPerSecond: Number.POSITIVE_INFINITY });
    let started = performance.now();
    client.socket.write("a");
    await client.got("a");
    expect(performance.now() - started).toBeGreaterThan(115); // there and back
    proxy.slow({ latencyMs: 0, bytesPerSecond: 100_000 });
    started = performance.now();
    client.socket.write(Buffer.alloc(30_000));
    await until("all of it", () => client.received.length === 30_001);
    expect(performance.now() - started).toBeGreaterThan(290);
    await proxy.heal();
    client.socket.write(Buffer.alloc(3_000_000));
    await until("all of it", () => client.received.length === 3_030_001, 5_000);
    client.socket.destroy();
  });
});
