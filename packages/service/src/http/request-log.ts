import { randomUUID } from "node:crypto";
import { redactText } from "@drover/shared/redact";
import { observe } from "@drover/shared/telemetry";
import type { RequestHandler } from "express";
import type { Logger } from "pino";

/** The secrets of routes are in paths below this. */
const SECRET_BELOW = /notification[^/?]*\/+[^?]/i;

const METHODS = new Set(["GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS"]);

/** A path, or a path with its query, as it may be logged. */
export function shownUrl(url: string): string {
  let decoded = url;
  try {
    decoded = decodeURIComponent(url);
  } catch {
    // as it is
  }
  return SECRET_BELOW.test(url) || SECRET_BELOW.test(decoded) ? "/sync/s3-notification/***" : redactText(url);
}

/** Gives each request an id, and logs it and its answer: one line each, without query values that may be secret. */
export function logRequests(log: Logger): RequestHandler {
  return (request, response, next) => {
    const given = request.headers["x-request-id"];
    const id = typeof given === "string" && /^[\w.-]{1,128}$/.test(given) ? given : randomUUID();
    response.locals.requestId = id;
    response.setHeader("X-Request-Id", id);
    const sinceMs = performance.now();
    const what = { request_id: id, method: request.method, url: shownUrl(request.originalUrl) };
    log.debug({ ...what, from: request.socket.remoteAddress }, "request");
    response.once("close", () => {
      const fields = {
        ...what,
        status: response.statusCode,
        duration_ms: Math.round((performance.now() - sinceMs) * 10) / 10,
        ...(response.locals.caller === undefined ? {} : { caller: response.locals.caller }),
        ...(response.writableFinished ? {} : { broken_off: true }),
      };
      log.info(fields, "answer");
      observe("http.request_seconds", (performance.now() - sinceMs) / 1_000, () => ({
        method: METHODS.has(request.method) ? request.method : "other",
        route: response.locals.route ?? "none",
        status: `${Math.floor(response.statusCode / 100)}xx`,
      }));
    });
    next();
  };
}
