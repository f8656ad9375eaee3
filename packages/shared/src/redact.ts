/** Query parameters whose value is a credential or a signature. */
const SECRET_PARAMETER =
  /^(x-(amz|goog|ms|oss|cos)-.*|sig|signature|token|.*[-_]?(token|secret|password|passwd|signature|credential|credentials|apikey|api[-_]key|access[-_]?key)|pass|pwd|key|code|auth|authorization|jwt|se|sp|sv|sr|st|skoid|sktid|ske|sks|skv|awsaccesskeyid|key-pair-id|policy|expires|session|sessionid|sid)$/i;

const HIDDEN = "***";

/**
 * Hides the secrets of a URL: user info and the values of query parameters that look like credentials become
 * `***`, the fragment is dropped. Text that is not a URL is returned unchanged.
 */
export function redactUrl(text: string): string {
  if (!/^[a-z][a-z0-9+.-]*:\/\//i.test(text)) return text;
  // An S3 key may contain any character, so `?` and `#` after the bucket belong to the key and must stay.
  if (/^s3:/i.test(text)) return text.replace(/^(s3:\/\/)[^/]*@/i, `$1${HIDDEN}@`);
  return redactAny(text);
}

function redactAny(text: string): string {
  const hashAt = text.indexOf("#");
  const whole = hashAt < 0 ? text : text.slice(0, hashAt);
  const queryAt = whole.indexOf("?");
  const base = queryAt < 0 ? whole : whole.slice(0, queryAt);
  const shown = base.replace(/^([a-z][a-z0-9+.-]*:\/\/)[^/]*@/i, `$1${HIDDEN}@`);
  if (queryAt < 0) return shown;
  const query = whole
    .slice(queryAt + 1)
    .split("&")
    .map((pair) => {
      const equals = pair.indexOf("=");
      if (equals < 0) return pair;
      const name = pair.slice(0, equals);
      let plain = name;
      try {
        plain = decodeURIComponent(name);
      } catch {
        return `${name}=${HIDDEN}`; // undecodable: hide it to be safe
      }
      return SECRET_PARAMETER.test(plain) ? `${name}=${HIDDEN}` : pair;
    })
    .join("&");
  return `${shown}?${query}`;
}

/** Redacts every URL inside a longer text, such as an error message. */
export function redactText(text: string): string {
  return text.replace(/[a-z][a-z0-9+.-]{0,30}:\/\/[^\s"'<>]+/gi, (url) => redactAny(url));
}
