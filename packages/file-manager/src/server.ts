import { createHash, timingSafeEqual } from "node:crypto";
import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { pipeline } from "node:stream/promises";
import { messageOf } from "@drover/shared/errors";
import {
  CONTRACT,
  HEADERS,
  headerText,
  moveSchema,
  permissionsSchema,
  type Stored,
  type WirePermissions,
} from "@drover/shared/storage/filemanager/contract";
import { isLoopbackAddress } from "@drover/shared/storage/http/address-guard";
import { reprDigest, sha256Of } from "@drover/shared/storage/remote/answer";
import type { z } from "zod";
import { Problem, problemOf } from "./problem.js";
import { type Bound, FileStore, type FileStoreOptions } from "./store.js";

/** Largest body of JSON. */
const MOST_JSON_BYTES = 1 << 20;
/** A connection that says nothing for so long is closed. */
const IDLE_MS = 120_000;
/** For so long the rest of a body is read that is not wanted. */
const LINGER_MS = 2_000;
const MOST_CONNECTIONS = 1_024;
const MOST_PAGE_FILES = 5_000;

export interface FileManagerOptions extends FileStoreOptions {
  host: string;
  /** 0 for any free one. */
  port: number;
  /** Clients have to know it. Undefined for none, which is for loopback alone. */
  token: string | undefined;
  log(line: Record<string, unknown>): void;
}

/** A server that runs. */
export interface FileManager {
  port: number;
  /** Takes no more requests, and waits for those that go on, at most so long. */
  stop(deadlineMs: number): Promise<void>;
}

/** Starts a file manager of a directory. @throws Error if it cannot listen, or would be open to other machines without a token. */
export async function startFileManager(options: FileManagerOptions): Promise<FileManager> {
  const { host, port, token } = options;
  if (token === undefined && !isLoopback(host))
    throw new Problem(500, `without a token only this machine is served: ${host} is no loopback address`);
  const store = await FileStore.open(options);
  const handler = new Handler(store, options);
  const server = createServer({ keepAliveTimeout: 65_000, requestTimeout: 0 }, (request, response) => {
    void handler.handle(request, response);
  });
  server.timeout = IDLE_MS;
  server.maxConnections = MOST_CONNECTIONS;
  await listen(server, host, port);
  return {
    port: (server.address() as AddressInfo).port,
    async stop(deadlineMs) {
      const closed = new Promise<void>((resolve) => server.close(() => resolve()));
      server.closeIdleConnections();
      const timer = setTimeout(() => server.closeAllConnections(), deadlineMs);
      await closed;
      clearTimeout(timer);
      store.close();
    },
  };
}

function listen(server: Server, host: string, port: number): Promise<void> {
  return new Promise((resolve, reject) => {
    server.once("error", reject);
    server.listen(port, host, () => {
      server.off("error", reject);
      resolve();
    });
  });
}

function isLoopback(host: string): boolean {
  return host === "localhost" || isLoopbackAddress(host.replace(/^\[|\]$/g, ""));
}

/** What a request is answered with. */
interface Reply {
  status: number;
  headers?: Record<string, string>;
  json?: unknown;
}

class Handler {
  readonly #token: Buffer | undefined;

  constructor(
    private readonly store: FileStore,
    private readonly options: FileManagerOptions,
  ) {
    this.#token = options.token === undefined ? undefined : digest(options.token);
  }

  async handle(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const startedMs = performance.now();
    try {
      this.#authorize(request);
      const reply = await this.#route(request, response);
      if (reply) send(request, response, reply);
    } catch (thrown) {
      if (request.errored && !response.headersSent) {
        response.destroy(); // the client has gone in the middle
      } else {
        const { status, title, detail, headers } = problemOf(thrown);
        if (status >= 500) this.options.log({ level: "error", error: messageOf(thrown) });
        const json = { title, status, ...(detail === undefined ? {} : { detail }) };
        send(request, response, {
          status,
          json,
          headers: { ...headers, "content-type": "application/problem+json" },
        });
      }
    } finally {
      const { method, url } = request;
      const { statusCode: status } = response;
      const durationMs = Math.round(performance.now() - startedMs);
      this.options.log({ level: "info", method, url, status, durationMs });
    }
  }

