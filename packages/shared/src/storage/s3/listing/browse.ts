import { TransferError } from "../../../errors.js";
import { HttpClient } from "../../http/client.js";
import { S3Client } from "../service/client.js";
import { credentialsOf } from "../service/credentials.js";
import type { S3Spec } from "../service/spec.js";
import { type ListedObject, objectsOf } from "./page.js";
import { listerOf, type PageRequest } from "./page-requests.js";

const CONNECTIONS = 4;
/** Tries per page: somebody waits for the answer. */
const TRIES = 2;
const TIMEOUT_MS = 30_000;
const FULL_PAGE = 1_000;

/** One part of a listing. */
export interface BrowseRequest {
  bucket: string;
  /** Beginning of the keys. */
  prefix: string;
  /** Key behind which it begins; "" for the first. */
  after: string;
  /** Most objects. */
  most: number;
  /** Time limit per page in milliseconds. Default 30 s. */
  timeoutMs?: number;
}

/** Lists a few objects at a time, for people who look around. */
export class S3Browser {
  readonly #http: HttpClient;
  readonly #client: S3Client;

  constructor(service: S3Spec) {
    this.#http = new HttpClient({ timeoutMs: TIMEOUT_MS, connections: CONNECTIONS, userAgent: undefined });
    this.#client = new S3Client(this.#http, service, credentialsOf(service));
  }

  /** @throws TransferError if the service does not answer as it should, or does not allow it. */
  async list({
    bucket,
    prefix,
    after,
    most,
    timeoutMs = TIMEOUT_MS,
  }: BrowseRequest): Promise<ListedObject[]> {
    const listPage = listerOf(this.#client, TRIES, timeoutMs, () => {});
    const signal = AbortSignal.timeout(timeoutMs * TRIES * 2);
    const objects: ListedObject[] = [];
    let place: Pick<PageRequest, "startAfter" | "token"> = { startAfter: after };
    for (;;) {
      const maxKeys = Math.min(most - objects.length, FULL_PAGE);
      const page = await listPage({ bucket, prefix, maxKeys, ...place }, signal).catch((error) => {
        throw error === signal.reason ? new TransferError("timeout", "S3 does not answer") : error;
      });
      objects.push(...objectsOf(page, page.objects.keys.length));
      if (objects.length >= most || page.next === undefined) return objects.slice(0, most);
      place = { token: page.next };
    }
  }

  async close(): Promise<void> {
    await this.#http.close();
  }
}
