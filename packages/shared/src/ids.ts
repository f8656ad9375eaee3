import { hash, randomBytes } from "node:crypto";

/** The first 96 bits of SHA-256 over the parts, as 16 characters of base64url: short enough for a million keys. */
export function shortHash(...parts: string[]): string {
  return hash("sha256", parts.join("\0"), "base64url").slice(0, 16);
}

/** A new run's id: sortable by time, unique, never an integer and without `:` (BullMQ job ids are built on it). */
export function newRunId(now = Date.now()): string {
  return `r${now.toString(36)}-${randomBytes(3).toString("hex")}`;
}
