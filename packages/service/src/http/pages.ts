import { readFileSync } from "node:fs";
import { z } from "zod";
import { Problem } from "./problem.js";
import { type Route, route } from "./route.js";

/** Files of the pages, and their types. */
const ASSETS: Record<string, string> = {
  "swagger-ui.css": "text/css",
  "swagger-ui-bundle.js": "text/javascript",
  "redoc.standalone.js": "text/javascript",
  "swagger.js": "text/javascript",
  "redoc.js": "text/javascript",
};

const page = (title: string, head: string, body: string) =>
  `<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>${title}</title>` +
  `<meta name="viewport" content="width=device-width, initial-scale=1"><link rel="icon" href="data:,">${head}</head><body>${body}</body></html>\n`;

const SWAGGER = page(
  "Drover: API",
  '<link rel="stylesheet" href="docs/assets/swagger-ui.css">',
  '<div id="ui"></div><script src="docs/assets/swagger-ui-bundle.js"></script><script src="docs/assets/swagger.js"></script>',
);
const REDOC = page(
  "Drover: API",
  "<style>body{margin:0}</style>",
  '<div id="ui"></div><script src="docs/assets/redoc.standalone.js"></script><script src="docs/assets/redoc.js"></script>',
);
const SCRIPTS: Record<string, string> = {
  "swagger.js":
    'SwaggerUIBundle({ url: "openapi.json", dom_id: "#ui", deepLinking: true, validatorUrl: null });\n',
  "redoc.js":
    'Redoc.init("openapi.json", { disableGoogleFont: true, hideHostname: true }, document.getElementById("ui"));\n',
};

/** The pages need styles and a worker of their own, and nothing of any other host. */
const POLICY =
  "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; font-src 'self' data:; connect-src 'self'; worker-src 'self' blob:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/**
 * `/openapi.json`, and the two pages that show it. All is served from here.
 *
 * @param assets directory of the pages' scripts and styles.
 */
export function documentRoutes(document: () => unknown, assets: string): Route[] {
  const html = (path: string, summary: string, text: string): Route =>
    route({
      method: "get",
      path,
      scope: "open",
      tag: "Documentation",
      summary,
      answers: { 200: { description: "The page.", contentType: "text/html" } },
      async handle({ response }) {
        response.setHeader("Content-Security-Policy", POLICY);
        response.type("html").send(text);
        return undefined;
      },
    });
  return [
    route({
      method: "get",
      path: "/openapi.json",
      scope: "open",
      tag: "Documentation",
      summary: "This document",
      answers: { 200: { description: "OpenAPI 3.1.", schema: z.record(z.string(), z.unknown()) } },
      handle: async () => ({ status: 200, body: document() }),
    }),
    html("/docs", "The API to try out (Swagger UI)", SWAGGER),
    html("/redoc", "The API to read (ReDoc)", REDOC),
    route({
      method: "get",
      path: "/docs/assets/{name}",
      scope: "open",
      tag: "Documentation",
      summary: "Scripts and styles of the pages",
      params: z.object({ name: z.string() }),
      answers: { 200: { description: "The file.", contentType: "text/javascript, text/css" } },
      async handle({ params, response }) {
        const type = Object.hasOwn(ASSETS, params.name) ? ASSETS[params.name] : undefined;
        if (type === undefined) throw new Problem(404, "no such file");
        const text = SCRIPTS[params.name] ?? readFileSync(`${assets}/${params.name}`);
        response.setHeader("Cache-Control", "public, max-age=3600");
        response.type(type).send(text);
        return undefined;
      },
    }),
  ];
}
