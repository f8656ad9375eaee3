import { once } from "node:events";
import { createServer, type RequestListener, type ServerResponse } from "node:http";
import type { AddressInfo, Socket } from "node:net";
import { setTimeout as sleep } from "node:timers/promises";
import { HttpClient } from "@drover/shared/storage/http/client";
import { it as base, describe, expect } from "vitest";

/** A test service: what it has seen, and how it is asked. */
interface Service {
  /** Unanswered requests, and the most of them at once. */
  open: ServerResponse[];
  most: number;
  connections: Set<Socket>;
  answer: RequestListener;
  /** Sends a request; resolves with the body when it is complete. */
  ask(signal?: AbortSignal): Promise<string>;
  client: HttpClient;
}

const CONNECTIONS = 3;

const it = base.extend<{ service: Service }>({
  // biome-ignore lint/correctness/noEmptyPattern: vitest asks for it
  service: async ({}, use) => {
    const client = new HttpClient({ timeoutMs: 20_000, connections: CONNECTIONS });
    const service: Service = {
      open: [],
      most: 0,
      connections: new Set(),
      answer: (_request, response) => response.end("whole"),
      client,
      async ask(signal = new AbortController().signal) {
        const { body } = await client.ask(origin, "/", {}, signal);
        let text = "";
        for (let chunks = await body.read(); chunks; chunks = await body.read())
          text += Buffer.concat(chunks).toString();
        return text;
      },
    };
    const server = createServer((request, response) => {
      service.connections.add(request.socket);
      service.open.push(response);
      service.most = Math.max(service.most, service.open.length);
      response.on("finish", () => service.open.splice(service.open.indexOf(response), 1));
      service.answer(request, response);
    });
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
    const origin = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
    await use(service);
    await client.close();
    server.closeAllConnections();
    await new Promise((resolve) => server.close(resolve));
  },
});

/** Delays the body on a recently used connection, as Nagle's algorithm with delayed acknowledgements does. */
function holdsBack(): RequestListener {
  const usedMs = new Map<Socket, number>();
  return async ({ socket }, response) => {
    const restedMs = performance.now() - (usedMs.get(socket) ?? Number.NEGATIVE_INFINITY);
    response.writeHead(200, { "content-length": "5" }).flushHeaders();
    if (restedMs < 40) await sleep(40);
    response.end("whole", () => usedMs.set(socket, performance.now()));
  };
}

describe("connections to a service", () => {
  it("are limited in number, and waiting requests get their turn", async ({ service }) => {
    service.answer = (_request, response) => {
      if (service.open.length === CONNECTIONS) for (const each of service.open) each.end("whole");
      else response.flushHeaders();
    };
    const answers = await Promise.all(Array.from({ length: 4 * CONNECTIONS }, () => service.ask()));
    expect(answers).toEqual(answers.map(() => "whole"));
    expect(service.most).toBe(CONNECTIONS);
    expect(service.connections.size).toBe(CONNECTIONS);
  });

  it("are reused, and no more are opened than needed", async ({ service }) => {
    for (let time = 0; time < 30; time++) expect(await service.ask()).toBe("whole");
    expect(service.connections.size).toBe(1);
  });

  it("are few again after many were needed", async ({ service }) => {
    await Promise.all(Array.from({ length: CONNECTIONS }, () => service.ask()));
    service.connections.clear();
    for (let time = 0; time < 10; time++) await service.ask();
    expect(service.connections.size).toBe(1);
  });

  it("are more if bodies are held back on connections that were not idle", async ({ service }) => {
    service.answer = holdsBack();
    for (let time = 0; time < 40; time++) expect(await service.ask()).toBe("whole");
    expect(service.connections.size).toBeGreaterThan(CONNECTIONS);
    expect(service.most).toBe(1);
  });

  it("are reopened if the service has closed them", async ({ service }) => {
    service.answer = ({ socket }, response) => response.end("whole", () => socket.end());
    for (let time = 0; time < 3; time++) {
      expect(await service.ask()).toBe("whole");
      const [socket] = service.connections;
      if (!socket?.closed) await once(socket as Socket, "close"); // both sides have noticed
      expect(service.connections.size).toBe(1);
      service.connections.clear();
    }
  });

  it("proceed to the next request if one is aborted, sent or not", async ({ service }) => {
    const { promise: full, resolve } = Promise.withResolvers<void>();
    service.answer = () => service.open.length === CONNECTIONS && resolve();
    const stop = new AbortController();
    const given = Array.from({ length: 2 * CONNECTIONS }, () => service.ask(stop.signal));
    const last = service.ask();
    await full;
    service.answer = (_request, response) => response.end("whole");
    stop.abort(new Error("given up"));
    for (const each of given) await expect(each).rejects.toThrow("given up");
    expect(await last).toBe("whole");
  });

  it("are closed with the client, which fails waiting requests", async ({ service }) => {
    const { promise: full, resolve } = Promise.withResolvers<void>();
    service.answer = () => service.open.length === CONNECTIONS && resolve();
    const asked = Array.from({ length: 2 * CONNECTIONS }, () => service.ask());
    const ended = Promise.allSettled(asked);
    await full;
    await service.client.close();
    for (const each of await ended) expect(each.status).toBe("rejected");
  });
});
