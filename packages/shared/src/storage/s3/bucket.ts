import { messageOf, TransferError } from "../../errors.js";
import type { AnswerHeaders, Headers, HttpAnswer } from "../http/client.js";
import type { S3Client, S3Request } from "./client.js";
import { s3CodeError } from "./errors.js";
import { UNSIGNED } from "./sigv4.js";
import { childText, parseXml, type XmlElement } from "./xml.js";

/** Answers that are read whole are less than this: a page of 1,000 uploads or parts. */
const MOST_ANSWER_BYTES = 8 << 20;

/** An object as HEAD shows it. */
export interface ObjectHead {
  etag: string;
  sizeBytes: number;
  headers: AnswerHeaders;
}

export interface UploadedPart {
  etag: string;
  sizeBytes: number;
}

/** `refused`: the condition that it was sent under does not hold. `gone`: there is no such upload. */
export type Written =
  | { is: "written"; headers: AnswerHeaders; etag: string }
  | { is: "refused" }
  | { is: "gone" };

/** Everything that is done to objects of one bucket besides reading them. An ETag is as in a header, with its quotes. */
export class S3Bucket {
  constructor(
    private readonly client: S3Client,
    readonly name: string,
  ) {}

  /** @returns undefined where there is no such object. */
  async head(key: string, signal: AbortSignal): Promise<ObjectHead | undefined> {
    try {
      const { headers, body } = await this.#send({ method: "HEAD", key }, signal);
      body.discard(0);
      return { etag: headers.etag ?? "", sizeBytes: Number(headers["content-length"] ?? 0), headers };
    } catch (error) {
      if (error instanceof TransferError && error.class === "not-found") return undefined;
      throw error;
    }
  }

  /** @param bodyHash SHA-256, hexadecimal. */
  async put(
    key: string,
    body: Uint8Array,
    bodyHash: string,
    headers: Headers,
    signal: AbortSignal,
  ): Promise<Written> {
    let answer: HttpAnswer;
    try {
      answer = await this.#send({ method: "PUT", key, body, bodyHash, headers }, signal);
    } catch (error) {
      // AWS: what If-Match is about is not there.
      if ("if-match" in headers && gone(error)) return { is: "refused" };
      throw error;
    }
    answer.body.discard(0);
    if (answer.status === 412) return { is: "refused" };
    return written(answer.headers, answer.headers.etag);
  }

  /** @param headers condition that it is removed under. */
  async remove(key: string, signal: AbortSignal, headers: Headers = {}): Promise<Written> {
    let answer: HttpAnswer;
    try {
      answer = await this.#send({ method: "DELETE", key, headers }, signal);
    } catch (error) {
      return gone(error);
    }
    answer.body.discard(0);
    if (answer.status === 412) return { is: "refused" };
    return { is: "written", headers: answer.headers, etag: "" };
  }

  /** @returns the id of a new multipart upload. */
  async createUpload(key: string, headers: Headers, signal: AbortSignal): Promise<string> {
    const answer = await this.#xml({ method: "POST", key, query: { uploads: "" }, headers }, signal);
    const id = answer.xml && childText(answer.xml, "UploadId");
    if (!id) throw odd("it names no upload");
    return id;
  }

