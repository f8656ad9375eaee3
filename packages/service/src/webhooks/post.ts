import { once } from "node:events";
import { request as httpRequest, type IncomingMessage } from "node:http";
import { request as httpsRequest } from "node:https";
import type { AddressGuard } from "@drover/shared/storage/http/guard";

/** Time limit of a delivery in milliseconds, from the name's look-up to the headers of the answer. */
const LIMIT_MS = 10_000;

/**
 * Posts JSON to where a caller wanted it. Redirects are not followed, no proxy is used, and the body of the answer is not
 * read.
 *
 * @param guard decides to which addresses it may lead.
 * @returns the status of the answer.
 * @throws TransferError class `address` where it may not lead there; what the connection says where there is no answer.
 */
export async function postJson(
  url: URL,
  body: string,
  headers: Record<string, string>,
  guard: AddressGuard,
): Promise<number> {
  guard.check(url);
  const send = url.protocol === "https:" ? httpsRequest : httpRequest;
  const request = send(url, {
    method: "POST",
    headers: { "Content-Type": "application/json", "Content-Length": Buffer.byteLength(body), ...headers },
    lookup: guard.lookup(url),
    agent: false,
    signal: AbortSignal.timeout(LIMIT_MS),
  });
  request.end(body);
  try {
    const [response] = (await once(request, "response")) as [IncomingMessage];
    return response.statusCode ?? 0;
  } catch (error) {
    if (request.destroyed && isTimeout(error)) throw new Error(`no answer within ${LIMIT_MS / 1000} seconds`);
    throw error;
  } finally {
    request.on("error", () => {}); // what comes after the headers is of no interest
    request.destroy();
  }
}

function isTimeout(error: unknown): boolean {
  return error instanceof Error && error.cause instanceof DOMException;
}
