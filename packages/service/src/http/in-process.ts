import { setTimeout } from "node:timers/promises";
import { messageOf } from "@drover/shared/errors";
import type { Logger } from "pino";
import { requireScope } from "../security/access.js";
import type { AuditLog } from "../security/audit.js";
import type { Caller } from "../security/scopes.js";
import type { Availability } from "./availability.js";
import { audited, checked, problemOf } from "./perform.js";
import { Problem } from "./problem.js";
import type { Route } from "./route.js";

/** What is asked beside method and path. */
export interface ApiCall {
  /** Parameters of the query, as texts. */
  query?: Record<string, string>;
  /** Of the JSON body. */
  body?: unknown;
  /** Of the request that this is done for, as in the log. */
  requestId?: string | undefined;
}

/** An answer of the API, errors too: those have the body of a problem. */
export interface ApiAnswer {
  status: number;
  // biome-ignore lint/suspicious/noExplicitAny: it is JSON, whose schema the route has
  body: any;
  /** Id of the entry in the audit log; undefined where nothing was to be changed, or where it is not written yet. */
  entry?: string | undefined;
}

/**
 * Calls a route of the API without HTTP: the same schemas, scopes, audit and patience as with it.
 *
 * @param path with its parameters in it, encoded as in a URL: `/api/v1/runs/latest`.
 * @throws Error for a route that does not answer with JSON.
 */
export type CallApi = (
  caller: Caller,
  method: "GET" | "POST" | "PUT" | "DELETE",
  path: string,
  call?: ApiCall,
) => Promise<ApiAnswer>;

interface Guards {
  availability: Availability;
  audit: AuditLog;
  log: Logger;
}

/** Makes what calls routes without HTTP. */
export function callerOfRoutes(routes: Route[], guards: Guards): CallApi {
  const patterns = routes.map((route) => ({ route, pattern: patternOf(route.path) }));
  return async (caller, method, path, call = {}) => {
    try {
      for (const { route, pattern } of patterns) {
        const found = route.method.toUpperCase() === method ? pattern.exec(path) : null;
        if (found) return await perform(route, caller, { path, params: found.groups ?? {}, ...call }, guards);
      }
      throw new Problem(404, `there is nothing at ${method} ${path}`);
    } catch (error) {
      const problem = problemOf(error);
      if (problem.status === 500) {
        const stack = error instanceof Error ? error.stack : undefined;
        guards.log.error({ request_id: call.requestId, path, error: messageOf(error), stack }, "failed");
      }
      return { status: problem.status, body: { ...problem.toJSON(), request_id: call.requestId } };
    }
  };
}

/** Time that an answer waits for its audit entry at most, in milliseconds. */
const ENTRY_WAIT_MS = 1_000;

interface Found extends ApiCall {
  path: string;
  params: Record<string, string>;
}

async function perform(route: Route, caller: Caller, found: Found, guards: Guards): Promise<ApiAnswer> {
  if (Object.values(route.answers).some(({ contentType }) => contentType !== undefined) || route.rawBody)
    throw new Error(`${route.path} needs HTTP`);
  const { path, query = {}, body, requestId } = found;
  const work = (async () => {
    if (route.scope !== "open") requireScope(caller, route.scope);
    const params = Object.entries(found.params).map(([name, value]) => [name, decodeURIComponent(value)]);
    const call = {
      params: checked(route.params, Object.fromEntries(params), 404, "the path"),
      query: checked(route.query, query, 400, "the query"),
      body: route.body && checked(route.body, body ?? {}, 422, "the body"),
      caller,
      request: { headers: {}, destroyed: false },
      response: undefined as never,
    };
    return await audited(route, call, { ...guards, path, requestId });
  })();
  const { reply, noted } = await (route.scope === "open"
    ? work
    : guards.availability.whileThere(work, route.isSlow));
  const entry = await Promise.race([noted, setTimeout(ENTRY_WAIT_MS, undefined, { ref: false })]);
  return { status: reply?.status ?? 200, body: reply?.body, ...(entry === undefined ? {} : { entry }) };
}

/** `/a/{b}/{c*}` as a regular expression. */
function patternOf(path: string): RegExp {
  const escaped = path
    .replace(/[.]/g, "\\.")
    .replace(/\{(\w+)\*\}/g, "(?<$1>.+)")
    .replace(/\{(\w+)\}/g, "(?<$1>[^/]+)");
  return new RegExp(`^${escaped}$`);
}
