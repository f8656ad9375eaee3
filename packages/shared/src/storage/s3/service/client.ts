import { TransferError } from "../../../errors.js";
import type { AnswerHeaders, Headers, HttpAnswer, HttpClient, HttpMessage } from "../../http/client.js";
import { type CustomerKey, hasCustomerKey } from "../object/customer-key.js";
import { type CredentialsProvider, isSameIdentity } from "./credentials.js";
import { answerError } from "./errors.js";
import { type AwsIdentity, EMPTY_SHA256, encodeKey, encodeQuery, Signer } from "./sigv4.js";
import type { S3Spec } from "./spec.js";

/** The headers that the signature covers, so that nobody on the way can change them. */
const SIGNED = /^(x-amz-|content-md5$)/;

/** A request to S3 that is not signed yet. */
export interface S3Request extends HttpMessage {
  bucket: string;
  /** The key, not encoded; "" for the bucket itself. */
  key: string;
  /** Sub-resource and parameters, not encoded. */
  query?: Record<string, string>;
  /** Names in lower case: conditions, ranges, metadata, `x-amz-…`. */
  headers?: Headers;
  /** SHA-256 of the body, hexadecimal, or UNSIGNED. Default: that of an empty body. */
  bodyHash?: string;
  body?: Uint8Array;
}

/** Parameters of requests that are about an object or an upload, but neither read nor write its content. */
const ASIDE = ["acl", "tagging", "uploadId"];

/** Whether a service needs the key of an object to answer a request: not to remove it, to list or to complete an upload. */
function isForContent({ method, key, query = {} }: S3Request): boolean {
  if (key === "" || method === "DELETE") return false;
  if (method === "PUT") return true;
  if (method === "POST") return "uploads" in query;
  return !ASIDE.some((name) => name in query);
}

/** Sends signed requests to one S3 service. Every request to S3 goes through here, those of the AWS SDK too. */
export class S3Client {
  readonly #signer: Signer;
  readonly #endpoint: URL;
  readonly #basePath: string;

  /** @param key of the user that its objects are encrypted with. Default: none. */
  constructor(
    private readonly http: HttpClient,
    private readonly spec: S3Spec,
    private readonly credentials: CredentialsProvider,
    private readonly key?: CustomerKey,
  ) {
    this.#signer = new Signer(spec.region);
    this.#endpoint = new URL(spec.endpoint);
    this.#basePath = this.#endpoint.pathname.replace(/\/$/, "");
  }

  /**
   * Sends a GET for an object, or for the bucket if `key` is "".
   *
   * @returns and throws as {@link request} does.
   */
  get(
    bucket: string,
    key: string,
    query: Record<string, string>,
    headers: Headers,
    signal: AbortSignal,
  ): Promise<HttpAnswer> {
    return this.request({ method: "GET", bucket, key, query, headers }, signal);
  }

  /** Sends a GET for the service itself, which lists its buckets. Returns and throws as {@link request} does. */
  service(query: Record<string, string>, signal: AbortSignal): Promise<HttpAnswer> {
    return this.request({ method: "GET", bucket: "", key: "", query }, signal);
  }

  /**
   * Sends one request. If the service refuses the credentials and others can be found, it is sent once more with those.
   * Redirects are not followed, because the signature and the session token are for this host alone.
   *
   * @returns an answer of success, or one to a condition: status 412, and 304 and 416 for a GET.
   * @throws TransferError for every other answer, and if there is none.
   */
  async request(request: S3Request, signal: AbortSignal): Promise<HttpAnswer> {
    if (!this.key || !isForContent(request)) return await this.#request(request, signal);
    const headers = { ...request.headers, ...this.key.headers };
    try {
      return await this.#request({ ...request, headers }, signal);
    } catch (error) {
      // Of an object that is not encrypted with a key none may be named.
      const isRefused = error instanceof TransferError && error.httpStatus === 400;
      if (!isRefused || !/^(GET|HEAD)$/.test(request.method)) throw error;
      return await this.#request(request, signal);
    }
  }

