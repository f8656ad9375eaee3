import { createHash, type Hash } from "node:crypto";
import { createReadStream } from "node:fs";
import { fileError } from "../../../errors.js";

const MIB = 1 << 20;
/**
 * Part sizes of tools, in MiB: SDKs and rclone 5, the AWS CLI and boto3 8, others 10 to 512. Besides them the size divided by the
 * number of parts, rounded up to whole MiB, as tools choose it for large objects.
 */
const USUAL_MIB = [5, 6, 8, 10, 12, 15, 16, 20, 25, 32, 50, 64, 100, 128, 256, 512];

/** The ETag of an upload in parts, from a stamp or a header: MD5 of the parts' MD5s, and their number. */
const PARTS = /"([0-9a-f]{32})-([1-9]\d{0,4})"$/;

/**
 * Whether a file has the bytes of an object that was uploaded in parts, as far as that can be told by its ETag: with the part
 * sizes that tools use. The MD5 of all MD5s of the parts is no MD5 under KMS and customer keys, and then never matches.
 * https://docs.aws.amazon.com/AmazonS3/latest/userguide/checking-object-integrity-upload.html
 *
 * @param etag with its quotes; anything may stand before it.
 * @returns false also where it is not told.
 * @throws TransferError if the file cannot be read.
 */
export async function hasPartsOf(path: string, sizeBytes: number, etag: string): Promise<boolean> {
  const [, md5, count] = PARTS.exec(etag) ?? [];
  if (md5 === undefined) return false;
  const parts = Number(count);
  const even = Math.ceil(sizeBytes / parts / MIB);
  const sizes = new Set([...USUAL_MIB, even].map((mib) => mib * MIB));
  const chains = [...sizes]
    .filter((partBytes) => Math.ceil(sizeBytes / partBytes) === parts)
    .map((partBytes) => new PartChain(partBytes));
  if (chains.length === 0) return false;
  try {
    for await (const chunk of createReadStream(path, { highWaterMark: MIB }))
      for (const chain of chains) chain.update(chunk as Buffer);
  } catch (error) {
    throw fileError(error, `read ${path}`);
  }
  return chains.some((chain) => chain.digest() === md5);
}

/** MD5 of the MD5s of parts of one size. */
class PartChain {
  readonly #whole = createHash("md5");
  #part: Hash | undefined;
  #left: number;

  constructor(private readonly partBytes: number) {
    this.#left = partBytes;
  }

  update(chunk: Buffer): void {
    for (let at = 0; at < chunk.length; ) {
      const some = chunk.subarray(at, at + this.#left);
      this.#part ??= createHash("md5");
      this.#part.update(some);
      at += some.length;
      this.#left -= some.length;
      if (this.#left === 0) this.#end();
    }
  }

  #end(): void {
    if (this.#part) this.#whole.update(this.#part.digest());
    this.#part = undefined;
    this.#left = this.partBytes;
  }

  digest(): string {
    this.#end();
    return this.#whole.digest("hex");
  }
}
