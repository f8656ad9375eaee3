import { Readable, type Transform } from "node:stream";
import zlib from "node:zlib";
import { messageOf, TransferError } from "@drover/shared/errors";
import type { Body, SourceEntry } from "@drover/shared/storage/source";
import { createDigest, type Digest } from "./hash/digest.js";

const DECODERS: Record<string, () => Transform> = {
  gzip: () => zlib.createGunzip(),
  "x-gzip": () => zlib.createGunzip(),
  deflate: () => zlib.createInflate(),
  br: () => zlib.createBrotliDecompress(),
  zstd: () => zlib.createZstdDecompress(),
};

/** Whether to decode an encoded body. A file that is itself a gzip archive stays as it is, as in browsers. */
export function mustDecode(entry: SourceEntry, name: string): boolean {
  if (entry.encoding === "") return false;
  return !(/gzip$/.test(entry.encoding) && /\.(gz|tgz|svgz)$/i.test(name));
}

/** Decodes a body that a server encoded although it was asked not to. */
export class DecodedBody implements Body {
  readonly #iterator: AsyncIterator<Buffer>;
  /** Digest of the encoded bytes, if the server sent one to compare with. */
  readonly wireHash: Digest | undefined;

  constructor(
    private readonly body: Body,
    entry: SourceEntry,
  ) {
    const decoder = DECODERS[entry.encoding]?.();
    if (!decoder) {
      const error = new TransferError("encoding", `unsupported Content-Encoding ${entry.encoding}`, {
        permanent: true,
        verdict: "ok",
      });
      body.abort(error);
      throw error;
    }
    if (entry.digest) this.wireHash = createDigest(entry.digest.algorithm);
    const source = Readable.from(this.#wire(entry.sizeBytes));
    source.on("error", (error) => decoder.destroy(error));
    decoder.on("error", () => {}); // the next read throws it, however late that is
    this.#iterator = source.pipe(decoder)[Symbol.asyncIterator]();
  }

  async *#wire(lengthBytes: number | undefined): AsyncGenerator<Buffer> {
    for (let chunks = await this.body.read(); chunks; chunks = await this.body.read()) {
      for (const chunk of chunks) {
        this.wireHash?.update(chunk);
        yield chunk;
      }
    }
    if (lengthBytes !== undefined && this.body.receivedBytes !== lengthBytes) {
      throw new TransferError("truncated", `got ${this.body.receivedBytes} of ${lengthBytes} bytes`, {
        verdict: "fail",
      });
    }
  }

  async read(): Promise<Buffer[] | null> {
    try {
      const next = await this.#iterator.next();
      return next.done ? null : [next.value];
    } catch (error) {
      this.body.abort(error as Error);
      if (error instanceof TransferError) throw error;
      throw new TransferError("encoding", `the encoded body is broken: ${messageOf(error)}`, {
        verdict: "ok",
      });
    }
  }

  takeIfComplete(): undefined {
    return undefined;
  }

  abort(error: Error): void {
    this.body.abort(error);
  }

  get starved(): boolean {
    return this.body.starved;
  }

  get receivedBytes(): number {
    return this.body.receivedBytes;
  }
}
