import { TransferError } from "../../errors.js";
import type { AnswerHeaders, Headers, HttpAnswer } from "../http/client.js";
import { readXml, unintelligible } from "./service/answer.js";
import type { S3Client, S3Request } from "./service/client.js";
import { NoSuchBucketError } from "./service/errors.js";
import type { S3Sdk, SdkAnswer, SdkCommand, SdkInput, SdkOutput, SendOptions } from "./service/sdk.js";
import { UNSIGNED } from "./service/sigv4.js";
import { childText, type XmlElement } from "./service/xml.js";

type Sdk = typeof import("./service/sdk.js");

/** An object as HEAD shows it. */
export interface ObjectHead {
  /** With its quotes; "" if the service names none. */
  etag: string;
  sizeBytes: number;
  headers: AnswerHeaders;
}

/** A part that the service has. */
export interface UploadedPart {
  /** With its quotes. */
  etag: string;
  sizeBytes: number;
}

/** One part of a multipart upload. */
interface PartRequest {
  key: string;
  uploadId: string;
  /** Number of the part, from 1. */
  part: number;
  signal: AbortSignal;
}

/** A part whose bytes are uploaded. */
export interface PartUpload extends PartRequest {
  body: Uint8Array;
  /** MD5 of the body in base64: the service compares it with what arrives. */
  md5: string;
}

/** A part that the service copies from another of its objects. */
export interface PartCopy extends PartRequest {
  /** The other object: `/bucket/key`, percent-encoded. */
  source: string;
  /** Its bytes to copy: `bytes=FIRST-LAST`. */
  range: string;
  /** Conditions on the source, and what is needed to read it. */
  headers: Headers;
}

/** A multipart upload that is to become an object. */
export interface UploadCompletion {
  key: string;
  uploadId: string;
  /** ETags of all parts in order, with their quotes. */
  etags: readonly string[];
  /** Conditions on the object that is there. */
  headers: Headers;
  signal: AbortSignal;
}

/** How a write ended. `refused`: the condition that it was sent under does not hold. `gone`: there is no such upload. */
export type Written =
  | { is: "written"; headers: AnswerHeaders; etag: string }
  | { is: "refused" }
  | { is: "gone" };

/** Pages of uploads of one key, of up to 1,000 each, that are read: nobody has more. */
const MOST_UPLOAD_PAGES = 100;

/**
 * The objects and multipart uploads of one bucket: everything but reading and listing objects. ETags are as in a
 * header, with their quotes. Requests that come once per object or part are our own; the rare ones are the AWS SDK's.
 * All methods throw TransferError.
 */
export class S3Bucket {
  /** Loaded when the first command is sent. */
  #sdk: S3Sdk | undefined;

  /** @param place headers of every request that makes an object, such as its storage class. Default: none. */
  constructor(
    private readonly client: S3Client,
    readonly name: string,
    private readonly place?: Headers,
  ) {}

  /** @param asks what it is to tell beside the usual. @returns undefined if there is no such object. */
  async head(key: string, signal: AbortSignal, asks: Headers = {}): Promise<ObjectHead | undefined> {
    try {
      const { headers, body } = await this.#send({ method: "HEAD", key, headers: asks }, signal);
      body.discard(0);
      return { etag: headers.etag ?? "", sizeBytes: Number(headers["content-length"] ?? 0), headers };
    } catch (error) {
      if (error instanceof TransferError && error.class === "not-found") return undefined;
      throw error;
    }
  }

  /**
   * Whether the bucket keeps every version of its objects. Who may not ask, and a service that does not know the question, count
   * as no.
   */
  async isVersioned(signal: AbortSignal): Promise<boolean> {
    try {
      const answer = await this.#send({ method: "GET", key: "", query: { versioning: "" } }, signal);
      const xml = await readXml(answer, this.name);
      return xml?.name === "VersioningConfiguration" && childText(xml, "Status") === "Enabled";
    } catch (error) {
      if (error instanceof TransferError && error.permanent) return false;
      throw error;
    }
  }

