import { createHash } from "node:crypto";
import type { IncomingMessage, ServerResponse } from "node:http";
import { type FakeObjects, type FakeRequest, sendError } from "./fake-s3-answers.js";
import { encryption, etagOf, refusal, withoutEncryption } from "./fake-s3-keys.js";

const md5 = (bytes: Buffer) => createHash("md5").update(bytes).digest();

interface FakeUpload {
  key: string;
  headers: Record<string, string>;
  parts: Map<number, Buffer>;
  started: Date;
}

/** What a fake S3 service does with requests that write: objects, copies and multipart uploads, with conditions. */
export class FakeS3Writes {
  /** How conditions of writes are taken. */
  conditions: "quoted" | "bare" | "none" = "quoted";
  readonly uploads = new Map<string, FakeUpload>();
  /** Called when the effect of a request is there, before it is answered; true where it has answered itself. */
  after: (request: FakeRequest, answer: ServerResponse) => boolean = () => false;
  #ids = 0;

  constructor(private readonly s3: FakeObjects) {}

  async answer(request: FakeRequest, message: IncomingMessage, answer: ServerResponse): Promise<unknown> {
    const chunks: Buffer[] = [];
    for await (const chunk of message) chunks.push(chunk as Buffer);
    const body = Buffer.concat(chunks);
    const { query, headers } = request;
    const uploadId = query.get("uploadId");
    if (headers["content-md5"] !== undefined && md5(body).toString("base64") !== headers["content-md5"])
      return sendError(answer, 400, "BadDigest");
    const sha256 = createHash("sha256").update(body);
    const checksum = headers["x-amz-checksum-sha256"];
    if (checksum !== undefined && checksum !== sha256.copy().digest("base64"))
      return sendError(answer, 400, "BadDigest");
    const hashed = headers["x-amz-content-sha256"];
    if (hashed !== "UNSIGNED-PAYLOAD" && hashed !== sha256.digest("hex"))
      return sendError(answer, 400, "XAmzContentSHA256Mismatch");
    if (request.method === "POST" && query.has("uploads")) return this.#create(request, answer);
    if (uploadId !== null) {
      const upload = this.uploads.get(uploadId);
      if (!upload || upload.key !== request.key) return sendError(answer, 404, "NoSuchUpload");
      if (request.method === "PUT") return this.#part(request, upload, body, answer);
      if (request.method === "POST") return this.#complete(request, uploadId, upload, body, answer);
      this.uploads.delete(uploadId);
      return answer.writeHead(204).end();
    }
    if (request.method === "DELETE") {
      if (this.#refused(request)) return sendError(answer, 412, "PreconditionFailed");
      this.s3.remove(request.key);
      return answer.writeHead(204).end();
    }
    if (this.#refused(request)) return sendError(answer, 412, "PreconditionFailed");
    const source = this.#source(request, answer);
    if (source === null) return undefined;
    const replace = source === undefined || headers["x-amz-metadata-directive"] === "REPLACE";
    const bytes = source?.content ?? body;
    const own = encryption(headers);
    const refused = refusal(own, headers);
    if (refused) return sendError(answer, refused.status, refused.code);
    const etagged = Object.keys(own).length > 0 ? { etag: `"${etagOf(bytes, own)}"` } : {};
    const rest = replace ? kept(headers) : withoutEncryption(source.headers);
    this.s3.put(request.key, bytes, { ...rest, ...own, ...etagged });
    if (this.after(request, answer)) return undefined;
    const etag = this.s3.stored(request.key)?.etag as string;
    for (const [name, value] of Object.entries(own)) answer.setHeader(name, value);
    if (source) return answer.end(`<CopyObjectResult><ETag>${etag}</ETag></CopyObjectResult>`);
    return answer.writeHead(200, { etag }).end();
  }

  #refused({ key, headers }: FakeRequest): boolean {
    if (this.conditions === "none") return false;
    const there = this.s3.stored(key);
    if (headers["if-none-match"] === "*") return there !== undefined;
    const wanted = headers["if-match"];
    if (wanted === undefined) return false;
    const etag = this.conditions === "bare" ? there?.etag.replaceAll('"', "") : there?.etag;
    return etag !== wanted;
  }

  /** The object that is to be copied; null where that cannot be, and it is answered. */
  #source({ headers }: FakeRequest, answer: ServerResponse) {
    const named = headers["x-amz-copy-source"] as string | undefined;
    if (named === undefined) return undefined;
    // A `?` would begin the version, and `+` is a space here.
    const path = decodeURIComponent((named.split("?")[0] as string).replaceAll("+", " "));
    const source = this.s3.stored(path.replace(/^\/bucket\//, ""));
    const wanted = headers["x-amz-copy-source-if-match"];
    const refused = source && refusal(source.headers, headers, "copied key");
    if (refused) {
      sendError(answer, refused.status, refused.code);
      return null;
    }
    if (source && (wanted === undefined || wanted === source.etag)) return source;
    sendError(answer, source ? 412 : 404, source ? "PreconditionFailed" : "NoSuchKey");
    return null;
  }

  #create({ key, headers }: FakeRequest, answer: ServerResponse): void {
    const id = `upload-${++this.#ids}`;
    const all = { ...kept(headers), ...encryption(headers) };
    this.uploads.set(id, { key, headers: all, parts: new Map(), started: new Date() });
    answer.end(`<InitiateMultipartUploadResult><UploadId>${id}</UploadId></InitiateMultipartUploadResult>`);
  }

  #part(request: FakeRequest, upload: FakeUpload, body: Buffer, answer: ServerResponse): unknown {
    const refused = refusal(upload.headers, request.headers);
    if (refused) return sendError(answer, refused.status, refused.code);
    const source = this.#source(request, answer);
    if (source === null) return undefined;
    const range = /^bytes=(\d+)-(\d+)$/.exec(String(request.headers["x-amz-copy-source-range"] ?? ""));
    const bytes = source ? source.content.subarray(Number(range?.[1]), Number(range?.[2]) + 1) : body;
    upload.parts.set(Number(request.query.get("partNumber")), bytes);
    if (this.after(request, answer)) return undefined;
    const etag = `"${etagOf(bytes, upload.headers)}"`;
    if (source) return answer.end(`<CopyPartResult><ETag>${etag}</ETag></CopyPartResult>`);
    return answer.writeHead(200, { etag }).end();
  }

