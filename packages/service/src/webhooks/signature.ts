import { createHmac } from "node:crypto";

/** A secret as Standard Webhooks has it: `whsec_` and 24 to 64 bytes in base64. */
export const SECRET_PATTERN = /^whsec_(?:[A-Za-z0-9+/]{4}){8,21}(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?$/;

/**
 * Signs a message as Standard Webhooks does.
 *
 * @param timestamp Unix time in seconds.
 * @returns the value of `webhook-signature`.
 */
export function signatureOf(secret: string, id: string, timestamp: number, body: string): string {
  const key = Buffer.from(secret.replace(/^whsec_/, ""), "base64");
  return `v1,${createHmac("sha256", key).update(`${id}.${timestamp}.${body}`).digest("base64")}`;
}
