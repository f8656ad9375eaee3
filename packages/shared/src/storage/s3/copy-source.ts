import { TransferError } from "../../errors.js";
import type { Headers, HttpAnswer } from "../http/client.js";
import { changedWhileRead } from "../http/range.js";
import type { Body, ByteRange, Opened, Source, SourceEntry, VersionRef } from "../source.js";
import type { S3Client } from "./client.js";
import { readMetadata } from "./metadata.js";
import type { S3Name } from "./name.js";
import { encodeKey } from "./sigv4.js";
import { entryOf, isVersion } from "./source.js";

/** An object that its own service is to copy. Its size, ETag and metadata are asked for; its bytes are not read. */
export class S3CopySource implements Source {
  constructor(
    private readonly client: S3Client,
    private readonly name: S3Name,
  ) {}

  async open(known: string, signal: AbortSignal): Promise<Opened> {
    const { bucket, key } = this.name;
    const headers = { "x-amz-checksum-mode": "ENABLED" };
    const answer = await this.#head(headers, signal);
    answer.body.discard(0);
    const length = answer.headers["content-length"];
    const told = entryOf(answer.headers, length === undefined ? undefined : Number(length), true);
    // No bytes arrive that a digest could be compared with.
    const entry: SourceEntry = { ...told, digest: undefined };
    const { digest } = told;
    if (entry.sizeBytes === undefined || entry.strongEtag === "")
      throw new TransferError("protocol", "the service tells neither size nor ETag of the object", {
        permanent: true,
      });
    if (isVersion(known, entry)) return { is: "unchanged", entry };
    const copy = {
      source: `/${encodeKey(bucket)}/${encodeKey(key)}`,
      headers: answer.headers,
      sha256:
        digest?.algorithm === "sha256"
          ? Buffer.from(digest.base64, "base64").toString("hex")
          : readMetadata(answer.headers).sha256,
      confirm: async () => {
        const now = await this.client.request({ method: "HEAD", bucket, key }, signal);
        now.body.discard(0);
        if (now.headers.etag !== entry.strongEtag) throw changedWhileRead();
      },
    };
    return { is: "body", entry, body: NO_BODY, offset: 0, copy };
  }

  /** An answer to HEAD has no body, so that a 404 does not tell what is missing: a GET asks for that. */
  async #head(headers: Headers, signal: AbortSignal): Promise<HttpAnswer> {
    const { bucket, key } = this.name;
    try {
      return await this.client.request({ method: "HEAD", bucket, key, headers }, signal);
    } catch (error) {
      if (!(error instanceof TransferError) || error.class !== "not-found") throw error;
      const found = await this.client.get(bucket, key, {}, { range: "bytes=0-0" }, signal);
      found.body.abort(error);
      throw changedWhileRead(); // it came into being meanwhile
    }
  }

  openRange({ version }: VersionRef, _range: ByteRange, signal: AbortSignal): Promise<Opened> {
    return this.open(version, signal);
  }
}

/** Stands for the bytes that are not read. */
const NO_BODY: Body = {
  read: () => Promise.reject(new Error("its service copies it")),
  takeIfComplete: () => undefined,
  abort: () => {},
  starved: false,
  receivedBytes: 0,
};