  /** What a request that copies needs besides, to read an object of this client. @param headers of that object. */
  copyHeaders(headers: AnswerHeaders): Headers | undefined {
    return this.key && hasCustomerKey(headers) ? this.key.copyHeaders : undefined;
  }

  async #request(request: S3Request, signal: AbortSignal): Promise<HttpAnswer> {
    const identity = await this.credentials();
    try {
      return await this.#send(request, identity, signal);
    } catch (thrown) {
      const error = await this.#explain(thrown, request, identity, signal);
      if (!identity || !(error instanceof TransferError) || error.class !== "credentials") throw error;
      const other = await this.credentials(identity);
      if (isSameIdentity(identity, other)) throw error;
      return await this.#send(request, other, signal);
    }
  }

  /**
   * An answer to HEAD has no body that says what is wrong. Where it may be the credentials, a GET for one byte is sent to
   * know.
   *
   * @returns the error that the service names, else the given one.
   */
  async #explain(
    error: unknown,
    request: S3Request,
    identity: AwsIdentity | undefined,
    signal: AbortSignal,
  ): Promise<unknown> {
    if (!identity || request.method !== "HEAD" || !(error instanceof TransferError)) return error;
    if (error.httpStatus !== 400 && error.httpStatus !== 403) return error;
    const headers = { ...request.headers, range: "bytes=0-0" };
    try {
      const answer = await this.#send({ ...request, method: "GET", headers, short: true }, identity, signal);
      answer.body.discard(0);
      return error;
    } catch (named) {
      return named instanceof TransferError && named.class === "credentials" ? named : error;
    }
  }

  async #send(
    request: S3Request,
    identity: AwsIdentity | undefined,
    signal: AbortSignal,
  ): Promise<HttpAnswer> {
    const { method, bucket, body, short } = request;
    const { origin, host, path } = this.#target(bucket, request.key);
    const search = encodeQuery(request.query ?? {});
    const signed: Headers = { host };
    const sent: Headers = {};
    for (const [name, value] of Object.entries(request.headers ?? {}))
      (SIGNED.test(name) ? signed : sent)[name] = value;
    if (this.spec.requesterPays) signed["x-amz-request-payer"] = "requester";
    if (identity)
      Object.assign(
        sent,
        signed,
        this.#signer.sign(identity, {
          method,
          path,
          query: search,
          headers: signed,
          bodyHash: request.bodyHash ?? EMPTY_SHA256,
        }),
      );
    else Object.assign(sent, signed);
    delete sent.host; // the HTTP client sends it, with the same value
    sent["accept-encoding"] = "identity";
    if (body) {
      sent["content-length"] = String(body.length);
      sent["content-type"] ??= "application/octet-stream";
    }
    const target = search === "" ? path : `${path}?${search}`;
    const message = { method, ...(body ? { body } : {}), ...(short ? { short } : {}) };
    const answer = await this.http.ask(origin, target, sent, signal, message);
    if (answer.status === 412) return answer;
    if (method === "GET" && (answer.status === 304 || answer.status === 416)) return answer;
    if (answer.status >= 200 && answer.status < 300) return answer;
    throw await answerError(answer, bucket);
  }

  #target(bucket: string, key: string): { origin: string; host: string; path: string } {
    const { protocol, host } = this.#endpoint;
    const encoded = encodeKey(key);
    if (Buffer.byteLength(key) > 1024)
      throw new TransferError("path", "the key is over 1024 bytes", { permanent: true });
    if (bucket === "") return { origin: `${protocol}//${host}`, host, path: `${this.#basePath}/` };
    // A bucket name that is no DNS label cannot be part of a host name, or no certificate covers it.
    if (this.spec.pathStyle || !/^[a-z0-9][a-z0-9-]{1,61}[a-z0-9]$/.test(bucket)) {
      const path = `${this.#basePath}/${encodeKey(bucket)}/${encoded}`;
      return { origin: `${protocol}//${host}`, host, path: key === "" ? path.replace(/\/$/, "") : path };
    }
    const own = `${bucket}.${host}`;
    return { origin: `${protocol}//${own}`, host: own, path: `${this.#basePath}/${encoded}` };
  }
}
