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

/** The only style that Bull Board's page has inline: the colours of a logo. */
const LOGO_STYLE = "'sha256-r2N1TB/gHbBtBZFKg7ejmq1acVSREzucTAEw6ga4hoU='";

/** What Bull Board's page needs instead: it says where its files are by `<base>`, and colours code in a worker. */
export const BOARD_POLICY = POLICY.replace("style-src 'self'", `style-src 'self' ${LOGO_STYLE}`)
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
