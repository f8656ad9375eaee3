import { TransferError } from "../../errors.js";
import { HttpClient } from "../http/client.js";
import { compareKeys } from "../key-order.js";
import type { DestinationCheck } from "../storage.js";
import { type ObjectHead, S3Bucket } from "./bucket.js";
import { listObjects } from "./listing/listing.js";
import type { ListedObject } from "./listing/page.js";
import { listerOf, type PageLister } from "./listing/page-requests.js";
import type { CustomerKey } from "./object/customer-key.js";
import { S3Client } from "./service/client.js";
import { credentialsOf } from "./service/credentials.js";
import type { S3Spec } from "./service/spec.js";
import type { S3Tree } from "./tree.js";

/** Objects that are asked about at once, one by one. */
const CONNECTIONS = 16;
/** Fewer are not worth a listing. */
const WORTH_LISTING = 16;
/** So many objects of others in a row make asking one by one cheaper. */
const MOST_SKIPPED = 4_000;

/**
 * Looks whether objects are as they were left. Where files come in the order of their keys, one listing of the
 * destination goes along with them; else, and where it cannot be listed, or holds far more than is asked about, each
 * object is asked about by itself.
 */
export class S3Check implements DestinationCheck {
  readonly #client: HttpClient;
  readonly #bucket: S3Bucket;
  readonly #list: PageLister;
  #listing: Listing | undefined;
  #listable = true;
  /** Why an object could not be looked at, the first of them. */
  trouble: Error | undefined;

  /**
   * @param options.service how the destination is reached.
   * @param options.key of the user that its objects are encrypted with. Default: none.
   * @param options.retries tries per page of the listing.
   * @param warn told when the listing waits for long.
   */
  constructor(
    private readonly tree: S3Tree,
    private readonly options: {
      service: S3Spec;
      key?: CustomerKey | undefined;
      timeoutMs: number;
      retries: number;
      userAgent?: string | undefined;
    },
    private readonly signal: AbortSignal,
    warn: (message: string) => void,
  ) {
    const { service, key, timeoutMs, retries, userAgent } = options;
    this.#client = new HttpClient({ timeoutMs, connections: CONNECTIONS, userAgent });
    const client = new S3Client(this.#client, service, credentialsOf(service), key);
    this.#bucket = new S3Bucket(client, tree.bucket);
    this.#list = listerOf(client, retries, timeoutMs, warn);
  }

  /**
   * @returns whether each file is there with its stamp; false too for one that cannot be looked at now: what is wrong
   *   is met again, and said, when the file is carried.
   */
  async asLeft(files: { name: string; stamp: string }[]): Promise<boolean[]> {
    const keys = files.map(({ name }) => this.tree.key(name));
    const etags = await this.#listed(keys);
    await this.#each(keys, etags.length, async (key, at) => {
      etags[at] = (await this.#head(key))?.etag;
    });
    return files.map(({ stamp }, at) => stamp !== "" && etags[at] === stamp);
  }

  /**
   * What is at names. Those that a listing shows to be free are not asked about.
   *
   * @returns for each `nothing`, its head, or the error of looking at it.
   */
  async heads(names: string[]): Promise<("nothing" | ObjectHead | TransferError)[]> {
    const keys = names.map((name) => this.tree.key(name));
    const etags = await this.#listed(keys);
    const heads: ("nothing" | ObjectHead | TransferError)[] = [];
    await this.#each(keys, 0, async (key, at) => {
      if (at < etags.length && etags[at] === undefined) heads[at] = "nothing";
      else heads[at] = await this.#headOrError(key);
    });
    return heads;
  }

  /** Does something with each of the keys from one on, several at once. */
  async #each(keys: string[], from: number, work: (key: string, at: number) => Promise<void>): Promise<void> {
    let next = from;
    const one = async () => {
      while (next < keys.length && !this.signal.aborted) {
        const at = next++;
        await work(keys[at] as string, at);
      }
    };
    await Promise.all(Array.from({ length: CONNECTIONS }, one));
  }

  /** ETags of the first of the keys, as far as a listing tells them. */
  async #listed(keys: string[]): Promise<(string | undefined)[]> {
    const inOrder = keys.every((key, at) => at === 0 || compareKeys(keys[at - 1] as string, key) < 0);
    if (!this.#listable || !inOrder || keys.length < WORTH_LISTING) return [];
    const etags: (string | undefined)[] = [];
    try {
      if (!this.#listing?.isBefore(keys[0] as string)) {
        await this.#listing?.close();
        const { bucket, prefix } = this.tree;
        this.#listing = new Listing(keys[0] as string, (after) =>
          listObjects(this.#list, bucket, prefix, after, this.signal),
        );
      }
      for (const key of keys) {
        const found = await this.#listing.find(key);
        if (found.is === "far") {
          await this.#listing.close();
          this.#listing = undefined;
          return etags;
        }
        etags.push(found.etag);
      }
    } catch (error) {
      if (!this.signal.aborted && !(error instanceof TransferError)) throw error;
      this.#listable = false; // who may not list may still be allowed to look
      this.#listing = undefined;
    }
    return etags;
  }

  async #head(key: string): Promise<ObjectHead | undefined> {
    const head = await this.#headOrError(key);
    return head === "nothing" || head instanceof TransferError ? undefined : head;
  }

  async #headOrError(key: string): Promise<"nothing" | ObjectHead | TransferError> {
    try {
      const signal = AbortSignal.any([this.signal, AbortSignal.timeout(this.options.timeoutMs)]);
      return (await this.#bucket.head(key, signal)) ?? "nothing";
    } catch (error) {
      const isOurs = error instanceof TransferError;
      if (!isOurs && !/^(Timeout|Abort)Error$/.test((error as Error).name)) throw error;
      this.trouble ??= error as Error;
      return isOurs ? error : new TransferError("timeout", "the service gave no answer in time");
    }
  }

  async close(): Promise<void> {
    await this.#listing?.close();
    await this.#client.close();
  }
}

/** A listing that is read along with keys that are asked for in order. */
class Listing {
  readonly #pages: AsyncGenerator<ListedObject[]>;
  #page: ListedObject[] = [];
  #at = 0;
  #passed: string;

  constructor(first: string, open: (after: string) => AsyncGenerator<ListedObject[]>) {
    this.#passed = [...first].slice(0, -1).join("");
    this.#pages = open(this.#passed);
  }

  /** Whether the key comes behind all that were passed. */
  isBefore(key: string): boolean {
    return compareKeys(this.#passed, key) < 0;
  }

  /** `far`: too many objects lie before it. */
  async find(key: string): Promise<{ is: "known"; etag: string | undefined } | { is: "far" }> {
    for (let skipped = 0; skipped < MOST_SKIPPED; ) {
      const object = this.#page[this.#at];
      if (!object) {
        const next = await this.#pages.next();
        if (next.done) return this.#known(key, undefined);
        this.#page = next.value;
        this.#at = 0;
        continue;
      }
      const order = compareKeys(object.key, key);
      if (order > 0) return this.#known(key, undefined);
      this.#at++;
      if (order === 0) return this.#known(key, object.etag);
      skipped++;
    }
    return { is: "far" };
  }

  #known(key: string, etag: string | undefined) {
    this.#passed = key;
    return { is: "known", etag } as const;
  }

  async close(): Promise<void> {
    await this.#pages.return(undefined);
  }
}
