import { TransferError } from "../../errors.js";
import type { Access } from "../../permissions.js";
import { changedWhileRead } from "../http/range.js";
import type { Body, ByteRange, Opened, Source, SourceEntry, VersionRef } from "../source.js";
import { accessOf, headObject } from "./object/look.js";
import { readMetadata } from "./object/metadata.js";
import type { S3Name } from "./object/name.js";
import type { S3Client } from "./service/client.js";
import { encodeKey } from "./service/sigv4.js";
import { entryOf, isVersion, S3Source } from "./source.js";

/** An object that its own service is to copy. Its size, ETag and metadata are asked for; its bytes are not read. */
export class S3CopySource implements Source {
  constructor(
    private readonly client: S3Client,
    private readonly name: S3Name,
  ) {}

  async open(known: string, signal: AbortSignal): Promise<Opened> {
    const { bucket, key } = this.name;
    const headers = { "x-amz-checksum-mode": "ENABLED" };
    const answer = await headObject(this.client, this.name, headers, signal);
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
      reading: this.client.copyHeaders(answer.headers),
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

  look(signal: AbortSignal): Promise<SourceEntry | undefined> {
    return new S3Source(this.client, this.name).look(signal);
  }

  access(signal: AbortSignal): Promise<Access> {
    return accessOf(this.client, this.name, signal);
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