  /** @throws Problem 401, 403 */
  #authorize({ headers, url }: IncomingMessage): void {
    if (!this.#token) {
      // A page of another site must not reach it by a name that leads to this machine.
      const host = (headers.host ?? "").replace(/:\d+$/, "");
      if (isLoopback(host)) return;
      throw new Problem(403, "Without a token only this machine is served by its own name");
    }
    if (url === "/health" && headers.authorization === undefined) return;
    const given = /^Bearer (.+)$/i.exec(headers.authorization ?? "")?.[1];
    if (given !== undefined && timingSafeEqual(digest(given), this.#token)) return;
    throw new Problem(401, "A token is needed", undefined, { "www-authenticate": "Bearer" });
  }

  async #route(request: IncomingMessage, response: ServerResponse): Promise<Reply | undefined> {
    const { method = "" } = request;
    const [path = "", query = ""] = splitQuery(request.url ?? "");
    if (path === "/health" && isRead(method))
      return {
        status: 200,
        json: { status: "ok", contract: CONTRACT, conditions: true, permissions: true },
      };
    if (path === "/files" && isRead(method)) return await this.#list(new URLSearchParams(query));
    if (path === "/move" && method === "POST") return await this.#move(request);
    if (path.startsWith("/files/")) return await this.#file(method, fileOf(path), request, response);
    if (/^\/(health|files|move)$/.test(path)) throw new Problem(405, "No such method here");
    throw new Problem(404, "No such resource");
  }

  async #file(
    method: string,
    path: string,
    request: IncomingMessage,
    response: ServerResponse,
  ): Promise<Reply | undefined> {
    const bound = boundOf(request);
    switch (method) {
      case "GET":
        await this.#get(path, response);
        return undefined;
      case "HEAD":
        return { status: 200, headers: headersOf(await this.store.head(path)) };
      case "PUT": {
        const incoming = {
          body: request,
          lengthBytes: lengthOf(request),
          sha256: sha256Of(header(request, "repr-digest")),
          sourceVersion: textOf(request, HEADERS.sourceVersion),
          permissions: permissionsOf(request),
        };
        const { stored, isNew } = await this.store.put(path, incoming, bound);
        return { status: isNew ? 201 : 200, json: stored, headers: { etag: stored.etag } };
      }
      case "PATCH": {
        const permissions = await jsonOf(request, permissionsSchema);
        const set = await this.store.setPermissions(path, permissions, bound);
        if ("stored" in set) return { status: 200, json: set.stored, headers: { etag: set.stored.etag } };
        return { status: 202, json: { path, keptUntil: new Date(set.keptUntilMs).toISOString() } };
      }
      case "DELETE":
        await this.store.remove(path, bound);
        return { status: 204 };
    }
    throw new Problem(405, "No such method here", undefined, { allow: "GET, HEAD, PUT, PATCH, DELETE" });
  }

  async #get(path: string, response: ServerResponse): Promise<void> {
    const { stored, body } = await this.store.read(path);
    response.writeHead(200, { ...headersOf(stored), "content-type": "application/octet-stream" });
    await pipeline(body, response).catch(() => response.destroy());
  }

  async #list(query: URLSearchParams): Promise<Reply> {
    const limit = Number(query.get("limit") ?? "1000");
    if (!Number.isInteger(limit) || limit < 1 || limit > MOST_PAGE_FILES)
      throw new Problem(400, "Invalid limit", `it is a number from 1 to ${MOST_PAGE_FILES}`);
    const after = query.get("after") ?? "";
    const prefix = query.get("prefix") ?? "";
    return { status: 200, json: await this.store.list({ after, prefix, limit }) };
  }

  async #move(request: IncomingMessage): Promise<Reply> {
    const { from, to } = await jsonOf(request, moveSchema);
    const stored = await this.store.move(from, to, boundOf(request), header(request, HEADERS.fromMatch));
    return { status: 200, json: stored, headers: { etag: stored.etag } };
  }
}

function send(
  request: IncomingMessage,
  response: ServerResponse,
  { status, headers = {}, json }: Reply,
): void {
  if (response.headersSent) {
    response.destroy();
    return;
  }
  const body = json === undefined ? undefined : Buffer.from(JSON.stringify(json));
  const hasBody = request.headers["content-length"] !== undefined || "transfer-encoding" in request.headers;
  response.writeHead(status, {
    ...(body ? { "content-type": "application/json", "content-length": String(body.length) } : {}),
    ...headers,
  });
  response.end(request.method === "HEAD" ? undefined : body);
  if (!hasBody || request.complete) return;
  // Who is still sending reads the answer only if what it sends is read.
  request.resume();
  setTimeout(() => {
    if (!request.complete) request.destroy();
  }, LINGER_MS).unref();
}

