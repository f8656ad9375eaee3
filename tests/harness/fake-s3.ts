import { createHash } from "node:crypto";
import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { type FakeObjects, type FakeRequest, type Stored, sendError } from "./fake-s3-answers.js";
import { refusal } from "./fake-s3-keys.js";
import { FakeS3Writes } from "./fake-s3-writes.js";

export { type FakeRequest, type Stored, sendError } from "./fake-s3-answers.js";

/** Answers a request itself, and says so by true; else it takes its usual way. */
export type Fault = (request: FakeRequest, answer: ServerResponse) => boolean;

const encoded = (key: string) => encodeURIComponent(key).replaceAll("%2F", "/");

/**
 * One bucket (`bucket` unless told otherwise, path style) in this process that lists in the order of UTF-8 bytes, as S3 does, with
 * conditions and ranges on GET, and what {@link FakeS3Writes} does. Faults can be put in the way of each request. It
 * checks no signature.
 */
export class FakeS3 implements FakeObjects {
  readonly requests: FakeRequest[] = [];
  /** Requests that were answered at the same time, at most. */
  mostAtOnce = 0;
  fault: Fault = () => false;
  /** What every request waits for before anything is done about it. */
  before: (request: FakeRequest) => Promise<void> | undefined = () => undefined;
  /** Keys on a page. */
  pageKeys = 1000;
  /** How long every answer takes, in milliseconds. */
  delayMs = 0;
  readonly writes = new FakeS3Writes(this);
  /** Versions by their id, where the bucket keeps them. Default: it keeps none. */
  versions: Map<string, Stored> | undefined;
  readonly #objects = new Map<string, Stored>();
  #sorted: { key: string; bytes: Buffer }[] | undefined;
  #atOnce = 0;
  readonly #server = createServer((request, answer) => {
    this.#answer(request, answer).catch((error) => {
      if (!request.socket.destroyed) throw error; // else whoever asked was killed
    });
  });

  constructor(private readonly bucket = "bucket") {}

  static async start(bucket?: string): Promise<FakeS3> {
    const s3 = new FakeS3(bucket);
    await new Promise<void>((resolve) => s3.#server.listen(0, "127.0.0.1", resolve));
    return s3;
  }

  get endpoint(): string {
    return `http://127.0.0.1:${(this.#server.address() as AddressInfo).port}`;
  }

  get env(): Record<string, string> {
    return {
      AWS_ACCESS_KEY_ID: "AKIDCANARY",
      AWS_SECRET_ACCESS_KEY: "SECRETCANARY",
      AWS_SESSION_TOKEN: "TOKENCANARY",
      AWS_ENDPOINT_URL_S3: this.endpoint,
      AWS_EC2_METADATA_DISABLED: "true",
    };
  }

  put(key: string, content: Buffer | string, headers: Record<string, string> = {}, modified = new Date()) {
    const bytes = Buffer.from(content);
    const etag = headers.etag ?? `"${createHash("md5").update(bytes).digest("hex")}"`;
    if (!this.#objects.has(key)) this.#sorted = undefined;
    const stored = { content: bytes, etag, modified, headers };
    this.#objects.set(key, stored);
    if (!this.versions) return;
    const id = `v${this.versions.size + 1}`;
    stored.headers = { ...headers, "x-amz-version-id": id };
    this.versions.set(id, stored);
  }

  stored(key: string): Stored | undefined {
    return this.#objects.get(key);
  }

  get keys(): string[] {
    return [...this.#objects.keys()].sort();
  }

  remove(key: string): void {
    this.#objects.delete(key);
    this.#sorted = undefined;
  }

  async stop(): Promise<void> {
    this.#server.closeAllConnections();
    await new Promise((resolve) => this.#server.close(resolve));
  }

  async #answer(message: IncomingMessage, answer: ServerResponse): Promise<void> {
    const url = message.url as string;
    const at = url.indexOf("?");
    const path = at < 0 ? url : url.slice(0, at);
    const [, bucket = "", ...key] = path.split("/");
    const request: FakeRequest = {
      method: message.method as string,
      key: decodeURIComponent(key.join("/")),
      query: new URLSearchParams(at < 0 ? "" : url.slice(at)),
      headers: message.headers,
    };
    this.requests.push(request);
    this.mostAtOnce = Math.max(this.mostAtOnce, ++this.#atOnce);
    if (this.delayMs > 0) await new Promise((resolve) => setTimeout(resolve, this.delayMs));
    await this.before(request);
    this.#atOnce--;
    if (this.fault(request, answer)) return;
    if (bucket !== this.bucket) sendError(answer, 404, "NoSuchBucket");
    else if (/^(PUT|POST|DELETE)$/.test(request.method)) await this.writes.answer(request, message, answer);
    else if (request.query.has("uploadId"))
      this.writes.listParts(request.query.get("uploadId") as string, answer);
    else if (request.query.has("versioning"))
      answer.end(
        `<VersioningConfiguration>${this.versions ? "<Status>Enabled</Status>" : ""}</VersioningConfiguration>`,
      );
    else if (request.query.has("uploads")) this.writes.listUploads(request.query.get("prefix") ?? "", answer);
    else if (request.query.has("list-type")) answer.end(this.page(request.query));
    else this.#get(request, answer);
  }

  /** A page of the listing, as XML. */
  page(query: URLSearchParams): string {
    const prefix = query.get("prefix") ?? "";
    const delimiter = query.get("delimiter");
    const after = query.get("continuation-token") ?? query.get("start-after") ?? "";
    const most = Math.min(Number(query.get("max-keys") ?? this.pageKeys), this.pageKeys);
    this.#sorted ??= [...this.#objects.keys()]
      .map((key) => ({ key, bytes: Buffer.from(key) }))
      .sort((a, b) => Buffer.compare(a.bytes, b.bytes));
    const start = Buffer.from(after);
    let low = 0;
    for (let high = this.#sorted.length; low < high; ) {
      const middle = (low + high) >> 1;
      if (Buffer.compare((this.#sorted[middle] as { bytes: Buffer }).bytes, start) > 0) high = middle;
      else low = middle + 1;
    }
    const items: string[] = [];
    const prefixes = new Set<string>();
    let last = "";
    let truncated = false;
    for (let index = low; index < this.#sorted.length; index++) {
      const { key } = this.#sorted[index] as { key: string };
      if (!key.startsWith(prefix)) continue;
      const end = delimiter ? key.indexOf(delimiter, prefix.length) : -1;
      const common = end < 0 ? undefined : key.slice(0, end + 1);
      if (common !== undefined && prefixes.has(common)) continue;
      if (items.length + prefixes.size >= most) {
        truncated = true;
        break;
      }
      last = key;
      const stored = this.#objects.get(key) as Stored;
      if (common !== undefined) prefixes.add(common);
      else
        items.push(
          `<Contents><Key>${encoded(key)}</Key><LastModified>${stored.modified.toISOString()}</LastModified><ETag>${stored.etag.replaceAll('"', "&quot;")}</ETag><Size>${stored.content.length}</Size></Contents>`,
        );
    }
    const common = [...prefixes].map(
      (each) => `<CommonPrefixes><Prefix>${encoded(each)}</Prefix></CommonPrefixes>`,
    );
    const next = truncated ? `<NextContinuationToken>${xml(last)}</NextContinuationToken>` : "";
    return `<?xml version="1.0" encoding="UTF-8"?>\n<ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/"><Name>bucket</Name><Prefix>${encoded(prefix)}</Prefix><EncodingType>url</EncodingType><KeyCount>${items.length + prefixes.size}</KeyCount><IsTruncated>${truncated}</IsTruncated>${next}${items.join("")}${common.join("")}</ListBucketResult>`;
  }

  #get({ key, query, headers }: FakeRequest, answer: ServerResponse): unknown {
    const id = query.get("versionId");
    const stored = id === null ? this.#objects.get(key) : this.versions?.get(id);
    if (!stored) return sendError(answer, 404, "NoSuchKey");
    const refused = refusal(stored.headers, headers);
    if (refused) return sendError(answer, refused.status, refused.code);
    const { content, etag } = stored;
    answer.setHeader("last-modified", stored.modified.toUTCString());
    answer.setHeader("etag", etag);
    for (const [name, value] of Object.entries(stored.headers)) answer.setHeader(name, value);
    if (headers["if-none-match"] === etag) return answer.writeHead(304).end();
    if (headers["if-match"] !== undefined && headers["if-match"] !== etag)
      return sendError(answer, 412, "PreconditionFailed");
    const range = /^bytes=(\d+)-(\d*)$/.exec(headers.range ?? "");
    if (!range) return answer.writeHead(200, { "content-length": content.length }).end(content);
    const from = Number(range[1]);
    const to = Math.min(range[2] === "" ? content.length - 1 : Number(range[2]), content.length - 1);
    if (from >= content.length) return sendError(answer, 416, "InvalidRange");
    const parts = {
      "content-length": to - from + 1,
      "content-range": `bytes ${from}-${to}/${content.length}`,
    };
    return answer.writeHead(206, parts).end(content.subarray(from, to + 1));
  }
}

function xml(text: string): string {
  return text.replace(/[&<>"]/g, (char) => `&#${char.charCodeAt(0)};`);
}
