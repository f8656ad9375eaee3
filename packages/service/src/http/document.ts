import { droverVersion } from "@drover/shared/version";
import { z } from "zod";
import { createDocument, type ZodOpenApiOperationObject, type ZodOpenApiPathsObject } from "zod-openapi";
import type { Answer, Route } from "./route.js";

/** Every error's body. */
export const problemSchema = z
  .object({
    type: z.string(),
    title: z.string(),
    status: z.int(),
    detail: z.string(),
    request_id: z.string().optional(),
    errors: z.array(z.object({ at: z.string(), message: z.string() })).optional(),
    class: z.string().optional(),
  })
  .meta({ id: "Problem", description: "An error, as RFC 9457 has it." });

/** Errors that routes can answer, and which ones. */
const ERRORS: [status: number, description: string, when: (route: Route) => boolean][] = [
  [400, "The request cannot be understood.", () => true],
  [401, "A token is needed, or the one that came is not known.", ({ scope }) => scope !== "open"],
  [403, "The token, or the settings of the server, do not allow this.", ({ scope }) => scope !== "open"],
  [404, "There is no such thing.", ({ params }) => params !== undefined],
  [408, "The request did not arrive in time.", () => true],
  [409, "Not as things stand.", ({ scope }) => scope !== "open"],
  [413, "The body is too large.", (route) => hasBody(route)],
  [414, "The URL is too long.", () => true],
  [415, "The body is of another type than it should be.", (route) => hasBody(route)],
  [422, "The request means nothing that can be done.", ({ scope }) => scope !== "open"],
  [429, "Too much at once: try again after the time in Retry-After.", () => true],
  [431, "The URL and the headers are too long.", () => true],
  [500, "A defect of the service: its log says more.", () => true],
  [502, "A storage did not answer as it should.", ({ scope }) => scope !== "open"],
  [503, "Redis is away: try again after the time in Retry-After.", ({ scope }) => scope !== "open"],
];

function hasBody({ body, rawBody }: Route): boolean {
  return body !== undefined || rawBody !== undefined;
}

/** The OpenAPI 3.1 document of the routes, made of the schemas that check what comes in. */
export function openApiOf(routes: Route[]): Record<string, unknown> {
  const paths: ZodOpenApiPathsObject = {};
  for (const each of routes) {
    const path = each.path.replace(/\{(\w+)\*\}/g, "{$1}");
    paths[path] = { ...paths[path], [each.method]: operationOf(each) };
  }
  return createDocument({
    openapi: "3.1.0",
    info: {
      title: "Drover",
      version: droverVersion(),
      description: "Moves files: one job per file, each locked, verified, retried and published whole.",
      license: { name: "MIT", identifier: "MIT" },
    },
    security: [{ token: [] }, {}],
    components: { securitySchemes: { token: { type: "http", scheme: "bearer" } } },
    paths,
  }) as unknown as Record<string, unknown>;
}

function operationOf(route: Route): ZodOpenApiOperationObject {
  const { params, query, headers, body, bodyIsOptional, rawBody } = route;
  return {
    operationId: `${route.method}${route.path.replace(/[^a-z0-9]+(.?)/gi, (_, next: string) => next.toUpperCase())}`,
    summary: route.summary,
    ...(route.description === undefined ? {} : { description: route.description }),
    tags: [route.tag],
    ...(route.scope === "open" || route.identify
      ? { security: [{}] }
      : { security: [{ token: [route.scope] }, {}] }),
    requestParams: {
      ...(params ? { path: params } : {}),
      ...(query ? { query } : {}),
      ...(headers ? { header: headers } : {}),
    },
    ...(body === undefined
      ? {}
      : { requestBody: { required: !bodyIsOptional, content: { "application/json": { schema: body } } } }),
    ...(rawBody === undefined
      ? {}
      : { requestBody: { description: rawBody.description, content: { "*/*": {} } } }),
    responses: {
      ...errorsOf(route),
      ...Object.fromEntries(
        Object.entries(route.answers).map(([status, each]) => [status, responseOf(each)]),
      ),
    },
  };
}

function responseOf({ description, schema, contentType, headers = {} }: Answer) {
  const types = contentType?.split(", ") ?? ["application/json"];
  return {
    description,
    ...(schema === undefined && contentType === undefined
      ? {}
      : { content: Object.fromEntries(types.map((type) => [type, schema === undefined ? {} : { schema }])) }),
    ...(Object.keys(headers).length === 0
      ? {}
      : {
          headers: z.object(
            Object.fromEntries(
              Object.entries(headers).map(([name, about]) => [
                name,
                z.string().optional().meta({ description: about }),
              ]),
            ),
          ),
        }),
  };
}

function errorsOf(route: Route) {
  const content = { "application/problem+json": { schema: problemSchema } };
  return Object.fromEntries(
    ERRORS.filter(([, , when]) => when(route)).map(([status, description]) => [
      String(status),
      { description, content },
    ]),
  );
}
