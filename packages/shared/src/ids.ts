import { hash, randomBytes } from "node:crypto";

/**
 * The first 96 bits of the SHA-256 over the arguments, as 16 characters of base64url. Short enough for a
 * million keys.
 */
export function shortHash(...parts: string[]): string {
  return hash("sha256", parts.join("\0"), "base64url").slice(0, 16);
}

/**
 * Makes a run id: sortable by time, unique, never an integer and without `:`, because BullMQ job ids contain
 * it.
 * @param now Unix time in ms.
 */
export function newRunId(now = Date.now()): string {
  return `r${now.toString(36)}-${randomBytes(3).toString("hex")}`;
}
