import { createServer, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { setTimeout as sleep } from "node:timers/promises";
import { TransferError } from "@drover/shared/errors";
import { HttpClient } from "@drover/shared/storage/http/client";
import { test as base, describe, expect } from "vitest";
import { pattern, sha256, toBuffer } from "../../harness/content.js";

interface Fixtures {
  /** What a test's server does with a request. */
  serve: (does: Parameters<typeof createServer>[1]) => Promise<string>;
  client: HttpClient;
}

const TIMEOUT_MS = 500;

const it = base.extend<Fixtures>({
  // biome-ignore lint/correctness/noEmptyPattern: vitest reads what a fixture needs from the pattern
  serve: async ({}, use) => {
    const servers: Server[] = [];
    await use(async (does) => {
      const server = createServer(does as never);
      servers.push(server);
      await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
      return `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
    });
    for (const server of servers) {
      server.closeAllConnections();
      server.close();
    }
  },
  // biome-ignore lint/correctness/noEmptyPattern: see above
  client: async ({}, use) => {
    const client = new HttpClient({ timeoutMs: TIMEOUT_MS, connections: 1 });
    await use(client);
    await client.close();
  },
});

const { signal } = new AbortController();
const content = toBuffer(pattern(3 << 20));

async function* inPieces(bytes: Buffer, pauseMs = 0): AsyncGenerator<Uint8Array> {
  for (let at = 0; at < bytes.length; at += 1 << 20) {
    if (pauseMs > 0) await sleep(pauseMs);
    yield bytes.subarray(at, at + (1 << 20));
  }
}

describe("a body that is sent as it comes", () => {
  it.for([true, false])(
    "arrives whole, with a length or without (%s)",
    async (hasLength, { serve, client }) => {
      const origin = await serve((request, response) => {
        const chunks: Buffer[] = [];
        request.on("data", (chunk: Buffer) => chunks.push(chunk));
        request.on("end", () => {
          const { "content-length": length = "none" } = request.headers;
          response.end(`${length} ${sha256(Buffer.concat(chunks))}`);
        });
      });
      const headers: Record<string, string> = hasLength ? { "content-length": String(content.length) } : {};
      // Its source may be slower than the server is given.
      const body = inPieces(content, TIMEOUT_MS + 100);
      const answer = await client.ask(origin, "/", headers, signal, { method: "PUT", body });
      const text = Buffer.concat((await answer.body.read()) ?? []).toString();
      expect(text).toBe(`${hasLength ? content.length : "none"} ${sha256(content)}`);
    },
  );

  it("ends with the error of its source", async ({ serve, client }) => {
    const origin = await serve((request) => void request.resume());
    const error = new TransferError("truncated", "the source broke off");
    async function* breaks(): AsyncGenerator<Uint8Array> {
      yield content;
      throw error;
    }
    const asked = client.ask(origin, "/", {}, signal, { method: "PUT", body: breaks() });
    await expect(asked).rejects.toBe(error);
  });

  it("is given up where the server does not take it, or does not answer", async ({ serve, client }) => {
    const deaf = await serve(() => {});
    async function* endless(): AsyncGenerator<Uint8Array> {
      for (;;) yield Buffer.alloc(16 << 10);
    }
    const refused = client.ask(deaf, "/", {}, signal, { method: "PUT", body: endless() });
    await expect(refused).rejects.toMatchObject({ class: "timeout" });
    const mute = await serve((request) => void request.resume());
    const body = inPieces(Buffer.from("short"));
    const unanswered = client.ask(mute, "/", {}, signal, { method: "PUT", body });
    await expect(unanswered).rejects.toMatchObject({ class: "timeout" });
  });

  it("may be answered before it has come", async ({ serve, client }) => {
    const origin = await serve((request, response) => {
      request.once("data", () => response.writeHead(413).end());
    });
    const answer = await client.ask(origin, "/", {}, signal, { method: "PUT", body: inPieces(content, 100) });
    expect(answer.status).toBe(413);
  });
});