  #complete(
    request: FakeRequest,
    id: string,
    upload: FakeUpload,
    body: Buffer,
    answer: ServerResponse,
  ): unknown {
    const wanted = [...body.toString().matchAll(/<Part>(.*?)<\/Part>/gs)];
    const parts = wanted.map(([, part = ""]) => {
      const number = /<PartNumber>(\d+)<\/PartNumber>/.exec(part)?.[1];
      const etag = /<ETag>&quot;([^&]*)&quot;<\/ETag>/.exec(part)?.[1];
      const bytes = upload.parts.get(Number(number));
      return bytes && etagOf(bytes, upload.headers) === etag ? bytes : undefined;
    });
    if (parts.length === 0 || parts.includes(undefined)) return sendError(answer, 400, "InvalidPart");
    if (this.#refused(request)) return sendError(answer, 412, "PreconditionFailed");
    const all = parts as Buffer[];
    const etag = `"${md5(Buffer.concat(all.map(md5))).toString("hex")}-${all.length}"`;
    this.s3.put(request.key, Buffer.concat(all), { ...upload.headers, etag });
    this.uploads.delete(id);
    if (this.after(request, answer)) return undefined;
    return answer.end(
      `<CompleteMultipartUploadResult><ETag>${etag.replaceAll('"', "&quot;")}</ETag></CompleteMultipartUploadResult>`,
    );
  }

  listParts(id: string, answer: ServerResponse): unknown {
    const upload = this.uploads.get(id);
    if (!upload) return sendError(answer, 404, "NoSuchUpload");
    const parts = [...upload.parts].map(
      ([number, bytes]) =>
        `<Part><PartNumber>${number}</PartNumber><ETag>&quot;${etagOf(bytes, upload.headers)}&quot;</ETag><Size>${bytes.length}</Size></Part>`,
    );
    return answer.end(
      `<ListPartsResult><IsTruncated>false</IsTruncated>${parts.sort().join("")}</ListPartsResult>`,
    );
  }

  listUploads(prefix: string, answer: ServerResponse): void {
    const uploads = [...this.uploads].filter(([, { key }]) => key.startsWith(prefix));
    const items = uploads.map(
      ([id, { key, started }]) =>
        `<Upload><Key>${key}</Key><UploadId>${id}</UploadId><Initiated>${started.toISOString()}</Initiated></Upload>`,
    );
    answer.end(
      `<ListMultipartUploadsResult><IsTruncated>false</IsTruncated>${items.join("")}</ListMultipartUploadsResult>`,
    );
  }
}

function kept(headers: IncomingMessage["headers"]): Record<string, string> {
  const names = Object.keys(headers).filter((name) =>
    /^(x-amz-meta-|x-amz-checksum-|x-amz-storage-class$|cache-control$|content-(type|language|disposition)$)/.test(
      name,
    ),
  );
  return Object.fromEntries(names.map((name) => [name, String(headers[name])]));
}
