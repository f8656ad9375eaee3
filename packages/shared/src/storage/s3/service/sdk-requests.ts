import { Readable } from "node:stream";
import type { HttpClient } from "../../http/client.js";

/** Longest answer in bytes that is taken. */
const MOST_ANSWER_BYTES = 16 << 20;

/** A request as the AWS SDK makes it. */
export interface SdkRequest {
  method: string;
  protocol: string;
  hostname: string;
  port?: number;
  path: string;
  query?: Record<string, string | string[] | null>;
  headers: Record<string, string>;
  body?: string | Uint8Array;
}

/**
 * Sends a request of the AWS SDK as all others are sent: through the proxy of the environment, with the authorities of the
 * settings. The SDK's own handler knows neither.
 *
 * @returns what a request handler of the SDK answers with.
 * @throws TransferError if there is no answer.
 */
export async function sendSdkRequest(http: HttpClient, request: SdkRequest, signal: AbortSignal) {
  const { method, protocol, hostname, port, path, query = {}, headers, body } = request;
  const parameters = new URLSearchParams();
  for (const [name, value] of Object.entries(query))
    for (const each of [value].flat()) parameters.append(name, each ?? "");
  const search = parameters.size === 0 ? "" : `?${parameters}`;
  const bytes = body === undefined || body.length === 0 ? undefined : Buffer.from(body);
  const answer = await http.ask(
    `${protocol}//${hostname}${port === undefined ? "" : `:${port}`}`,
    path + search,
    { ...headers, ...(bytes ? { "content-length": String(bytes.length) } : {}) },
    signal,
    { method: method as "GET" | "POST", short: true, ...(bytes ? { body: bytes } : {}) },
  );
  const chunks: Buffer[] = [];
  for (let read = await answer.body.read(); read; read = await answer.body.read()) {
    chunks.push(...read);
    if (answer.body.receivedBytes > MOST_ANSWER_BYTES) throw new Error("the answer is too long");
  }
  const response = {
    statusCode: answer.status,
    headers: answer.headers,
    body: Readable.from([Buffer.concat(chunks)]),
  };
  return { response };
}
