import { createServer, type IncomingHttpHeaders, type RequestListener } from "node:http";
import type { AddressInfo } from "node:net";

/** What the service is to answer: a status with headers, a connection that is cut, or nothing at all. */
export type Answer = number | { status: number; headers: Record<string, string> } | "cut" | "hang";

export interface Received {
  method: string | undefined;
  url: string | undefined;
  headers: IncomingHttpHeaders;
  body: string;
  timeMs: number;
}

export interface FakeService {
  endpoint: string;
  /** In the order of their arrival. */
  received: Received[];
  /** Most requests that were open at the same time. */
  mostOpen: () => number;
  close: () => Promise<void>;
}

/**
 * A real HTTP server that answers each request as it is told.
 *
 * @param answer gets the request and how many came before it.
 */
export async function startService(
  answer: (request: Received, before: number) => Answer | Promise<Answer>,
): Promise<FakeService> {
  const received: Received[] = [];
  let open = 0;
  let mostOpen = 0;
  const listener: RequestListener = async (request, response) => {
    open += 1;
    mostOpen = Math.max(mostOpen, open);
    response.on("close", () => {
      open -= 1;
    });
    const chunks: Buffer[] = [];
    for await (const chunk of request) chunks.push(chunk);
    const { method, url, headers } = request;
    const each = { method, url, headers, body: Buffer.concat(chunks).toString(), timeMs: performance.now() };
    received.push(each);
    const given = await answer(each, received.length - 1);
    if (given === "hang") return;
    if (given === "cut") {
      request.socket.destroy();
      return;
    }
    const { status, headers: more } = typeof given === "number" ? { status: given, headers: {} } : given;
    response
      .writeHead(status, { "content-type": "application/json", ...more })
      .end('{"detail":"it was read"}');
  };
  const server = createServer(listener);
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const { port } = server.address() as AddressInfo;
  return {
    endpoint: `http://127.0.0.1:${port}`,
    received,
    mostOpen: () => mostOpen,
    close: () =>
      new Promise<void>((resolve) => {
        server.close(() => resolve());
        server.closeAllConnections();
      }),
  };
}
