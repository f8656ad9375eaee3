import { TransferError } from "@drover/shared/errors";
import { HttpClient } from "@drover/shared/storage/http/client";
import type { AddressGuard } from "@drover/shared/storage/http/guard";

const TIMEOUT_MS = 5_000;
const MOST_BYTES = 64 << 10;

/** Asks Amazon SNS for certificates and confirms subscriptions: no redirects, no other scheme than https, bounded. */
export class SnsEndpoint {
  readonly #http: HttpClient;

  /** @param guard decides which addresses may be asked. */
  constructor(guard: AddressGuard) {
    this.#http = new HttpClient({ timeoutMs: TIMEOUT_MS, connections: 2, guard, followsRedirects: false });
  }

  /** @throws TransferError if the answer is not 200, is too large or takes too long. */
  async get(url: string): Promise<string> {
    if (!url.startsWith("https://")) throw unwanted("it is no https URL");
    const answer = await this.#http.get(url, {}, {}, AbortSignal.timeout(TIMEOUT_MS));
    if (answer.status !== 200) {
      answer.body.discard(0);
      throw unwanted(`it answers with HTTP status ${answer.status}`);
    }
    const chunks: Buffer[] = [];
    let bytes = 0;
    for (let read = await answer.body.read(); read; read = await answer.body.read()) {
      chunks.push(...read);
      bytes += read.reduce((sum, { length }) => sum + length, 0);
      if (bytes <= MOST_BYTES) continue;
      const tooLong = unwanted(`it answers with more than ${MOST_BYTES >> 10} KiB`);
      answer.body.abort(tooLong);
      throw tooLong;
    }
    return Buffer.concat(chunks).toString();
  }

  async close(): Promise<void> {
    await this.#http.close();
  }
}

function unwanted(why: string): TransferError {
  return new TransferError("protocol", why, { permanent: true });
}
