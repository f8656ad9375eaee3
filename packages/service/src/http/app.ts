import { messageOf, SettingsError, TransferError, UnavailableError } from "@drover/shared/errors";
import { ForgottenError, RunLostError } from "@drover/shared/protocol/backlog";
import type { RequestRate } from "@drover/shared/protocol/request-rate";
import { redactText } from "@drover/shared/redact";
import express, { type ErrorRequestHandler, type Express, type Request, type Response } from "express";
import helmet from "helmet";
import type { Logger } from "pino";
import type { z } from "zod";
import type { Access } from "../security/access.js";
import type { AuditLog } from "../security/audit.js";
import { limitRate } from "../security/rate.js";
import type { Caller } from "../security/scopes.js";
import type { Availability } from "./availability.js";
import { Problem } from "./problem.js";
import { logRequests, shownUrl } from "./request-log.js";
import type { Call, Reply, Route } from "./route.js";

/** Largest body of a request, in bytes. */
export const MOST_BODY_BYTES = 16 << 20;
/** Most parameters and headers have no business being longer, in characters. */
const MOST_URL = 8_192;

export interface AppOptions {
  routes: Route[];
  access: Access;
  /** Limit of each caller; undefined for none. */
  rate: RequestRate | undefined;
  availability: Availability;
  audit: AuditLog;
  log: Logger;
  /** Origins whose pages may call; `*` for all. Default none. */
  corsOrigins: string[];
}

/** Makes the Express application of the routes: checks what comes in, and tells every error as a problem. */
export function createApp(options: AppOptions): Express {
  const { routes, access, rate, availability, audit, log, corsOrigins } = options;
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
    next();
  });
  if (corsOrigins.length > 0) app.use(cors(corsOrigins));
  for (const [path, methods] of byPath(routes)) {
    const allow = [...methods.keys()].flatMap((method) =>
      method === "get" ? ["GET", "HEAD"] : [method.toUpperCase()],
    );
    for (const [method, route] of methods)
      app[method](expressPath(path), async (request: Request, response: Response) => {
        await handle(route, request, response, { access, rate, availability, audit, log });
      });
    app.all(expressPath(path), () => {
      throw new Problem(405, `this has no such method: ${allow.join(", ")}`, {
        headers: { Allow: allow.join(", ") },
      });
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
  rate: RequestRate | undefined;
  availability: Availability;
  audit: AuditLog;
  log: Logger;
}

async function handle(route: Route, request: Request, response: Response, guards: Guards): Promise<void> {
  response.locals.route = route.path;
  const work = (async () => {
    const checking = callerOf(route, request, guards.access);
    const caller = await (route.needsNoRedis ? guards.availability.whileThere(checking) : checking);
    response.locals.caller = caller.id;
    if (!route.needsNoRedis) await limitRate(guards.rate, route, caller, request);
    const checkedCall = {
      params: checked(route.params, paramsOf(request), 404, "the path"),
      headers: checked(route.headers, request.headers, 400, "the headers"),
      query: checked(route.query, request.query, 400, "the query"),
    };
    const release = await route.rawBody?.hold(lengthOf(request));
    try {
      const call = { ...checkedCall, body: await bodyOf(route, request), caller, request, response };
      return await audited(route, call, guards);
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

/**
 * Handles a call, and has it noted where it changes something. Nobody waits for that: where Redis is away, it is written once
 * it is back.
 */
async function audited(
  route: Route,
  call: Pick<Call<unknown, unknown, unknown>, "caller" | "request" | "response">,
  { audit, log }: Guards,
): Promise<Reply | undefined> {
  // Notifications are hints, and many: they are counted by the intake.
  if (route.method === "get" || route.scope === "open" || route.scope === "notify")
    return await route.handle(call as never);
  const note = (status: number, on: string, changed: number) => {
    const what = `${route.method.toUpperCase()} ${route.path}`;
    const { requestId } = call.response.locals;
    audit
      .record({ who: call.caller.id, what, on: redactText(on), requestId, status, changed })
      .catch((error) => log.error({ request_id: requestId, error: messageOf(error) }, "cannot be audited"));
  };
  try {
    const reply = await route.handle(call as never);
    note(
      reply?.status ?? call.response.statusCode,
      reply?.headers?.Location ?? shownUrl(call.request.path),
      reply?.changed ?? 1,
    );
    return reply;
  } catch (error) {
    note(problemOf(error).status, shownUrl(call.request.path), 0);
    throw error;
  }
}

async function callerOf(route: Route, request: Request, access: Access): Promise<Caller> {
  if (!route.identify) return await access.check(request, route.scope);
  const caller = route.identify(paramsOf(request));
  if (caller === undefined) throw new Problem(401, "no route has this secret");
  return caller;
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

function checked(schema: z.ZodType | undefined, given: unknown, status: number, what: string): unknown {
  if (schema === undefined) return {};
  const parsed = schema.safeParse(given, { jitless: true });
  if (parsed.success) return parsed.data;
  throw invalid(parsed.error, status, what);
}

function invalid(error: z.ZodError, status: number, what: string): Problem {
  const errors = error.issues.slice(0, 20).map(({ path, message }) => ({ at: path.join("."), message }));
  const [first] = errors;
  return new Problem(status, `${first?.at || what}: ${first?.message}`, { extra: { errors } });
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

function cors(origins: string[]): express.RequestHandler {
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

/** What an error means to a caller. Only a defect is a 500, and its message stays in the log. */
function problemOf(error: unknown): Problem {
  if (error instanceof Problem) return error;
  if (error instanceof SettingsError) return new Problem(422, redactText(error.message), { cause: error });
  if (error instanceof UnavailableError)
    return new Problem(503, redactText(error.message), { headers: { "Retry-After": "5" }, cause: error });
  if (error instanceof RunLostError) return new Problem(409, error.message, { cause: error });
  if (error instanceof ForgottenError) return new Problem(404, error.message, { cause: error });
  if (error instanceof TransferError)
    return new Problem(error.class === "not-found" ? 404 : 502, redactText(error.message), {
      extra: { class: error.class },
      cause: error,
    });
  const status = (error as { status?: unknown } | null)?.status;
  if (error instanceof URIError || status === 400) return new Problem(400, "the URL cannot be decoded");
  return new Problem(500, "something went wrong here: the log of the service says what", { cause: error });
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
