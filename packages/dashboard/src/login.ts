import { networkOf } from "@drover/service/security/rate";
import type { ServiceParts } from "@drover/service/service";
import { RequestRate } from "@drover/shared/protocol/request-rate";
import express, { type Request, type Response, Router } from "express";
import { type Html, html } from "./html.js";
import { BASE } from "./page.js";
import { document } from "./shell.js";

/** Tries to log in that are taken from one network, on average; twice as many at once after a pause. */
const TRIES_PER_SECOND = 5;

/** What logs in works with. */
type LoginOptions = Pick<ServiceParts, "access" | "availability" | "engine">;

/** `/login` and `/logout`. */
export function loginRoutes({ access, availability, engine: { redis, keys } }: LoginOptions): Router {
  const rate = new RequestRate(redis, keys, TRIES_PER_SECOND);
  const router = Router();
  router.get("/login", (request, response) => {
    response.send(loginPage(nextOf(request.query.next)));
  });
  router.post("/login", express.urlencoded({ extended: false, limit: "8kb" }), async (request, response) => {
    access.requireSameOrigin(request);
    const form = (request.body ?? {}) as Record<string, unknown>;
    const next = nextOf(form.next);
    const refuse = (status: number, why: string) => response.status(status).send(loginPage(next, why));
    const waitMs = await availability.whileThere(rate.take(`login:${networkOf(access.addressOf(request))}`));
    if (waitMs > 0) {
      response.setHeader("Retry-After", String(Math.ceil(waitMs / 1000)));
      return refuse(429, "Too many tries: wait a moment, then try again.");
    }
    if (isPlainElsewhere(request))
      return refuse(
        400,
        "Over plain HTTP a browser keeps no login: use https, or a tunnel (ssh -L) and localhost.",
      );
    const token = typeof form.token === "string" ? form.token.trim() : "";
    if (!(await availability.whileThere(access.logIn(token, request, response))))
      return refuse(401, "This token is not known, has expired or was revoked.");
    response.redirect(303, next);
  });
  router.post("/logout", async (request: Request, response: Response) => {
    access.requireSameOrigin(request);
    await availability.whileThere(access.logOut(request, response));
    response.redirect(303, `${BASE}/login`);
  });
  return router;
}

/** Whether a page was loaded over plain HTTP from another machine: browsers drop cookies of logins there. */
function isPlainElsewhere({ headers }: Request): boolean {
  const { protocol, hostname } = new URL(headers.origin as string);
  return protocol === "http:" && !/^(localhost|127\.\d+\.\d+\.\d+|\[::1\])$/.test(hostname);
}

/** Where to go after a login: a path of the dashboard, and nowhere else. */
function nextOf(given: unknown): string {
  const home = `${BASE}/`;
  if (typeof given !== "string" || !URL.canParse(given, "http://here")) return home;
  const { origin, pathname, search } = new URL(given, "http://here");
  return origin === "http://here" && pathname.startsWith(home) ? pathname + search : home;
}

function loginPage(next: string, wrong?: string): string {
  const content: Html = html`<h1>Log in</h1>
${wrong !== undefined && html`<p class="error" role="alert" id="wrong">${wrong}</p>`}
<form method="post" action="${BASE}/login" class="login">
<input type="hidden" name="next" value="${next}">
<label for="token">Token</label>
<input id="token" name="token" type="password" autocomplete="current-password" required autofocus${wrong !== undefined && html` aria-describedby="wrong" aria-invalid="true"`}>
<button>Log in</button>
</form>
<p><code>drover token create NAME --scopes read,operate</code> makes a token.</p>`;
  return document({ title: "Log in", content, pages: [] });
}
