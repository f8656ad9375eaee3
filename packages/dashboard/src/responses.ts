import type { Response } from "express";

/** Nothing of another host, nothing inline. */
const POLICY = [
  "default-src 'none'",
  "script-src 'self'",
  "style-src 'self'",
  "img-src 'self' data:",
  "connect-src 'self'",
  "form-action 'self'",
  "frame-ancestors 'none'",
  "base-uri 'none'",
].join("; ");

/**
 * What Bull Board's page needs instead: it says where its files are by `<base>`, colours code in a worker, and its libraries
 * write styles, which it brings no hash or nonce for. Scripts are files of ours there too.
 */
export const BOARD_POLICY = POLICY.replace("style-src 'self'", "style-src 'self' 'unsafe-inline'")
  .replace("base-uri 'none'", "base-uri 'self'")
  .concat("; worker-src 'self'");

/** Headers of all that belongs to the dashboard. */
export function setHeaders(response: Response): void {
  response.setHeader("Content-Security-Policy", POLICY);
  // Without a referrer, browsers would send `Origin: null` along with forms.
  response.setHeader("Referrer-Policy", "same-origin");
  response.setHeader("Cache-Control", "no-store");
  response.vary("X-Fragment");
}
