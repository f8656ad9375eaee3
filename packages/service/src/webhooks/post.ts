import { HttpClient } from "@drover/shared/storage/http/client";
import type { AddressGuard } from "@drover/shared/storage/http/guard";

/** Time limit of a delivery in milliseconds, from the name's look-up to the headers of the answer. */
const LIMIT_MS = 10_000;

/**
 * Posts JSON to where a caller wanted it. Redirects are not followed, and the body of the answer is not read. Each has a
 * connection of its own.
 *
 * @param guard decides to which addresses it may lead, and whether through a proxy.
 * @returns the status of the answer.
 * @throws TransferError class `address` where it may not lead there; what the connection says where there is no answer.
 */
export async function postJson(
  url: string,
  body: string,
  headers: Record<string, string>,
  guard: AddressGuard,
): Promise<number> {
  const http = new HttpClient({ timeoutMs: LIMIT_MS, connections: 1, guard });
  const signal = AbortSignal.timeout(LIMIT_MS);
  try {
    const sent = { "content-type": "application/json", ...headers };
    const answer = await http.post(url, Buffer.from(body), sent, signal);
    answer.body.discard(0);
    return answer.status;
  } catch (error) {
    if (signal.aborted) throw new Error(`no answer within ${LIMIT_MS / 1000} seconds`);
    throw error;
  } finally {
    await http.close();
  }
}
