import { Readable } from "node:stream";
import { HttpClient } from "../http/client.js";

/** Time limit for connecting to a service of credentials and for its answer, in milliseconds. */
const TIMEOUT_MS = 20_000;
const MOST_ANSWER_BYTES = 1 << 20;

/** A request as the AWS SDK makes it. */
interface SdkRequest {
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
 * Sends the requests for credentials (STS, SSO) as all others: through the proxy of the environment, with the authorities of
 * the settings. The SDK's own handler knows neither. What asks this machine or its network for credentials, as on EC2 and
 * in containers, does not come here.
 */
export const credentialRequests = {
  metadata: { handlerProtocol: "http/1.1" },
  async handle(request: SdkRequest, { abortSignal }: { abortSignal?: AbortSignal } = {}) {
    const { method, protocol, hostname, port, path, query = {}, headers, body } = request;
    const parameters = new URLSearchParams();
    for (const [name, value] of Object.entries(query))
      for (const each of [value].flat()) parameters.append(name, each ?? "");
    const search = parameters.size === 0 ? "" : `?${parameters}`;
    const bytes = body === undefined || body.length === 0 ? undefined : Buffer.from(body);
    const http = new HttpClient({ timeoutMs: TIMEOUT_MS, connections: 1, userAgent: undefined });
    try {
      const answer = await http.ask(
        `${protocol}//${hostname}${port === undefined ? "" : `:${port}`}`,
        path + search,
        { ...headers, ...(bytes ? { "content-length": String(bytes.length) } : {}) },
        abortSignal ?? AbortSignal.timeout(2 * TIMEOUT_MS),
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
    } finally {
      await http.close();
    }
  },
  updateHttpClientConfig() {},
  httpHandlerConfigs: () => ({}),
};
