import { hash } from "node:crypto";
import { closeSync, constants, fstatSync, openSync, readFileSync } from "node:fs";
import { fileError } from "@drover/shared/errors";
import { HashBehind } from "./hash-behind.js";

/** From this size on another thread hashes, so that leases and other files go on meanwhile. */
const LARGE_BYTES = 1 << 20;

/** SHA-256 of a file that is at a destination already, hexadecimal. A link is not followed. */
export async function sha256OfFile(path: string): Promise<string> {
  let fd = -1;
  try {
    fd = openSync(path, constants.O_RDONLY | constants.O_NOFOLLOW);
    const { size } = fstatSync(fd);
    if (size < LARGE_BYTES) return hash("sha256", readFileSync(fd), "hex");
    const [sha256] = await new HashBehind(fd, ["sha256"]).finish(size);
    return sha256 as string;
  } catch (error) {
    throw fileError(error, `read ${path}`);
  } finally {
    if (fd >= 0) closeSync(fd);
  }
}
