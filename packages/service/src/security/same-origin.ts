import type { Request } from "express";

/** What a request says of where it comes from. */
type Sent = Pick<Request, "headers">;

/**
 * Whether a request was made by a page of this service, as browsers tell: by the header Origin, and by Sec-Fetch-Site where
 * they send it. Whether it came over TLS is known to whoever ended that, so the scheme counts for nothing.
 *
 * @param host that the browser asked, as far as it is known: `name:port`.
 */
export function isSameOrigin({ headers }: Sent, host = headers.host): boolean {
  const site = headers["sec-fetch-site"];
  if (site !== undefined && site !== "same-origin") return false;
  const { origin } = headers;
  if (origin === undefined || host === undefined || !URL.canParse(origin)) return false;
  const { protocol, host: from } = new URL(origin);
  const own = `${protocol}//${host}`;
  return /^https?:$/.test(protocol) && URL.canParse(own) && new URL(own).host === from;
}

/** Whether a request changes something. */
export function isWrite({ method }: Pick<Request, "method">): boolean {
  return !["GET", "HEAD", "OPTIONS"].includes(method);
}
