import { problemOf } from "@drover/service/http/perform";
import { Problem } from "@drover/service/http/problem";
import { requireScope } from "@drover/service/security/access";
import { isWrite } from "@drover/service/security/same-origin";
import type { Caller } from "@drover/service/security/scopes";
import type { Mounted, ServiceParts } from "@drover/service/service";
import express, {
  type ErrorRequestHandler,
  type Request,
  type RequestHandler,
  type Response,
  Router,
} from "express";
import { pageAssets } from "./assets.js";
import { type Board, openBoard } from "./board/board.js";
import { type Html, html } from "./html.js";
import { loginRoutes } from "./login.js";
import { ApiError, type Asked, BASE, BOARD_PATH, type Page } from "./page.js";
import { auditLinks } from "./pages/audit.js";
import { PAGES } from "./pages/table.js";
import { setHeaders } from "./responses.js";
import { document, errorContent } from "./shell.js";

export interface DashboardOptions {
  /** Directory with the scripts and styles of the pages and of Bull Board. */
  assets: string;
  /** Whether Bull Board may retry and remove jobs, for those who have the scope operate. */
  boardWrites: boolean;
}

/** Makes the pages below {@link BASE}, and sends browsers that ask for `/` there. */
export function mountDashboard(parts: ServiceParts, options: DashboardOptions): Mounted {
  const board = openBoard(parts, options);
  const router = Router();
  router.get("/", (request, response, next) => {
    if (isForPeople(request)) response.redirect(302, `${BASE}/`);
    else next();
  });
  router.use(BASE, dashboard(parts, options, board));
  return { handler: router, close: () => board.close() };
}

function dashboard(parts: ServiceParts, { assets }: DashboardOptions, board: Board): Router {
  const router = Router();
  router.use((_request, response, next) => {
    setHeaders(response);
    next();
  });
  router.use("/assets", pageAssets(assets));
  router.use(loginRoutes(parts));
  router.use(authenticate(parts));
  router.use(BOARD_PATH, board.handler);
  for (const page of PAGES) addPage(router, page, parts);
  const [first] = PAGES;
  router.get("/", (_request, response) => response.redirect(302, `${BASE}${first?.path}`));
  router.use((request) => {
    throw new Problem(404, `there is no page at ${BASE}${request.path}`);
  });
  router.use(tellError());
  return router;
}

/** Lets those in who may read, and sends the others to the login. */
function authenticate({ access, availability, rates }: ServiceParts): RequestHandler {
  return async (request, response, next) => {
    const caller = await availability.whileThere(access.identify(request));
    if (caller === undefined) {
      if (isWrite(request) || !isForPeople(request)) throw new Problem(401, "log in first");
      if (comesFromElsewhere(request)) response.send(again(request));
      else response.redirect(303, `${BASE}/login?next=${encodeURIComponent(request.originalUrl)}`);
      return;
    }
    response.locals.caller = caller.id;
    response.locals.who = caller;
    if (isWrite(request)) access.requireSameOrigin(request);
    requireScope(caller, "read");
    if (rates) await availability.whileThere(rates.check({ scope: "read" }, caller, request));
    next();
  };
}

/** Whether a whole page is asked for, as browsers do, rather than what a script or a program wants. */
function isForPeople(request: Request): boolean {
  return request.accepts(["json", "html"]) === "html" && request.headers["x-fragment"] === undefined;
}

/** Whether a link of another site led here: a browser sends no cookie of a session then. */
function comesFromElsewhere({ headers }: Request): boolean {
  return ["cross-site", "same-site"].includes(String(headers["sec-fetch-site"]));
}

/** Has a browser ask once more, from a page of ours, so that it sends its cookie. */
function again({ originalUrl }: Request): string {
  return html`<!doctype html><html lang="en"><head><meta charset="utf-8"><title>Drover</title>
<meta http-equiv="refresh" content="0; url=${originalUrl}"></head><body><a href="${originalUrl}">Go on</a></body></html>`
    .text;
}

function addPage(router: Router, page: Page, parts: ServiceParts): void {
  router.get(page.path, async (request, response) => {
    const asked = askedOf(request, response, parts);
    show(request, response, page, await page.render(asked));
  });
  for (const action of page.actions ?? [])
    router.post(
      action.path,
      express.text({ type: "application/x-www-form-urlencoded", limit: "4mb" }),
      async (request, response) => {
        const form = new URLSearchParams(typeof request.body === "string" ? request.body : "");
        const asked = askedOf(request, response, parts);
        const result = await action.run(asked, form);
        if ("goTo" in result) response.redirect(303, BASE + result.goTo);
        else
          response.send(
            document({
              title: page.title,
              content: html`${result}${auditLinks(asked.entries)}`,
              pages: PAGES,
              caller: callerOf(response),
            }),
          );
      },
    );
}

function show(request: Request, response: Response, page: Page, content: Html): void {
  if (request.headers["x-fragment"] !== undefined) {
    response.type("html").send(`\n${content.text}\n`); // as it stands in the whole page
    return;
  }
  const { title, path, isLive = true } = page;
  response.send(document({ title, content, pages: PAGES, path, caller: callerOf(response), isLive }));
}

function callerOf(response: Response): Caller | undefined {
  return response.locals.who as Caller | undefined;
}

function askedOf(request: Request, response: Response, { callApi }: ServiceParts): Asked {
  const caller = callerOf(response) as Caller;
  const entries: Asked["entries"] = [];
  const ask = async (method: Parameters<typeof callApi>[1], path: string, given = {}) => {
    const { requestId } = response.locals;
    const { status, body, entry } = await callApi(caller, method, path, { ...given, requestId });
    if (status >= 400) throw new ApiError(status, body.title, body.detail);
    if (method !== "GET") entries.push(entry);
    return body;
  };
  const query = Object.entries(request.query).filter(
    (pair): pair is [string, string] => typeof pair[1] === "string",
  );
  return {
    caller,
    params: request.params as Record<string, string>,
    query: Object.fromEntries(query),
    get: async (path, asked = {}) => await ask("GET", path, { query: asked }),
    entries,
    change: ask,
  };
}

/** Tells an error as a page; to scripts, and whatever asks Bull Board, as the service does. */
function tellError(): ErrorRequestHandler {
  return (error, request, response, next) => {
    const problem = error instanceof ApiError ? new Problem(error.status, error.detail) : problemOf(error);
    if (response.headersSent || !isForPeople(request) || problem.status === 500)
      return next(problem.status === 500 ? error : problem);
    for (const [name, value] of Object.entries(problem.options.headers ?? {}))
      response.setHeader(name, value);
    const content = errorContent(String(problem.toJSON().title), problem.detail, problem.status);
    const caller = callerOf(response);
    const isLive = problem.status === 503 && !isWrite(request);
    response.status(problem.status).send(document({ title: "Error", content, pages: PAGES, caller, isLive }));
  };
}
