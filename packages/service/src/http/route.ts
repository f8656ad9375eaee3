import type { Request, Response } from "express";
import type { z } from "zod";
import type { Caller, Scope } from "../security/scopes.js";

/** One possible answer of a route. */
export interface Answer {
  description: string;
  /** Of the JSON body; undefined where there is none, or where `contentType` is no JSON. */
  schema?: z.ZodType;
  /** Default `application/json`. */
  contentType?: string;
  /** Names of headers, and what they say. */
  headers?: Record<string, string>;
}

/** What a handler gets of a request: checked, and in the types of the schemas. */
export interface Call<Params, Query, Body> {
  params: Params;
  query: Query;
  body: Body;
  caller: Caller;
  request: Asked;
  /** Only for routes that answer with something else than JSON: they cannot be called without HTTP. */
  response: Response;
}

/** What a handler may look at of a request beyond what is checked. */
export type Asked = Pick<Request, "headers" | "destroyed">;

/** The answer that a handler gives. Without it, the handler has written to the response itself. */
export interface Reply {
  status: number;
  body?: unknown;
  headers?: Record<string, string>;
  /** How many things were changed, for the audit log. Default 1 where the status is below 400. */
  changed?: number;
}

/** One operation of the service: what is checked, documented and done. */
export interface Route {
  method: "get" | "post" | "put" | "delete";
  /** As in OpenAPI: `/api/v1/runs/{run}`. A parameter `{path*}` takes slashes too. */
  path: string;
  /** Who may call it: everybody (`open`), or who has the scope. */
  scope: Scope | "open";
  summary: string;
  description?: string;
  tag: string;
  params?: z.ZodObject;
  query?: z.ZodObject;
  /** Headers by their names in lower case. The handler reads them from the request. */
  headers?: z.ZodObject;
  /** Of the JSON body. */
  body?: z.ZodType;
  /** Whether a body may be left out. Default false. */
  bodyIsOptional?: boolean;
  /** Instead of `body`: the handler gets the bytes, whatever their type. */
  rawBody?: {
    description: string;
    /** Waits until a body of so many bytes may be in memory. @returns what is called when it is not any more. */
    hold(bytes: number): Promise<() => void>;
  };
  /** Instead of a token: who asks, by the parameters of the path; undefined for nobody. */
  identify?(params: Record<string, string>): Caller | undefined;
  /** Answers by status. Errors that every route can give are documented by themselves. */
  answers: Record<number, Answer>;
  /** Whether it answers while Redis is away, to callers whose token can be checked without it. Default false. */
  needsNoRedis?: boolean;
  /** Whether it may take as long as it wants. Default false. */
  isSlow?: boolean;
  handle(call: Call<never, never, never>): Promise<Reply | undefined>;
}

type Infer<S> = S extends z.ZodType ? z.infer<S> : Record<string, never>;
type BodyOf<Body, Raw> = Raw extends object ? Buffer : Infer<Body>;

/** Makes a route whose handler knows the types of what it gets. */
export function route<
  Params extends z.ZodObject | undefined = undefined,
  Query extends z.ZodObject | undefined = undefined,
  Body extends z.ZodType | undefined = undefined,
  Raw extends Route["rawBody"] = undefined,
>(
  definition: Omit<Route, "handle" | "params" | "query" | "body" | "rawBody"> & {
    params?: Params;
    query?: Query;
    body?: Body;
    rawBody?: Raw;
    handle(call: Call<Infer<Params>, Infer<Query>, BodyOf<Body, Raw>>): Promise<Reply | undefined>;
  },
): Route {
  return definition as unknown as Route;
}
