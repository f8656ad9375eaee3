/** Query parameters whose value is a credential or a signature, as services and CDNs name them. */
const SECRET_PARAMETER = new RegExp(
  `^(${[
    "x-(amz|goog|ms|oss|cos)-.*",
    ".*[-_]?(token|secret|password|passwd|signature|credentials?)",
    ".*[-_]?(access|account|api|auth|private|secret|shared|signing|subscription)[-_]?key",
    "sig|pass|pwd|key|code|otp|ticket|hmac|auth|tempauth|authorization|jwt|session|sessionid|sid",
    "se|sp|sv|sr|st|skoid|sktid|ske|sks|skv", // Azure
    "awsaccesskeyid|key-pair-id|policy|expires", // AWS
    "__token__|hdnts|hdnea|hdntl|rlkey", // Akamai, Dropbox
  ].join("|")})$`,
  "i",
);

const HIDDEN = "***";

/**
 * Hides the secrets of a URL: user info and the values of query parameters that look like credentials become
 * `***`, the fragment is dropped. Of a URL that cannot be parsed only the scheme is shown: nobody can tell where in it a
 * password ends. Text that is not a URL is returned unchanged.
 */
export function redactUrl(text: string): string {
  if (!/^[a-z][a-z0-9+.-]*:\/\//i.test(text)) return text;
  // An S3 key may contain any character, so `?` and `#` after the bucket belong to the key and must stay.
  if (/^s3:/i.test(text)) return text.replace(/^(s3:\/\/)[^/]*@/i, `$1${HIDDEN}@`);
  return redactAny(text);
}

/** What nearly all URLs look like: nothing in it needs to be parsed to be known as harmless up to its query. */
const PLAIN = /^https?:\/\/[a-z0-9.-]+(:\d{1,5})?(\/[^@]*)?$/i;

function redactAny(url: string): string {
  if (PLAIN.test(url)) return redactParameters(url);
  const scheme = url.slice(0, url.indexOf("://") + 3);
  if (URL.canParse(url))
    return redactParameters(url.replace(/^([a-z][a-z0-9+.-]*:\/\/)[^/?#]*@/i, `$1${HIDDEN}@`));
  // Addresses of several servers are no URLs. What is before the last @ may be a password with any character in it.
  const at = url.lastIndexOf("@");
  if (/^https?:/i.test(url)) return `${scheme}${HIDDEN}`;
  return redactParameters(at < 0 ? url : `${scheme}${HIDDEN}@${url.slice(at + 1)}`);
}

function redactParameters(url: string): string {
  const hashAt = url.indexOf("#");
  const whole = hashAt < 0 ? url : url.slice(0, hashAt);
  const queryAt = whole.indexOf("?");
  if (queryAt < 0) return whole;
  // Some servers take a semicolon for an ampersand.
  const query = whole.slice(queryAt + 1).replace(/[^&;]+/g, redactParameter);
  return `${whole.slice(0, queryAt)}?${query}`;
}

/** @param pair `name=value`, of which the equals sign may be percent-encoded as well. */
function redactParameter(pair: string): string {
  let plain: string;
  try {
    plain = decodeURIComponent(pair);
  } catch {
    return `${pair.split("=", 1)[0]}=${HIDDEN}`; // undecodable: hide it to be safe
  }
  const equals = plain.indexOf("=");
  if (equals < 0 || !SECRET_PARAMETER.test(plain.slice(0, equals))) return pair;
  const encodedEquals = pair.indexOf("=");
  const name = encodedEquals < 0 ? plain.slice(0, equals) : pair.slice(0, encodedEquals);
  return `${name}=${HIDDEN}`;
}

/** A URL in a text. A quote ends it, unless what follows has an `@` and so is part of a password. */
const URL_IN_TEXT = /[a-z][a-z0-9+.-]{0,30}:\/\/(?:[^\s/?#@]*@)?[^\s"'<>]*[^\s"'<>)\],;:.]/gi;

/** Redacts every URL inside a longer text, such as an error message. */
export function redactText(text: string): string {
  return text.replace(URL_IN_TEXT, redactAny);
}
