import type { Request, Response } from "express";
import { isLocal } from "./local-request.js";
import { SESSION_MOST_MS } from "./sessions.js";

/** Ids that sessions can have. */
const ID = /^[\w-]{43}$/;

/** Over plain HTTP, which there is on one machine alone, browsers refuse the prefix and what it demands. */
function nameFor(request: Request): string {
  return isLocal(request) ? "drover" : "__Host-drover";
}

/** The id of the session that a browser sends; undefined for none. */
export function sessionIdOf(request: Request): string | undefined {
  const name = nameFor(request);
  for (const pair of (request.headers.cookie ?? "").split(";")) {
    const [given, id = ""] = pair.trim().split("=");
    if (given === name && ID.test(id)) return id;
  }
  return undefined;
}

/** Has a browser keep the id of its session, or forget it. */
export function setSessionCookie(request: Request, response: Response, id: string | undefined): void {
  response.cookie(nameFor(request), id ?? "", {
    httpOnly: true,
    sameSite: "strict",
    secure: !isLocal(request),
    path: "/",
    maxAge: id === undefined ? 0 : SESSION_MOST_MS,
  });
}