  /** @param md5 of the body, base64: the service holds the body against it. */
  async uploadPart(
    key: string,
    uploadId: string,
    part: number,
    body: Uint8Array,
    md5: string,
    signal: AbortSignal,
  ): Promise<Written> {
    const query = { partNumber: String(part), uploadId };
    const headers = { "content-md5": md5 };
    try {
      const answer = await this.#send(
        { method: "PUT", key, query, body, headers, bodyHash: UNSIGNED },
        signal,
      );
      answer.body.discard(0);
      return written(answer.headers, answer.headers.etag);
    } catch (error) {
      return gone(error);
    }
  }

  /** Copies a range of another object of the service into a part. */
  async copyPart(
    key: string,
    uploadId: string,
    part: number,
    source: string,
    range: string,
    headers: Headers,
    signal: AbortSignal,
  ): Promise<Written> {
    const query = { partNumber: String(part), uploadId };
    const all = { ...headers, "x-amz-copy-source": source, "x-amz-copy-source-range": range };
    try {
      return await this.#copied({ method: "PUT", key, query, headers: all }, signal);
    } catch (error) {
      return gone(error);
    }
  }

  /** Copies another object of the service. `refused` may be the condition of either end. */
  copy(key: string, source: string, headers: Headers, signal: AbortSignal): Promise<Written> {
    return this.#copied({ method: "PUT", key, headers: { ...headers, "x-amz-copy-source": source } }, signal);
  }

  async #copied(request: Omit<S3Request, "bucket">, signal: AbortSignal): Promise<Written> {
    const { status, headers, xml } = await this.#xml(request, signal);
    if (status === 412) return { is: "refused" };
    return written(headers, xml && childText(xml, "ETag"));
  }

  /** @returns what an upload has by part number, or undefined where there is no such upload. */
  async listParts(
    key: string,
    uploadId: string,
    signal: AbortSignal,
  ): Promise<Map<number, UploadedPart> | undefined> {
    const parts = new Map<number, UploadedPart>();
    for (let marker = "0"; ; ) {
      const query = { uploadId, "part-number-marker": marker };
      let xml: XmlElement | undefined;
      try {
        ({ xml } = await this.#xml({ method: "GET", key, query }, signal));
      } catch (error) {
        if (error instanceof TransferError && error.class === "not-found") return undefined;
        throw error;
      }
      if (xml?.name !== "ListPartsResult") throw odd("it is no list of parts");
      for (const each of xml.children) {
        if (each.name !== "Part") continue;
        const etag = quoted(childText(each, "ETag"));
        parts.set(Number(childText(each, "PartNumber")), {
          etag,
          sizeBytes: Number(childText(each, "Size")),
        });
      }
      const next = childText(xml, "NextPartNumberMarker") ?? "";
      if (childText(xml, "IsTruncated") !== "true") return parts;
      if (Number(next) <= Number(marker)) throw odd("its pages do not go on");
      marker = next;
    }
  }

  /** Puts an upload's parts together. Its ETag is "" where the service does not say it. */
  async completeUpload(
    key: string,
    uploadId: string,
    parts: string[],
    headers: Headers,
    signal: AbortSignal,
  ): Promise<Written> {
    const items = parts.map(
      (etag, at) =>
        `<Part><PartNumber>${at + 1}</PartNumber><ETag>${etag.replaceAll('"', "&quot;")}</ETag></Part>`,
    );
    const body = Buffer.from(`<CompleteMultipartUpload>${items.join("")}</CompleteMultipartUpload>`);
    try {
      const answer = await this.#xml(
        { method: "POST", key, query: { uploadId }, headers, body, bodyHash: UNSIGNED },
        signal,
      );
      if (answer.status === 412) return { is: "refused" };
      if (answer.xml?.name !== "CompleteMultipartUploadResult")
        throw odd("it does not say what was put together");
      const etag = quoted(answer.xml && childText(answer.xml, "ETag"));
      return { is: "written", headers: answer.headers, etag };
    } catch (error) {
      return gone(error);
    }
  }

  /** Drops an upload with all of its parts. One that is not there any more is dropped already. */
  async abortUpload(key: string, uploadId: string, signal: AbortSignal): Promise<void> {
    try {
      const answer = await this.#send({ method: "DELETE", key, query: { uploadId } }, signal);
      answer.body.discard(0);
    } catch (error) {
      gone(error);
    }
  }

  /** Uploads of exactly this key that are under way. */
  async listUploads(key: string, signal: AbortSignal): Promise<{ uploadId: string; startedMs: number }[]> {
    const uploads: { uploadId: string; startedMs: number }[] = [];
    let query: Record<string, string> = { uploads: "", prefix: key };
    for (;;) {
      const { xml } = await this.#xml({ method: "GET", key: "", query }, signal);
      if (xml?.name !== "ListMultipartUploadsResult") throw odd("it is no list of uploads");
      for (const each of xml.children) {
        if (each.name !== "Upload" || childText(each, "Key") !== key) continue;
        const uploadId = childText(each, "UploadId") ?? "";
        const startedMs = Date.parse(childText(each, "Initiated") ?? "");
        if (uploadId !== "" && !Number.isNaN(startedMs)) uploads.push({ uploadId, startedMs });
      }
      if (childText(xml, "IsTruncated") !== "true") return uploads;
      const after = childText(xml, "NextKeyMarker") ?? "";
      if (after !== key) return uploads; // keys come in order: what follows is longer
      const idAfter = childText(xml, "NextUploadIdMarker") ?? "";
      if (idAfter === "" || idAfter === query["upload-id-marker"]) throw odd("its pages do not go on");
      query = { uploads: "", prefix: key, "key-marker": after, "upload-id-marker": idAfter };
    }
  }

  #send(request: Omit<S3Request, "bucket">, signal: AbortSignal): Promise<HttpAnswer> {
    return this.client.request({ bucket: this.name, short: true, ...request }, signal);
  }

  /** An answer that is XML. One that begins well can still be an error (S3 answers before it is through). */
  async #xml(
    request: Omit<S3Request, "bucket">,
    signal: AbortSignal,
  ): Promise<{ status: number; headers: AnswerHeaders; xml: XmlElement | undefined }> {
    const { status, headers, body } = await this.#send(request, signal);
    if (status === 412) {
      body.discard(0);
      return { status, headers, xml: undefined };
    }
    const chunks: Buffer[] = [];
    let bytes = 0;
    for (let read = await body.read(); read; read = await body.read()) {
      chunks.push(...read);
      for (const chunk of read) bytes += chunk.length;
      if (bytes <= MOST_ANSWER_BYTES) continue;
      body.abort(new Error("too long"));
      throw odd("it is too long");
    }
    let xml: XmlElement;
    try {
      xml = parseXml(Buffer.concat(chunks).toString());
    } catch (error) {
      throw odd(messageOf(error));
    }
    if (xml.name !== "Error") return { status, headers, xml };
    const code = childText(xml, "Code") ?? "";
    if (code === "PreconditionFailed") return { status: 412, headers, xml: undefined };
    throw s3CodeError(code, headers, this.name);
  }
}

/** Whatever else answers "well", it is not S3 that has written something. */
function written(headers: AnswerHeaders, etag: string | undefined): Written {
  if (!etag) throw odd("it names no ETag");
  return { is: "written", headers, etag: quoted(etag) };
}

function quoted(etag: string | undefined): string {
  return !etag ? "" : etag.startsWith('"') ? etag : `"${etag}"`;
}

function odd(why: string): TransferError {
  return new TransferError("protocol", `an answer of S3 cannot be understood: ${why}`, { verdict: "fail" });
}

/** @throws the error, unless it says that there is no such upload. */
function gone(error: unknown): { is: "gone" } {
  if (error instanceof TransferError && error.class === "not-found" && !/NoSuchBucket/.test(error.message))
    return { is: "gone" };
  throw error;
}
