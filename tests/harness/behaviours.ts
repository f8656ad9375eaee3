import type { ServerResponse } from "node:http";
import { setTimeout as delay } from "node:timers/promises";
import { brotliCompressSync, deflateSync, gzipSync } from "node:zlib";
import { bytes, type Content, hashOf, sha256, toBuffer } from "./content.js";
import type { Behaviour, Exchange } from "./fault-origin.js";
import type { Gate } from "./gate.js";

export type Headers = Record<string, string>;
type Body = Content | string | Buffer;

export interface FileOptions {
  /** Quotes included; `null` sends none. By default made from the content. */
  readonly etag?: string | null;
  readonly lastModified?: Date | null;
  readonly headers?: Headers;
  /** `false` answers every range with the whole file and advertises none. */
  readonly ranges?: boolean;
  /** What each connection is given. Default: whatever goes through. */
  readonly bytesPerSecond?: number;
}

/** A file as a good server serves it, with conditions and ranges. */
export function file(body: Body, options: FileOptions = {}): Behaviour {
  const content = contentOf(body);
  return (exchange) => serve(exchange, content, options);
}

/** A file whose content a test may replace while it is served. */
export class MutableFile {
  #content: Content;
  #options: FileOptions;

  constructor(body: Body, options: FileOptions = {}) {
    this.#content = contentOf(body);
    this.#options = options;
  }

  replace(body: Body, options: FileOptions = {}): void {
    this.#content = contentOf(body);
    this.#options = options;
  }

