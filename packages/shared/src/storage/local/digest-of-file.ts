import { createHash } from "node:crypto";
import { createReadStream } from "node:fs";
import { pipeline } from "node:stream/promises";
import { fileError } from "../../errors.js";

/**
 * Hexadecimal digest of a file's bytes.
 *
 * @throws TransferError if it cannot be read.
 */
export async function digestOfFile(path: string, algorithm: "sha256" | "md5"): Promise<string> {
  const hash = createHash(algorithm);
  try {
    await pipeline(createReadStream(path, { highWaterMark: 1 << 20 }), hash);
  } catch (error) {
    throw fileError(error, `read ${path}`);
  }
  return hash.digest("hex");
}
