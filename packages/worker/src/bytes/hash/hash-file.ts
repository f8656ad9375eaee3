import { hash } from "node:crypto";
import { closeSync, constants, fstatSync, openSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { fileError } from "@drover/shared/errors";
import type { Directory } from "@drover/shared/storage/local/directory";
import type { Algorithm } from "./digest.js";
import { HashBehind } from "./hash-behind.js";

/**
 * Files from this size in bytes are hashed in another thread, so that leases and other files are not held up.
 */
const LARGE_BYTES = 1 << 20;

/** Bytes between checks of the signal. */
const STEP_BYTES = 64 << 20;

/**
 * Hexadecimal digests of a source file, in the order of the algorithms.
 *
 * @throws TransferError, or the signal's reason.
 */
export async function digestsOfSource(
  path: string,
  algorithms: Algorithm[],
  signal: AbortSignal,
): Promise<string[]> {
  let fd = -1;
  let hashing: HashBehind | undefined;
  try {
    fd = openSync(path, constants.O_RDONLY | constants.O_NONBLOCK);
    const { size } = fstatSync(fd);
    hashing = new HashBehind(fd, algorithms);
    for (let at = STEP_BYTES; at < size; at += STEP_BYTES) {
      hashing.advance(at);
      await hashing.caughtUp();
      signal.throwIfAborted();
    }
    return await hashing.finish(size);
  } catch (error) {
    if (signal.aborted) throw signal.reason;
    throw fileError(error, `read ${path}`);
  } finally {
    await hashing?.drop();
    if (fd >= 0) closeSync(fd);
  }
}

/**
 * Hexadecimal SHA-256 of a file at a destination. Symbolic links are not followed.
 *
 * @throws TransferError
 */
export async function sha256OfFile(directory: Directory, name: string): Promise<string> {
  let fd = -1;
  try {
    fd = openSync(directory.at(name), constants.O_RDONLY | constants.O_NOFOLLOW);
    const { size } = fstatSync(fd);
    if (size < LARGE_BYTES) return hash("sha256", readFileSync(fd), "hex");
    const [sha256] = await new HashBehind(fd, ["sha256"]).finish(size);
    return sha256 as string;
  } catch (error) {
    throw fileError(error, `read ${join(directory.path, name)}`);
  } finally {
    if (fd >= 0) closeSync(fd);
  }
}