  readonly serve: Behaviour = (exchange) => serve(exchange, this.#content, this.#options);
}

export function etagOf(body: Body): string {
  const content = contentOf(body);
  // Hashing gigabytes for a name would be a waste: their size and first bytes tell them apart.
  const sample = toBuffer({ ...content, size: Math.min(content.size, 65_536) });
  return `"${content.size.toString(16)}-${sha256(sample).slice(0, 16)}"`;
}

async function serve(exchange: Exchange, content: Content, options: FileOptions): Promise<void> {
  const { request, response } = exchange;
  const { size } = content;
  const etag = options.etag === null ? undefined : (options.etag ?? etagOf(content));
  const modified =
    options.lastModified === null ? undefined : (options.lastModified ?? new Date(1_700_000_000_000));
  const headers: Headers = {
    "content-type": "application/octet-stream",
    ...(options.ranges === false ? {} : { "accept-ranges": "bytes" }),
    ...(etag === undefined ? {} : { etag }),
    ...(modified === undefined ? {} : { "last-modified": modified.toUTCString() }),
    ...options.headers,
  };
  const asked = request.headers;
  const ifMatch = asked["if-match"];
  if (ifMatch !== undefined && ifMatch !== "*" && ifMatch !== etag) {
    response.writeHead(412, headers).end();
    return;
  }
  const ifNoneMatch = asked["if-none-match"];
  const ifModifiedSince = asked["if-modified-since"];
  const known =
    ifNoneMatch !== undefined
      ? etag !== undefined && ifNoneMatch.split(/,\s*/).includes(etag)
      : ifModifiedSince !== undefined &&
        modified !== undefined &&
        Math.floor(modified.getTime() / 1000) * 1000 <= Date.parse(ifModifiedSince);
  if (known) {
    response.writeHead(304, headers).end();
    return;
  }
  const ifRange = asked["if-range"];
  const rangeHolds = ifRange === undefined || ifRange === etag || ifRange === modified?.toUTCString();
  const range = options.ranges === false || !rangeHolds ? undefined : parseRange(asked.range, size);
  if (range === "unsatisfiable") {
    response.writeHead(416, { ...headers, "content-range": `bytes */${size}`, "content-length": "0" }).end();
    return;
  }
  const [start, end] = range ?? [0, size];
  const length = { "content-length": String(end - start) };
  if (range === undefined) response.writeHead(200, { ...headers, ...length });
  else
    response.writeHead(206, { ...headers, ...length, "content-range": `bytes ${start}-${end - 1}/${size}` });
  if (request.method !== "HEAD") await send(response, content, start, end, options.bytesPerSecond);
  response.end();
}

/** The half-open range that a Range header asks for. */
function parseRange(
  header: string | undefined,
  size: number,
): [number, number] | "unsatisfiable" | undefined {
  const match = /^bytes=(\d*)-(\d*)$/.exec(header ?? "");
  if (!match || (match[1] === "" && match[2] === "")) return undefined;
  if (match[1] === "") return [Math.max(0, size - Number(match[2])), size];
  const start = Number(match[1]);
  if (start >= size) return "unsatisfiable";
  return [start, match[2] === "" ? size : Math.min(size, Number(match[2]) + 1)];
}

export function status(code: number, headers: Headers = {}, body = `status ${code}\n`): Behaviour {
  return ({ response }) => void response.writeHead(code, headers).end(body);
}

/** The connection dies before a byte of the answer. */
export const reset: Behaviour = ({ request }) => void request.socket.resetAndDestroy();

/** An answer whose body begins and never ends. */
export function stalled(code: number, headers: Headers = {}): Behaviour {
  return ({ response }) => {
    response.writeHead(code, { "content-length": "100", ...headers });
    response.write("x");
  };
}

/** Interim answers at an interval in ms, and never a final one. */
export function interim(everyMs: number): Behaviour {
  return ({ request: { socket } }) => {
    const timer = setInterval(() => socket.write("HTTP/1.1 103 Early Hints\r\n\r\n"), everyMs);
    socket.once("close", () => clearInterval(timer));
  };
}

/** The request is heard and never answered. */
export const silence: Behaviour = () => {};

/** Nothing is said until the gate opens. */
export function gated(gate: Gate, then: Behaviour): Behaviour {
  return async (exchange) => {
    await gate.pass();
    await then(exchange);
  };
}

export function after(ms: number, then: Behaviour): Behaviour {
  return async (exchange) => {
    await delay(ms, undefined, { ref: false });
    await then(exchange);
  };
}

/** The same bad answer several times, to be followed by better ones in a route. */
export function times(count: number, behaviour: Behaviour): Behaviour[] {
  return Array.from({ length: count }, () => behaviour);
}

/** A little of the body at a time: `size` bytes every `everyMs`. */
export function drip(body: Body, size: number, everyMs: number): Behaviour {
  const content = contentOf(body);
  return async ({ response }) => {
    response.writeHead(200, { "content-length": String(content.size), etag: etagOf(content) });
    for (let at = 0; at < content.size && !response.destroyed; at += size) {
      await send(response, content, at, Math.min(at + size, content.size));
      await delay(everyMs, undefined, { ref: false });
    }
    response.end();
  };
}

/** Sends `at` bytes of the whole file, honours no range, and then waits at the gate before the rest. */
export function pausedAt(body: Body, at: number, gate: Gate, options: FileOptions = {}): Behaviour {
  const content = contentOf(body);
  return async ({ response }) => {
    response.writeHead(200, {
      "content-length": String(content.size),
      "accept-ranges": "bytes",
      etag: options.etag ?? etagOf(content),
      ...options.headers,
    });
    response.flushHeaders();
    await send(response, content, 0, at);
    await gate.pass();
    await send(response, content, at, content.size);
    response.end();
  };
}

/** Promises the whole file, sends `at` bytes of it, and then does what `how` says. */
export function cutAt(
  body: Body,
  at: number,
  how: "stall" | "reset" | "close",
  options: FileOptions = {},
): Behaviour {
  const content = contentOf(body);
  return async ({ request, response }) => {
    response.writeHead(200, {
      "content-length": String(content.size),
      "accept-ranges": "bytes",
      ...(options.etag === null ? {} : { etag: options.etag ?? etagOf(content) }),
      ...options.headers,
    });
    response.flushHeaders();
    await send(response, content, 0, at);
    if (how === "stall") return;
    await flushed(response);
    if (how === "reset") request.socket.resetAndDestroy();
    else request.socket.destroySoon();
  };
}

/** Chunked, and over before the last chunk was announced. */
export function chunkedCut(body: Body): Behaviour {
  const content = contentOf(body);
  return async ({ request, response }) => {
    response.writeHead(200, { "content-type": "application/octet-stream" });
    await send(response, content, 0, content.size);
    await flushed(response);
    request.socket.destroySoon();
  };
}

/** Chunked and complete: no length is known before the end. */
export function chunked(body: Body, headers: Headers = {}): Behaviour {
  const content = contentOf(body);
  return async ({ response }) => {
    response.writeHead(200, headers);
    await send(response, content, 0, content.size);
    response.end();
  };
}

/** HTTP/1.0 style: neither a length nor chunks, the end of the connection is the end of the file. */
export function closeDelimited(body: Body, headers: Headers = {}): Behaviour {
  const lines = Object.entries(headers).map(([name, value]) => `${name}: ${value}\r\n`);
  return ({ request }) => {
    request.socket.write(`HTTP/1.1 200 OK\r\nConnection: close\r\n${lines.join("")}\r\n`);
    request.socket.end(toBuffer(contentOf(body)));
  };
}

const encoders = { gzip: gzipSync, br: brotliCompressSync, deflate: deflateSync } as const;
export type Encoding = keyof typeof encoders;

/** Compressed whatever the client asked for. */
export function encoded(body: string, encoding: Encoding, headers: Headers = {}): Behaviour {
  const wire = encoders[encoding](Buffer.from(body));
  return ({ response }) => {
    response.writeHead(200, {
      "content-encoding": encoding,
      "content-length": String(wire.length),
      ...headers,
    });
    response.end(wire);
  };
}

/** Compressed only for a client that accepts it, as most servers do it. */
export function negotiated(body: string, encoding: Encoding): Behaviour {
  const plain = file(body);
  const compressed = encoded(body, encoding);
  return (exchange) => {
    const accepted = String(exchange.request.headers["accept-encoding"] ?? "*");
    const wanted = accepted.includes(encoding) || accepted.includes("*");
    return (wanted ? compressed : plain)(exchange);
  };
}

/** Answers a range with bytes from elsewhere, and says so in Content-Range. */
export function wrongContentRange(body: Body): Behaviour {
  const content = contentOf(body);
  return async ({ request, response }) => {
    const asked = parseRange(request.headers.range, content.size);
    if (!asked || asked === "unsatisfiable") {
      await serve({ request, response, nth: 0 }, content, {});
      return;
    }
    const [start, end] = asked;
    const shifted = Math.max(0, start - 7);
    response.writeHead(206, {
      etag: etagOf(content),
      "content-range": `bytes ${shifted}-${end - 1}/${content.size}`,
      "content-length": String(end - shifted),
    });
    await send(response, content, shifted, end);
    response.end();
  };
}

export function redirect(to: string, code = 302): Behaviour {
  return status(code, { location: to }, "");
}

/** A body that never ends and has no length. */
export const endless: Behaviour = async ({ response }) => {
  response.writeHead(200, { "content-type": "application/octet-stream" });
  const block = Buffer.alloc(64 * 1024, "drover ");
  while (!response.destroyed) await write(response, block);
};

/** Bytes in place of an HTTP answer. */
export function garbage(data: string | Buffer): Behaviour {
  return ({ request }) => void request.socket.end(data);
}

/** The beginning of a TLS handshake, as a plain client sees it on the wrong port. */
export const TLS_HELLO = Buffer.from("16030100c8010000c40303", "hex");

/** The digest headers of a content, for `headers`; give another content to get wrong ones. */
export const digests = {
  repr: (body: Body): Headers => ({ "repr-digest": `sha-256=:${base64("sha256", body)}:` }),
  content: (body: Body): Headers => ({ "content-digest": `sha-256=:${base64("sha256", body)}:` }),
  old: (body: Body): Headers => ({ digest: `SHA-256=${base64("sha256", body)}` }),
  md5: (body: Body): Headers => ({ "content-md5": base64("md5", body) }),
} as const;

function base64(algorithm: string, body: Body): string {
  return hashOf(algorithm, body).toString("base64");
}

function contentOf(body: Body): Content {
  return typeof body === "string" || Buffer.isBuffer(body) ? bytes(body) : body;
}

async function send(
  response: ServerResponse,
  content: Content,
  start: number,
  end: number,
  bytesPerSecond = Number.POSITIVE_INFINITY,
): Promise<void> {
  const startedMs = performance.now();
  let sent = 0;
  for (const slice of content.slices(start, end)) {
    for (let at = 0; at < slice.length && !response.destroyed; ) {
      const some = slice.subarray(at, at + 64 * 1024);
      at += some.length;
      sent += some.length;
      await write(response, some);
      const aheadMs = (sent / bytesPerSecond) * 1000 - (performance.now() - startedMs);
      if (aheadMs > 5) await delay(aheadMs);
    }
    if (response.destroyed) return;
  }
}

/** Writes, and waits while the client does not read. */
async function write(response: ServerResponse, data: Buffer): Promise<void> {
  if (response.write(data) || response.destroyed) return;
  await new Promise<void>((resolve) => {
    const go = () => {
      response.off("drain", go);
      response.off("close", go);
      resolve();
    };
    response.on("drain", go);
    response.on("close", go);
  });
}

/** Waits until all that was written has been handed to the system. */
async function flushed(response: ServerResponse): Promise<void> {
  if (response.destroyed) return;
  // An empty write is not sent, but its callback comes after everything before it.
  await new Promise<void>((resolve) => {
    response.once("close", () => resolve());
    response.write("", () => resolve());
  });
}
