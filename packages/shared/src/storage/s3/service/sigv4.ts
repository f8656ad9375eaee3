import { createHmac, createSecretKey, hash, type KeyObject } from "node:crypto";

/** Credentials that requests are signed with. */
export interface AwsIdentity {
  accessKeyId: string;
  secretAccessKey: string;
  sessionToken?: string | undefined;
}

/** SHA-256 of an empty body, hexadecimal. */
export const EMPTY_SHA256 = hash("sha256", "", "hex");

/** Percent-encodes all but the unreserved characters of RFC 3986, as AWS requires. */
export function encodeRfc3986(text: string): string {
  return encodeURIComponent(text).replace(
    /[!'()*]/g,
    (char) => `%${char.charCodeAt(0).toString(16).toUpperCase()}`,
  );
}

/** Percent-encodes a key for the path of a request. Slashes stay. */
export function encodeKey(key: string): string {
  return key.split("/").map(encodeRfc3986).join("/");
}

/** Percent-encodes parameters and sorts them as a signature requires. */
export function encodeQuery(parameters: Record<string, string>): string {
  return Object.keys(parameters)
    .map((name) => [encodeRfc3986(name), encodeRfc3986(parameters[name] as string)] as const)
    .sort(([a], [b]) => (a < b ? -1 : 1))
    .map(([name, value]) => `${name}=${value}`)
    .join("&");
}

/** Stands in place of the hash of a body that the signature does not cover. */
export const UNSIGNED = "UNSIGNED-PAYLOAD";

/** A request to be signed. */
export interface SignableRequest {
  method: string;
  /** Percent-encoded: see {@link encodeKey}. */
  path: string;
  /** Percent-encoded and sorted: see {@link encodeQuery}. */
  query: string;
  /** Names in lower case, `host` among them. All of them are signed. */
  headers: Record<string, string>;
  /** SHA-256 of the body, hexadecimal, or {@link UNSIGNED}: the service compares it with the body. Default: no body. */
  bodyHash?: string;
}

/**
 * Signs requests to S3 (AWS Signature Version 4). The signing key is derived once a day, because deriving it is most of
 * what a signature costs.
 */
export class Signer {
  #derivedFor = "";
  #key: KeyObject | undefined;

  constructor(private readonly region: string) {}

  /** @returns the headers to send with those of the request: date, hash of the body, session token and signature. */
  sign(identity: AwsIdentity, request: SignableRequest, now = new Date()): Record<string, string> {
    const { method, path, query, headers, bodyHash = EMPTY_SHA256 } = request;
    const time = now.toISOString().replace(/[-:]|\.\d+/g, "");
    const date = time.slice(0, 8);
    const added: Record<string, string> = { "x-amz-content-sha256": bodyHash, "x-amz-date": time };
    if (identity.sessionToken !== undefined) added["x-amz-security-token"] = identity.sessionToken;
    const all: Record<string, string> = { ...headers, ...added };
    const names = Object.keys(all).sort();
    const signed = names.join(";");
    const lines = names.map((name) => `${name}:${canonicalValue(all[name] as string)}\n`).join("");
    // A header is sent as bytes of ISO 8859-1, so that is what is signed. Everything else is ASCII.
    const canonical = `${method}\n${path}\n${query}\n${lines}\n${signed}\n${bodyHash}`;
    const scope = `${date}/${this.region}/s3/aws4_request`;
    const text = `AWS4-HMAC-SHA256\n${time}\n${scope}\n${hash("sha256", Buffer.from(canonical, "latin1"), "hex")}`;
    const signature = createHmac("sha256", this.#signingKey(identity, date)).update(text).digest("hex");
    added.authorization = `AWS4-HMAC-SHA256 Credential=${identity.accessKeyId}/${scope}, SignedHeaders=${signed}, Signature=${signature}`;
    return added;
  }

  /** @returns a KeyObject: with a Buffer Node 24 takes ten times as long, to find out what kind of key it is. */
  #signingKey({ secretAccessKey }: AwsIdentity, date: string): KeyObject {
    const wanted = `${date} ${secretAccessKey}`;
    if (this.#key && this.#derivedFor === wanted) return this.#key;
    const hmac = (key: string | Buffer, text: string) => createHmac("sha256", key).update(text).digest();
    const derived = hmac(hmac(hmac(hmac(`AWS4${secretAccessKey}`, date), this.region), "s3"), "aws4_request");
    this.#key = createSecretKey(derived);
    this.#derivedFor = wanted;
    return this.#key;
  }
}

/** The value of a header as it is signed: without blanks at its ends, and with one for several. */
function canonicalValue(value: string): string {
  return value.replace(/[ \t]+/g, " ").replace(/^ | $/g, "");
}
