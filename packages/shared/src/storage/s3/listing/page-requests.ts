import { setTimeout as sleep } from "node:timers/promises";
import { messageOf, TransferError } from "../../../errors.js";
import type { S3Client } from "../service/client.js";
import { type ListedPage, parsePage } from "./page.js";

/** A page of 1,000 keys of 1,024 characters, all of them encoded, is not larger. */
const MOST_PAGE_BYTES = 16 << 20;
const MOST_DELAY_MS = 20_000;

export interface PageRequest {
  bucket: string;
  prefix: string;
  delimiter?: string;
  /** Key behind which the listing starts; for its first page. */
  startAfter?: string;
  /** Token of the page before. */
  token?: string;
  /** Keys on the page; 1,000 where nothing is said. */
  maxKeys?: number;
}

/** Asks for one page of a listing. @throws TransferError */
export type PageLister = (request: PageRequest, signal: AbortSignal) => Promise<ListedPage>;

/** A wait that is longer is spoken of. */
const LONG_MS = 5_000;

/**
 * Pages in a row, of all ranges, that bring no key and say that there is more: a person hears of so many, and so many more
 * are not believed. A bucket with versions can have some, one for a thousand removed objects or so.
 */
const EMPTY_PAGES = 500;
const MOST_EMPTY_PAGES = 100_000;

/**
 * @param retries tries per page in all, with growing random delays between them.
 * @param warn told of a long wait, for people.
 * @param mostEmptyPages in a row.
 */
export function listerOf(
  client: S3Client,
  retries: number,
  timeoutMs: number,
  warn: (message: string) => void,
  mostEmptyPages = MOST_EMPTY_PAGES,
): PageLister {
  let empty = 0;
  const count = ({ objects, prefixes, next }: ListedPage, { bucket, prefix }: PageRequest) => {
    empty = next === undefined || objects.keys.length + prefixes.length > 0 ? 0 : empty + 1;
    if (empty === 0 || empty % EMPTY_PAGES !== 0) return;
    const what = `${empty} pages in a row bring no key and say that there is more`;
    if (empty >= mostEmptyPages)
      throw new TransferError("protocol", `the listing has no end: ${what}; list narrower prefixes`, {
        permanent: true,
      });
    warn(`the listing of s3://${bucket}/${prefix} goes on: ${what}`);
  };
  return async (request, signal) => {
    for (let attempt = 1; ; attempt++) {
      const deadline = AbortSignal.timeout(timeoutMs);
      try {
        const page = await onePage(client, request, AbortSignal.any([signal, deadline]));
        count(page, request);
        return page;
      } catch (thrown) {
        signal.throwIfAborted();
        const error = thrown === deadline.reason ? timedOut(timeoutMs) : asTransferError(thrown);
        if (error.permanent || attempt >= retries) throw error;
        const backoffMs = Math.random() * Math.min(500 * 2 ** (attempt - 1), MOST_DELAY_MS);
        const delayMs = Math.max(backoffMs, error.retryAfterMs ?? 0);
        if (delayMs > LONG_MS) {
          const seconds = Math.round(delayMs / 1000);
          warn(
            `the listing of s3://${request.bucket}/${request.prefix} waits ${seconds} s: ${error.message}`,
          );
        }
        await sleep(delayMs, undefined, { signal });
      }
    }
  };
}

function timedOut(timeoutMs: number): TransferError {
  const seconds = timeoutMs / 1000;
  return new TransferError("timeout", `network timeout: no page of the listing within ${seconds} s`);
}

function asTransferError(thrown: unknown): TransferError {
  if (thrown instanceof TransferError) return thrown;
  return new TransferError("protocol", `the listing cannot be understood: ${messageOf(thrown)}`);
}

async function onePage(client: S3Client, request: PageRequest, signal: AbortSignal): Promise<ListedPage> {
  const { bucket, prefix, delimiter, startAfter, token, maxKeys } = request;
  const query: Record<string, string> = { "list-type": "2", "encoding-type": "url", prefix };
  if (delimiter !== undefined) query.delimiter = delimiter;
  if (token !== undefined) query["continuation-token"] = token;
  else if (startAfter !== undefined && startAfter !== "") query["start-after"] = startAfter;
  if (maxKeys !== undefined) query["max-keys"] = String(maxKeys);
  const answer = await client.get(bucket, "", query, {}, signal);
  if (answer.status !== 200) throw new Error(`HTTP status ${answer.status}`);
  const chunks: Buffer[] = [];
  for (let read = await answer.body.read(); read; read = await answer.body.read()) {
    chunks.push(...read);
    if (answer.body.receivedBytes <= MOST_PAGE_BYTES) continue;
    const error = new Error(`a page of over ${MOST_PAGE_BYTES} bytes`);
    answer.body.abort(error);
    throw error;
  }
  return parsePage(gathered(chunks, answer.body.receivedBytes));
}

let gathering = Buffer.allocUnsafeSlow(512 << 10);

/** All chunks in one. It is read before the next is gathered: new memory for each would cost as much as the reading. */
function gathered(chunks: Buffer[], length: number): Buffer {
  if (length > gathering.length) gathering = Buffer.allocUnsafeSlow(2 * length);
  let at = 0;
  for (const chunk of chunks) at += chunk.copy(gathering, at);
  return gathering.subarray(0, at);
}
