import { TransferError } from "../../../errors.js";
import type { RunSpec } from "../../../run.js";
import { HttpClient } from "../../http/client.js";
import { S3Client } from "../client.js";
import { credentialsOf } from "../credentials.js";
import type { S3Name } from "../name.js";
import { checkToken, listObjects } from "./listing.js";
import { type ListedObject, objectsOf } from "./page.js";
import { type Lister, listerOf } from "./page-requests.js";

const CONNECTIONS = 20;

/** What an s3:// source stands for. */
export type S3Found =
  /** One object; what a listing knows of it, where it may be listed. */
  | { is: "object"; object: ListedObject | undefined }
  /** Everything below a prefix, which ends in `/` or is "". */
  | { is: "prefix"; prefix: string }
  | { is: "nothing" };

/** The S3 sources of one expansion. */
export class S3Sources {
  #client: HttpClient | undefined;
  #lister: Lister | undefined;

  constructor(
    private readonly spec: RunSpec,
    private readonly signal: AbortSignal,
    private readonly warn: (message: string) => void,
  ) {}

  get #list(): Lister {
    const { s3, timeoutMs, retries } = this.spec;
    if (!s3) throw new TransferError("unsupported", "this run has no S3 settings", { permanent: true });
    if (!this.#lister) {
      this.#client = new HttpClient({ timeoutMs, connections: CONNECTIONS });
      const client = new S3Client(this.#client, s3, credentialsOf(s3));
      this.#lister = listerOf(client, retries, timeoutMs, this.warn);
    }
    return this.#lister;
  }

  /**
   * Whether a name is an object's or a prefix's. An object is first: `b/my/path` means it where it exists, else
   * everything below `my/path/`, and never `my/path2`.
   */
  async find({ bucket, key }: S3Name): Promise<S3Found> {
    if (key === "" || key.endsWith("/")) return { is: "prefix", prefix: key };
    try {
      // The name itself is the first of all that begin with it.
      const first = await this.#first(bucket, key);
      if (first?.key === key) return { is: "object", object: first };
      const prefix = `${key}/`;
      return (await this.#first(bucket, prefix)) ? { is: "prefix", prefix } : { is: "nothing" };
    } catch (error) {
      // Who may not list may still be allowed to read: asking for the object will tell.
      if (error instanceof TransferError && error.class === "forbidden")
        return { is: "object", object: undefined };
      throw error;
    }
  }

  /** The first object below a prefix: pages may come before it that have none. */
  async #first(bucket: string, prefix: string): Promise<ListedObject | undefined> {
    const one = { bucket, prefix, maxKeys: 1 };
    let page = await this.#list(one, this.signal);
    while (page.objects.keys.length === 0 && page.next !== undefined) {
      const token = page.next;
      page = await this.#list({ ...one, token }, this.signal);
      checkToken(page, token);
    }
    return page.objects.keys.length > 0 ? objectsOf(page, 1)[0] : undefined;
  }

  /** Pages of everything below a prefix, in the order of keys. */
  below(bucket: string, prefix: string, startAfter: string): AsyncGenerator<ListedObject[]> {
    return listObjects(this.#list, bucket, prefix, startAfter, this.signal);
  }

  async close(): Promise<void> {
    await this.#client?.close();
  }
}
