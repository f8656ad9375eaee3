import { messageOf } from "@drover/shared/errors";
import express, {
  type ErrorRequestHandler,
  type Express,
  type Request,
  type RequestHandler,
  type Response,
} from "express";
import helmet from "helmet";
import type { Logger } from "pino";
import type { Access } from "../security/access.js";
import type { AuditLog } from "../security/audit.js";
import type { RateLimits } from "../security/rate.js";
import type { Caller } from "../security/scopes.js";
import type { Availability } from "./availability.js";
import { audited, checked, problemOf } from "./perform.js";
import { Problem } from "./problem.js";
import { logRequests, shownUrl } from "./request-log.js";
import type { Route } from "./route.js";

/** Largest body of a request, in bytes. */
export const MOST_BODY_BYTES = 16 << 20;
/** Most parameters and headers have no business being longer, in characters. */
const MOST_URL = 8_192;

export interface AppOptions {
  routes: Route[];
  access: Access;
  /** undefined for none. */
  rates: RateLimits | undefined;
  availability: Availability;
  audit: AuditLog;
  log: Logger;
  /** Origins whose pages may call; `*` for all. Default none. */
  corsOrigins: string[];
  /** Sees every request before the routes do; undefined for nothing. */
  before: RequestHandler | undefined;
}

/** Makes the Express application of the routes: checks what comes in, and tells every error as a problem. */
export function createApp(options: AppOptions): Express {
  const { routes, access, rates, availability, audit, log, corsOrigins, before } = options;
  const app = express();
  app.disable("x-powered-by");
  app.set("etag", () => undefined); // files have one of their own; of JSON it costs more than it saves
  app.set("query parser", "simple");
  app.set("case sensitive routing", true);
  app.use(logRequests(log));
  // Whether this is reached over TLS is known to whoever ends that.
  const contentSecurityPolicy = { directives: { "upgrade-insecure-requests": null } };
  app.use(helmet({ contentSecurityPolicy, strictTransportSecurity: false }));
  app.use((request, _response, next) => {
    if (request.url.length > MOST_URL)
      throw new Problem(414, `the URL is longer than ${MOST_URL} characters`);
    if (request.headers.host === undefined && request.httpVersion !== "1.0")
      throw new Problem(400, "the request has no Host");
    next();
  });
  if (before !== undefined) app.use(before);
  if (corsOrigins.length > 0) app.use(cors(corsOrigins));
  for (const [path, methods] of byPath(routes)) {
    const allow = [...methods.keys()].flatMap((method) =>
      method === "get" ? ["GET", "HEAD"] : [method.toUpperCase()],
    );
    for (const [method, route] of methods)
      app[method](expressPath(path), async (request: Request, response: Response) => {
        await handle(route, request, response, { access, rates, availability, audit, log });
      });
    app.all(expressPath(path), ({ method }) => {
      const only = allow.join(", ");
      throw new Problem(405, `there is no ${method} here, only ${only}`, { headers: { Allow: only } });
    });
  }
  app.use((request) => {
    throw new Problem(404, `there is nothing at ${request.path}: GET / lists what there is`);
  });
  app.use(tellProblem(log));
  return app;
}

function byPath(routes: Route[]): Map<string, Map<Route["method"], Route>> {
  const paths = new Map<string, Map<Route["method"], Route>>();
  for (const each of routes) {
    const methods = paths.get(each.path) ?? new Map();
    paths.set(each.path, methods.set(each.method, each));
  }
  return paths;
}

/** `/a/{b}/{c*}` as Express has it: `/a/:b/*c`. */
function expressPath(path: string): string {
  return path.replace(/\{(\w+)\*\}/g, "*$1").replace(/\{(\w+)\}/g, ":$1");
}

interface Guards {
  access: Access;
  rates: RateLimits | undefined;
  availability: Availability;
  audit: AuditLog;
  log: Logger;
}

async function handle(route: Route, request: Request, response: Response, guards: Guards): Promise<void> {
  response.locals.route = route.path;
  const work = (async () => {
    const checking = callerOf(route, request, guards);
    const caller = await (route.needsNoRedis ? guards.availability.whileThere(checking) : checking);
    response.locals.caller = caller.id;
    if (!route.needsNoRedis) await guards.rates?.check(route, caller, request);
    const checkedCall = {
      params: checked(route.params, paramsOf(request), 404, "the path"),
      headers: checked(route.headers, request.headers, 400, "the headers"),
      query: checked(route.query, request.query, 400, "the query"),
    };
    const release = await route.rawBody?.hold(lengthOf(request));
    try {
      const body = await bodyOf(route, request);
      if (Buffer.isBuffer(body)) release?.(body.length);
      const call = { ...checkedCall, body, caller, request, response };
      const { audit, log } = guards;
      const { requestId } = response.locals;
      const { reply } = await audited(route, call, { audit, log, path: request.path, requestId });
      return reply;
    } finally {
      release?.();
    }
  })();
  const isPatient = route.isSlow || route.needsNoRedis;
  const reply = await (route.scope === "open" ? work : guards.availability.whileThere(work, isPatient));
  if (reply === undefined) return;
  for (const [name, value] of Object.entries(reply.headers ?? {})) response.setHeader(name, value);
  response.status(reply.status);
  if (reply.body === undefined) response.end();
  else response.json(reply.body);
}

