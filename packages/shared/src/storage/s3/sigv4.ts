import { createHmac, createSecretKey, hash, type KeyObject } from "node:crypto";

/** What signs a request. */
export interface AwsIdentity {
  accessKeyId: string;
  secretAccessKey: string;
  sessionToken?: string | undefined;
}

/** SHA-256 of a body of no bytes. */
export const EMPTY_SHA256 = hash("sha256", "", "hex");

/** Percent-encodes as AWS wants it: all but the unreserved characters of RFC 3986. */
export function encodeRfc3986(text: string): string {
  return encodeURIComponent(text).replace(
    /[!'()*]/g,
    (char) => `%${char.charCodeAt(0).toString(16).toUpperCase()}`,
  );
}

/** A key as the path of a request: its slashes stay. */
export function encodeKey(key: string): string {
  return key.split("/").map(encodeRfc3986).join("/");
}

/** Parameters in the order that a signature needs. */
export function encodeQuery(parameters: Record<string, string>): string {
  return Object.keys(parameters)
    .map((name) => [encodeRfc3986(name), encodeRfc3986(parameters[name] as string)] as const)
    .sort(([a], [b]) => (a < b ? -1 : 1))
    .map(([name, value]) => `${name}=${value}`)
    .join("&");
}

/** Stands for the hash of a body that is not part of the signature. */
export const UNSIGNED = "UNSIGNED-PAYLOAD";

/**
 * Signs requests to S3 (AWS Signature Version 4). The key that a day's signatures are made with is derived once:
 * that is most of what a signature costs.
 */
export class Signer {
  #derivedFor = "";
  #key: KeyObject | undefined;

  constructor(private readonly region: string) {}

  /**
   * @param method with `path` and `query`, which are encoded already.
   * @param headers names in lower case, all of them signed; `host` among them.
   * @param bodyHash SHA-256 of the body, hexadecimal, or {@link UNSIGNED}. The service holds the body against it.
   * @returns the headers to send besides: date, hash of the body, session token and signature.
   */
  sign(
    identity: AwsIdentity,
    method: string,
    path: string,
    query: string,
    headers: Record<string, string>,
    bodyHash = EMPTY_SHA256,
    now = new Date(),
  ): Record<string, string> {
    const time = now.toISOString().replace(/[-:]|\.\d+/g, "");
    const date = time.slice(0, 8);
    const added: Record<string, string> = { "x-amz-content-sha256": bodyHash, "x-amz-date": time };
    if (identity.sessionToken !== undefined) added["x-amz-security-token"] = identity.sessionToken;
    const all: Record<string, string> = { ...headers, ...added };
    const names = Object.keys(all).sort();
    const signed = names.join(";");
    const lines = names.map((name) => `${name}:${all[name]?.trim().replace(/ +/g, " ")}\n`).join("");
    // Headers are the bytes that they are sent as, in ISO 8859-1; everything else is encoded.
    const request = `${method}\n${path}\n${query}\n${lines}\n${signed}\n${bodyHash}`;
    const scope = `${date}/${this.region}/s3/aws4_request`;
    const text = `AWS4-HMAC-SHA256\n${time}\n${scope}\n${hash("sha256", Buffer.from(request, "latin1"), "hex")}`;
    const signature = createHmac("sha256", this.#signingKey(identity, date)).update(text).digest("hex");
    added.authorization = `AWS4-HMAC-SHA256 Credential=${identity.accessKeyId}/${scope}, SignedHeaders=${signed}, Signature=${signature}`;
    return added;
  }

  /** A key object: with a Buffer, Node 24 spends ten times as long on finding out what sort of key it was given. */
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