function isRead(method: string): boolean {
  return method === "GET" || method === "HEAD";
}

function splitQuery(url: string): [string, string] {
  const at = url.indexOf("?");
  return at < 0 ? [url, ""] : [url.slice(0, at), url.slice(at + 1)];
}

/** The path of a file in `/files/…`, each of whose segments is encoded by itself. @throws Problem 400 */
function fileOf(path: string): string {
  const segments = path.slice("/files/".length).split("/").map(decode);
  if (segments.some((segment) => segment.includes("/")))
    throw new Problem(400, "Invalid path", "a segment has an encoded slash");
  return segments.join("/");
}

/** @throws Problem 400 */
function decode(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    throw new Problem(400, "Invalid encoding", "a % encodes nothing, or no UTF-8");
  }
}

function header({ headers }: IncomingMessage, name: string): string | undefined {
  const value = headers[name];
  return typeof value === "string" ? value : undefined;
}

/** A header whose value is percent-encoded. */
function textOf(request: IncomingMessage, name: string): string | undefined {
  const value = header(request, name);
  return value === undefined ? undefined : decode(value);
}

function lengthOf(request: IncomingMessage): number | undefined {
  const value = header(request, "content-length");
  return value === undefined ? undefined : Number(value);
}

/** @throws Problem 400 */
function boundOf(request: IncomingMessage): Bound {
  const fence = header(request, HEADERS.fence);
  if (fence !== undefined && !/^\d{1,30}$/.test(fence)) throw new Problem(400, "Invalid fence");
  const ifNoneMatch = header(request, "if-none-match");
  if (ifNoneMatch !== undefined && !isRead(request.method ?? "") && ifNoneMatch !== "*")
    throw new Problem(400, "Invalid condition", "If-None-Match takes * alone");
  return { ifMatch: header(request, "if-match"), ifNoneMatch, fence };
}

/** @throws Problem 400 */
function permissionsOf(request: IncomingMessage): WirePermissions {
  const grants = textOf(request, HEADERS.grants);
  const mode = header(request, HEADERS.mode);
  const owner = textOf(request, HEADERS.owner);
  return checked(permissionsSchema, {
    ...(mode === undefined ? {} : { mode }),
    ...(owner === undefined ? {} : { owner }),
    ...(grants === undefined ? {} : { grants: parsed(grants) }),
  });
}

async function jsonOf<S extends z.ZodType>(request: IncomingMessage, schema: S): Promise<z.infer<S>> {
  const chunks: Buffer[] = [];
  let bytes = 0;
  for await (const chunk of request) {
    bytes += (chunk as Buffer).length;
    if (bytes > MOST_JSON_BYTES) throw new Problem(413, "Too large");
    chunks.push(chunk as Buffer);
  }
  return checked(schema, parsed(Buffer.concat(chunks).toString()));
}

function parsed(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    throw new Problem(400, "Invalid JSON");
  }
}

function checked<S extends z.ZodType>(schema: S, value: unknown): z.infer<S> {
  const { success, data, error } = schema.safeParse(value, { jitless: true });
  if (success) return data;
  const [issue] = error.issues;
  throw new Problem(400, "Invalid request", `${issue?.path.join(".")}: ${issue?.message}`);
}

function headersOf({ size, sha256, etag, sourceVersion, permissions = {} }: Stored): Record<string, string> {
  const { mode, owner, grants } = permissions;
  return {
    "content-length": String(size),
    etag,
    ...(sha256 === undefined ? {} : { "repr-digest": reprDigest(sha256) }),
    ...(sourceVersion === undefined ? {} : { [HEADERS.sourceVersion]: headerText(sourceVersion) }),
    ...(mode === undefined ? {} : { [HEADERS.mode]: mode }),
    ...(owner === undefined ? {} : { [HEADERS.owner]: headerText(owner) }),
    ...(grants === undefined ? {} : { [HEADERS.grants]: headerText(JSON.stringify(grants)) }),
  };
}

function digest(text: string): Buffer {
  return createHash("sha256").update(text).digest();
}
