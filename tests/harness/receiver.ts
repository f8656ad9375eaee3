import { createHmac } from "node:crypto";
import { once } from "node:events";
import { createServer, type IncomingHttpHeaders, type IncomingMessage, type ServerResponse } from "node:http";
import { createServer as createTlsServer } from "node:https";
import type { AddressInfo, Server } from "node:net";
import type { TlsFiles } from "./fault-origin.js";

export interface Delivery {
  readonly headers: IncomingHttpHeaders;
  readonly text: string;
  // biome-ignore lint/suspicious/noExplicitAny: tests say what they expect of it
  readonly body: any;
}

/** Receives webhooks at a port of 127.0.0.1, and answers the n-th with the n-th status; the last answers all further ones. */
export class Receiver {
  readonly deliveries: Delivery[] = [];
  statuses: readonly number[] = [204];
  url = "";
  readonly #server: Server & { closeAllConnections(): void };

  private constructor(tls: TlsFiles | undefined) {
    const answer = (request: IncomingMessage, response: ServerResponse) =>
      void this.#answer(request, response);
    this.#server = tls ? createTlsServer(tls, answer) : createServer(answer);
  }

  async #answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const chunks: Buffer[] = [];
    for await (const chunk of request) chunks.push(chunk as Buffer);
    const text = Buffer.concat(chunks).toString();
    this.deliveries.push({ headers: request.headers, text, body: JSON.parse(text) });
    const status = this.statuses[Math.min(this.deliveries.length, this.statuses.length) - 1] ?? 204;
    response.writeHead(status, { location: "/elsewhere" }).end();
  }

  /** @param port default: any free one. */
  static async start(tls?: TlsFiles, port = 0): Promise<Receiver> {
    const receiver = new Receiver(tls);
    receiver.#server.listen(port, "127.0.0.1");
    await once(receiver.#server, "listening");
    receiver.url = `${tls ? "https" : "http"}://127.0.0.1:${(receiver.#server.address() as AddressInfo).port}/hook`;
    return receiver;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#server.close();
    this.#server.closeAllConnections();
    await once(this.#server, "close").catch(() => {});
  }
}

/** The signature that a delivery must have, by the words of the Standard Webhooks specification. */
export function expectedSignature(secret: string, { headers, text }: Delivery): string {
  const key = Buffer.from(secret.slice("whsec_".length), "base64");
  const signed = `${headers["webhook-id"]}.${headers["webhook-timestamp"]}.${text}`;
  return `v1,${createHmac("sha256", key).update(signed).digest("base64")}`;
}
