import { TransferError } from "@drover/shared/errors";
import { createDigest } from "../../bytes/hash/digest.js";
import { algorithmsFor, tooLarge } from "../../bytes/receive.js";
import type { Beginning } from "../beginning.js";
import type { OpenedBody, Received, WriteAttempt } from "../destination.js";

/** A body that passes to a server: its bytes are hashed and counted on the way. */
export class BodyStream implements AsyncIterable<Uint8Array> {
  readonly #digests;
  #bytes = 0;

  /**
   * @param beginning what was read of the body already.
   * @param lengthBytes size of the body; undefined if only its end tells.
   */
  constructor(
    private readonly opened: OpenedBody,
    private readonly beginning: Beginning["chunks"],
    private readonly lengthBytes: number | undefined,
    private readonly attempt: WriteAttempt,
  ) {
    this.#digests = algorithmsFor(opened.entry).map(createDigest);
  }

  async *[Symbol.asyncIterator](): AsyncGenerator<Uint8Array> {
    const { lease, limiter } = this.attempt;
    for (const chunk of this.beginning) yield this.#pass(chunk);
    for (let more = await this.opened.body.read(); more; more = await this.opened.body.read()) {
      lease.check();
      let addedBytes = 0;
      for (const chunk of more) {
        addedBytes += chunk.length;
        yield this.#pass(chunk);
      }
      await limiter.take(addedBytes, lease);
    }
    if (this.lengthBytes !== undefined && this.#bytes !== this.lengthBytes) throw this.#truncated();
  }

  #pass(chunk: Uint8Array): Uint8Array {
    const { record, terms } = this.attempt;
    const limit = terms.maxFileSizeBytes;
    this.#bytes += chunk.length;
    record.receivedBytes = this.#bytes;
    if (limit !== undefined && this.#bytes > limit) throw tooLarge(this.#bytes, limit);
    if (this.lengthBytes !== undefined && this.#bytes > this.lengthBytes) throw this.#truncated();
    for (const digest of this.#digests) digest.update(chunk);
    return chunk;
  }

  #truncated(): TransferError {
    const why = `got ${this.#bytes} of ${this.lengthBytes} bytes`;
    return new TransferError("truncated", why, { verdict: "fail" });
  }

  /** What has passed, once all has. */
  async received(): Promise<Received> {
    const [sha256, other] = await Promise.all(this.#digests.map((digest) => digest.digest()));
    return {
      sizeBytes: this.#bytes,
      sha256: sha256 as string,
      sourceDigest: other ?? sha256,
      lengthBytes: this.lengthBytes,
    };
  }
}