  /**
   * Writes an object in one request.
   *
   * @param bodyHash SHA-256 of the body, hexadecimal.
   * @param headers type, metadata and conditions.
   */
  async put(
    key: string,
    body: Uint8Array,
    bodyHash: string,
    headers: Headers,
    signal: AbortSignal,
  ): Promise<Written> {
    let answer: HttpAnswer;
    try {
      const all = this.#placed(headers);
      answer = await this.#send({ method: "PUT", key, body, bodyHash, headers: all }, signal);
    } catch (error) {
      // AWS answers 404 if the object that If-Match names is not there.
      if ("if-match" in headers && gone(error)) return { is: "refused" };
      throw error;
    }
    answer.body.discard(0);
    if (answer.status === 412) return { is: "refused" };
    return written(answer.headers, answer.headers.etag);
  }

  /**
   * Removes an object.
   *
   * @param headers conditions on it.
   * @returns `gone` if there is no such object and the service says so; most services do not.
   */
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

  /**
   * Begins a multipart upload.
   *
   * @param headers type and metadata of the object that it becomes.
   * @returns its id.
   */
  async createUpload(key: string, headers: Headers, signal: AbortSignal): Promise<string> {
    const answer = await this.#rarely(
      (sdk) => new sdk.CreateMultipartUploadCommand({ Bucket: this.name, Key: key }),
      { headers: this.#placed(headers), signal },
    );
    const id = answer?.xml && childText(answer.xml, "UploadId");
    if (!id) throw unintelligible("it names no upload");
    return id;
  }

  /** Uploads the bytes of one part. */
  async uploadPart({ key, uploadId, part, body, md5, signal }: PartUpload): Promise<Written> {
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

  /** Lets the service copy a range of another of its objects into a part. */
  async copyPart({ key, uploadId, part, source, range, headers, signal }: PartCopy): Promise<Written> {
    const query = { partNumber: String(part), uploadId };
    const all = { ...headers, "x-amz-copy-source": source, "x-amz-copy-source-range": range };
    try {
      return await this.#copied({ method: "PUT", key, query, headers: all }, signal);
    } catch (error) {
      return gone(error);
    }
  }

  /**
   * Lets the service copy another of its objects.
   *
   * @param source `/bucket/key`, percent-encoded.
   * @param headers conditions, what is needed to read the other object, metadata with its directive, and the tags that it gets instead of the other object's.
   * @returns `refused` also if it is the condition on the source that does not hold.
   */
  copy(key: string, source: string, headers: Headers, signal: AbortSignal): Promise<Written> {
    const all: Headers = { ...headers, ...this.place, "x-amz-copy-source": source };
    if (all["x-amz-tagging"] !== undefined) all["x-amz-tagging-directive"] = "REPLACE";
    return this.#copied({ method: "PUT", key, headers: all }, signal);
  }

  /** What a copy needs besides, to read an object of this bucket. @param headers of that object. */
  copyHeaders(headers: AnswerHeaders): Headers | undefined {
    return this.client.copyHeaders(headers);
  }

  #placed(headers: Headers): Headers {
    return this.place ? { ...headers, ...this.place } : headers;
  }

