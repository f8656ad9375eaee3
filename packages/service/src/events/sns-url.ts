import type { SnsEnvelope } from "./sns-envelope.js";
import { SnsUrlError } from "./sns-errors.js";

/** `sns.<region>.amazonaws.com`, or `.com.cn` in China. */
const SNS_HOST = /^sns\.[a-z]{2,}(-[a-z]+)+-\d+\.amazonaws\.com(\.cn)?$/;
const CERTIFICATE_PATH = /^\/SimpleNotificationService-[A-Za-z0-9]+\.pem$/;
const MAX_URL_CHARS = 4096;

/**
 * Checks where the certificate of a message is, before anything is fetched from there.
 *
 * @param hosts allowed, with their port if it is not 443, instead of AWS's own.
 * @returns the URL.
 * @throws {SnsUrlError}
 */
export function certificateUrl(envelope: SnsEnvelope, hosts?: readonly string[]): string {
  const url = snsUrl("SigningCertURL", envelope.SigningCertURL, hosts);
  if (!CERTIFICATE_PATH.test(url.pathname) || url.search !== "")
    throw new SnsUrlError("SigningCertURL is not that of a certificate of SNS");
  return url.href;
}

/**
 * Checks the URL that confirms a subscription. Call it for a message that was verified alone, and fetch the URL without
 * following redirects.
 *
 * @param hosts as in {@link certificateUrl}.
 * @returns the URL.
 * @throws {SnsUrlError} also if the message asks for no confirmation, or the URL confirms something else.
 */
export function subscribeUrl(envelope: SnsEnvelope, hosts?: readonly string[]): string {
  if (envelope.Type !== "SubscriptionConfirmation")
    throw new SnsUrlError("this message does not ask for a confirmation");
  const url = snsUrl("SubscribeURL", envelope.SubscribeURL, hosts);
  const query = url.searchParams;
  const isConfirmation =
    url.pathname === "/" &&
    query.get("Action") === "ConfirmSubscription" &&
    query.get("TopicArn") === envelope.TopicArn &&
    query.get("Token") === envelope.Token;
  if (!isConfirmation) throw new SnsUrlError("SubscribeURL does not confirm this subscription");
  return url.href;
}

function snsUrl(field: string, text: string | undefined, hosts: readonly string[] | undefined): URL {
  const url = text !== undefined && text.length <= MAX_URL_CHARS ? URL.parse(text) : null;
  if (url?.protocol !== "https:") throw new SnsUrlError(`${field} is no https URL`);
  if (url.username !== "" || url.password !== "" || url.hash !== "")
    throw new SnsUrlError(`${field} has parts that SNS does not use`);
  // Compared as written, too: what a parser mends (spaces, backslashes, :443) SNS does not send.
  const isAllowed = hosts ? hosts.includes(url.host) : SNS_HOST.test(url.host);
  if (!isAllowed || !text?.startsWith(`https://${url.host}/`))
    throw new SnsUrlError(`${field} does not lead to a host of SNS`);
  return url;
}