async function callerOf(route: Route, request: Request, { access, rates }: Guards): Promise<Caller> {
  try {
    if (!route.identify) return await access.check(request, route.scope);
    const caller = route.identify(paramsOf(request));
    if (caller === undefined) throw new Problem(401, "no route has this secret");
    return caller;
  } catch (error) {
    if (error instanceof Problem && error.status === 401)
      await rates?.unauthorized(access.addressOf(request));
    throw error;
  }
}

/** Bytes of a body, as far as they are known before it is read. */
function lengthOf({ headers }: Request): number {
  const length = Number(headers["content-length"] ?? MOST_BODY_BYTES);
  return Math.min(length, MOST_BODY_BYTES) || 0;
}

/** A parameter that takes slashes comes in pieces. */
function paramsOf(request: Request): Record<string, string> {
  const entries = Object.entries(request.params as Record<string, string | string[]>);
  return Object.fromEntries(
    entries.map(([name, value]) => [name, Array.isArray(value) ? value.join("/") : value]),
  );
}

async function bodyOf(route: Route, request: Request): Promise<unknown> {
  if (route.rawBody) return await readBody(request);
  if (route.body === undefined) return undefined;
  const bytes = await readBody(request);
  if (bytes.length === 0) {
    if (route.bodyIsOptional) return checked(route.body, {}, 422, "the body");
    throw new Problem(400, "this needs a JSON body");
  }
  if (request.is(["json", "+json"]) === false)
    throw new Problem(415, "the body must be JSON: send Content-Type: application/json", {
      headers: { Accept: "application/json" },
    });
  let parsed: unknown;
  try {
    parsed = JSON.parse(new TextDecoder("utf-8", { fatal: true }).decode(bytes));
  } catch (error) {
    throw new Problem(400, `the body is not JSON: ${messageOf(error)}`);
  }
  return checked(route.body, parsed, 422, "the body");
}

/** Reads a body to its end. @throws Problem 413 for one that is too large, 415 for one that is compressed. */
async function readBody(request: Request): Promise<Buffer> {
  const tooLarge = () =>
    new Problem(413, `the body is larger than ${MOST_BODY_BYTES >> 20} MiB`, {
      headers: { Connection: "close" },
    });
  if (Number(request.headers["content-length"] ?? 0) > MOST_BODY_BYTES) throw tooLarge();
  if ((request.headers["content-encoding"] ?? "identity") !== "identity")
    throw new Problem(415, "compressed bodies are not read: send it as it is");
  const chunks: Buffer[] = [];
  let length = 0;
  for await (const chunk of request) {
    chunks.push(chunk as Buffer);
    length += (chunk as Buffer).length;
    if (length > MOST_BODY_BYTES) throw tooLarge();
  }
  return Buffer.concat(chunks);
}

function cors(origins: string[]): RequestHandler {
  return (request, response, next) => {
    const { origin } = request.headers;
    response.vary("Origin");
    if (origin === undefined || !(origins.includes(origin) || origins.includes("*"))) return next();
    response.setHeader("Access-Control-Allow-Origin", origin);
    response.setHeader(
      "Access-Control-Expose-Headers",
      "Location, ETag, Retry-After, Idempotency-Replayed, X-Request-Id",
    );
    response.setHeader("Cross-Origin-Resource-Policy", "cross-origin");
    if (request.method !== "OPTIONS" || request.headers["access-control-request-method"] === undefined)
      return next();
    response.setHeader("Access-Control-Allow-Methods", "GET, HEAD, POST, PUT, DELETE");
    response.setHeader(
      "Access-Control-Allow-Headers",
      "Authorization, Content-Type, Idempotency-Key, Last-Event-ID",
    );
    response.setHeader("Access-Control-Max-Age", "600");
    response.status(204).end();
  };
}

function tellProblem(log: Logger): ErrorRequestHandler {
  return (error, request, response, _next) => {
    if (request.destroyed && !request.complete) return; // whoever asked is gone
    const problem = problemOf(error);
    if (problem.status >= 500) {
      const cause = problem.options.cause ?? error;
      const stack = problem.status === 500 && cause instanceof Error ? { stack: cause.stack } : {};
      log.error(
        {
          request_id: response.locals.requestId,
          path: shownUrl(request.path),
          error: messageOf(cause),
          ...stack,
        },
        "failed",
      );
    }
    if (response.headersSent) {
      response.destroy();
      return;
    }
    for (const [name, value] of Object.entries(problem.options.headers ?? {}))
      response.setHeader(name, value);
    response.status(problem.status).setHeader("Content-Type", "application/problem+json");
    response.end(JSON.stringify({ ...problem.toJSON(), request_id: response.locals.requestId }));
  };
}