  async #copied(request: Omit<S3Request, "bucket">, signal: AbortSignal): Promise<Written> {
    const answer = await this.#send(request, signal);
    const xml = await readXml(answer, this.name);
    if (!xml) return { is: "refused" };
    return written(answer.headers, childText(xml, "ETag"));
  }

  /** @returns the parts of an upload by part number; undefined if there is no such upload. */
  async listParts(
    key: string,
    uploadId: string,
    signal: AbortSignal,
  ): Promise<Map<number, UploadedPart> | undefined> {
    const parts = new Map<number, UploadedPart>();
    for (let marker = "0"; ; ) {
      const input = { Bucket: this.name, Key: key, UploadId: uploadId, PartNumberMarker: marker };
      let xml: XmlElement | undefined;
      try {
        xml = (await this.#rarely((sdk) => new sdk.ListPartsCommand(input), { signal }))?.xml;
      } catch (error) {
        if (error instanceof TransferError && error.class === "not-found") return undefined;
        throw error;
      }
      if (xml?.name !== "ListPartsResult") throw unintelligible("it is no list of parts");
      for (const each of xml.children) {
        if (each.name !== "Part") continue;
        const etag = quoted(childText(each, "ETag"));
        parts.set(Number(childText(each, "PartNumber")), {
          etag,
          sizeBytes: Number(childText(each, "Size")),
        });
      }
      if (childText(xml, "IsTruncated") !== "true") return parts;
      const next = childText(xml, "NextPartNumberMarker") ?? "";
      if (!(Number(next) > Number(marker))) throw unintelligible("its pages do not go on");
      marker = next;
    }
  }

  /**
   * Makes the parts of an upload an object.
   *
   * @returns the ETag "" if the service does not name it.
   */
  async completeUpload({ key, uploadId, etags, headers, signal }: UploadCompletion): Promise<Written> {
    const Parts = etags.map((ETag, index) => ({ PartNumber: index + 1, ETag }));
    const input = { Bucket: this.name, Key: key, UploadId: uploadId, MultipartUpload: { Parts } };
    try {
      const answer = await this.#rarely((sdk) => new sdk.CompleteMultipartUploadCommand(input), {
        headers,
        signal,
      });
      if (!answer) return { is: "refused" };
      const { xml } = answer;
      if (xml?.name !== "CompleteMultipartUploadResult")
        throw unintelligible("it does not say what was put together");
      return { is: "written", headers: answer.headers, etag: quoted(childText(xml, "ETag")) };
    } catch (error) {
      return gone(error);
    }
  }

  /** Drops an upload with all of its parts. Does nothing if there is no such upload. */
  async abortUpload(key: string, uploadId: string, signal: AbortSignal): Promise<void> {
    const input = { Bucket: this.name, Key: key, UploadId: uploadId };
    try {
      const command = (sdk: Sdk) => new sdk.AbortMultipartUploadCommand(input);
      await this.#rarely(command, { signal, discardsAnswer: true });
    } catch (error) {
      gone(error);
    }
  }

  /** @returns the uploads of exactly this key that are under way. */
  async listUploads(key: string, signal: AbortSignal): Promise<{ uploadId: string; startedMs: number }[]> {
    const uploads: { uploadId: string; startedMs: number }[] = [];
    let after: { KeyMarker?: string; UploadIdMarker?: string } = {};
    const markers = new Set<string>();
    for (;;) {
      const input = { Bucket: this.name, Prefix: key, ...after };
      const answer = await this.#rarely((sdk) => new sdk.ListMultipartUploadsCommand(input), { signal });
      const xml = answer?.xml;
      if (xml?.name !== "ListMultipartUploadsResult") throw unintelligible("it is no list of uploads");
      for (const each of xml.children) {
        if (each.name !== "Upload" || childText(each, "Key") !== key) continue;
        const uploadId = childText(each, "UploadId") ?? "";
        const startedMs = Date.parse(childText(each, "Initiated") ?? "");
        if (uploadId !== "" && !Number.isNaN(startedMs)) uploads.push({ uploadId, startedMs });
      }
      if (childText(xml, "IsTruncated") !== "true") return uploads;
      // Keys come in order: all that follow are longer.
      if (childText(xml, "NextKeyMarker") !== key) return uploads;
      const next = childText(xml, "NextUploadIdMarker") ?? "";
      if (next === "" || markers.has(next) || markers.size === MOST_UPLOAD_PAGES)
        throw unintelligible("its pages do not go on");
      markers.add(next);
      after = { KeyMarker: key, UploadIdMarker: next };
    }
  }

  #send(request: Omit<S3Request, "bucket">, signal: AbortSignal): Promise<HttpAnswer> {
    return this.client.request({ bucket: this.name, short: true, ...request }, signal);
  }

  /** Sends a command of the AWS SDK: see {@link S3Sdk.send}. */
  async #rarely<I extends SdkInput, O extends SdkOutput>(
    command: (sdk: Sdk) => SdkCommand<I, O>,
    options: SendOptions,
  ): Promise<SdkAnswer | undefined> {
    const sdk = await import("./service/sdk.js");
    this.#sdk ??= new sdk.S3Sdk(this.client, this.name);
    return await this.#sdk.send(command(sdk), options);
  }
}

/** @throws TransferError if there is no ETag: whatever answers so, it is not S3 that has written something. */
function written(headers: AnswerHeaders, etag: string | undefined): Written {
  if (!etag) throw unintelligible("it names no ETag");
  return { is: "written", headers, etag: quoted(etag) };
}

function quoted(etag: string | undefined): string {
  return !etag ? "" : etag.startsWith('"') ? etag : `"${etag}"`;
}

/** @throws the error, unless it says that there is no such upload or object in a bucket that is there. */
function gone(error: unknown): { is: "gone" } {
  const isGone =
    error instanceof TransferError && error.class === "not-found" && !(error instanceof NoSuchBucketError);
  if (isGone) return { is: "gone" };
  throw error;
}
