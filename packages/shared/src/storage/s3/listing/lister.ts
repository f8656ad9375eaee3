import { TransferError } from "../../../errors.js";
import { baseName, STAGING_NAME, STAGING_REASON, safeKey } from "../../../paths.js";
import { HttpClient } from "../../http/client.js";
import { compareKeys } from "../../key-order.js";
import { ListingError } from "../../listing-error.js";
import type {
  Expected,
  Listed,
  ListedLevel,
  ListedName,
  ListedRun,
  Lister,
  ListerOptions,
  ListOptions,
  Looked,
} from "../../storage.js";
import { parseS3, s3Text } from "../object/name.js";
import { S3Client } from "../service/client.js";
import { credentialsOf } from "../service/credentials.js";
import { destinationService } from "../service/service.js";
import { s3Version } from "../source.js";
import { listObjects } from "./listing.js";
import { type ListedObject, objectsOf } from "./page.js";
import { listerOf, type PageLister } from "./page-requests.js";
import { TokenCheck, untrusted } from "./token-check.js";

const CONNECTIONS = 20;

/** Finds objects and what is below prefixes. */
export class S3Lister implements Lister {
  #client: HttpClient | undefined;
  #pageLister: PageLister | undefined;

  constructor(private readonly options: ListerOptions) {}

  get #listPage(): PageLister {
    const { spec, warn, of } = this.options;
    const { timeoutMs, retries, userAgent } = spec;
    const service = of === "sources" ? spec.s3 : destinationService(spec);
    if (!service) throw new TransferError("unsupported", "this run has no S3 settings", { permanent: true });
    if (!this.#pageLister) {
      this.#client = new HttpClient({ timeoutMs, connections: CONNECTIONS, userAgent });
      this.#pageLister = listerOf(
        new S3Client(this.#client, service, credentialsOf(service)),
        retries,
        timeoutMs,
        warn,
      );
    }
    return this.#pageLister;
  }

  /**
   * Whether a name is an object's or a prefix's: `b/my/path` means the object, or everything below `my/path/`, and never
   * `my/path2`.
   */
  async look(location: string, expected: Expected): Promise<Looked> {
    const { bucket, key } = parseS3(location);
    if (expected === "tree" || key === "" || key.endsWith("/")) return { is: "tree" };
    try {
      // The name itself is the first of all that begin with it.
      const first = await this.#first(bucket, key);
      const object = first?.key === key ? first : undefined;
      const isPrefix = expected === "either" && (await this.#first(bucket, `${key}/`)) !== undefined;
      if (object && isPrefix) {
        const why = `${location} is an object, and there are others below ${location}/: write ${location}/ for those, or name the object in a list (--from-file)`;
        return { is: "failed", error: new TransferError("unsupported", why, { permanent: true }) };
      }
      if (object) return { is: "file", version: versionOf(object), sizeBytes: object.sizeBytes };
      if (isPrefix) return { is: "tree" };
      const hint = key.includes("*") ? " (* is a character in a source: --include chooses files)" : "";
      const why = `no such object, and nothing below that prefix${hint}`;
      return { is: "nothing", why: expected === "either" ? why : "no such object (a prefix ends in /)" };
    } catch (error) {
      // Who may not list may still be allowed to read: asking for the object will tell.
      if (error instanceof TransferError && error.class === "forbidden")
        return { is: "file", version: undefined };
      throw error;
    }
  }

  /** The first object below a prefix: pages may come before it that have none. */
  async #first(bucket: string, prefix: string): Promise<ListedObject | undefined> {
    const one = { bucket, prefix, maxKeys: 1 };
    const tokens = new TokenCheck();
    let page = await this.#listPage(one, this.options.signal);
    tokens.check(page, undefined);
    while (page.objects.keys.length === 0 && page.next !== undefined) {
      const token = page.next;
      page = await this.#listPage({ ...one, token }, this.options.signal);
      tokens.check(page, token);
    }
    return page.objects.keys.length > 0 ? objectsOf(page, 1)[0] : undefined;
  }

  async *list(location: string, { wanted, beginning = "", after }: ListOptions): AsyncGenerator<Listed> {
    const { bucket, key } = parseS3(location);
    const prefix = asPrefix(key);
    const written = this.#writtenIn(bucket);
    const own = below(written, prefix);
    const isDestination = written !== undefined && prefix.startsWith(written);
    for await (const objects of this.#below(bucket, prefix + beginning, after ?? "")) {
      let last: string | undefined;
      for (const object of objects) {
        const { key } = object;
        if (own !== undefined && key.startsWith(own)) continue;
        const isStaging = object.sizeBytes === 0 && STAGING_NAME.test(baseName(key));
        if (isStaging && isDestination) continue;
        const text = s3Text({ bucket, key });
        if (object.unreadable) {
          yield unreadable(key, text);
          continue;
        }
        const name = key.slice(prefix.length);
        last = key;
        if (key.endsWith("/")) {
          const why = "its name ends in /, as a directory's does";
          if (object.sizeBytes > 0)
            yield { is: "skipped", name, location: text, why, hides: false, mark: key };
          continue;
        }
        // No pattern matches a name of dots, which must not go unsaid.
        if (!wanted(name) && !/(^|\/)\.\.?$/.test(name)) continue;
        if (isStaging) {
          yield { is: "skipped", name, location: text, why: STAGING_REASON, hides: false, mark: key };
          continue;
        }
        yield { is: "file", name, location: text, ...described(object), mark: key };
      }
      if (last !== undefined) yield { is: "passed", mark: last };
    }
  }

  async *level(location: string, wanted: ListOptions["wanted"]): AsyncGenerator<ListedLevel> {
    const { bucket, key } = parseS3(location);
    const prefix = asPrefix(key);
    const request = { bucket, prefix, delimiter: "/" };
    const tokens = new TokenCheck();
    let last = "";
    for (let token: string | undefined; ; ) {
      const page = await this.#listPage(
        token === undefined ? request : { ...request, token },
        this.options.signal,
      );
      tokens.check(page, token);
      const found = [
        ...objectsOf(page, page.objects.keys.length),
        ...page.prefixes.map((key) => ({ key, isTree: true as const })),
      ].sort((a, b) => compareKeys(a.key, b.key));
      for (const each of found) {
        if (!each.key.startsWith(prefix))
          throw untrusted(`the key ${JSON.stringify(each.key)} is not below ${prefix}`);
        if ("isTree" in each && each.key === last) continue; // some services name it on both pages that it is on
        if (compareKeys(each.key, last) <= 0 && last !== "")
          throw untrusted(`the key ${JSON.stringify(each.key)} comes after ${JSON.stringify(last)}`);
        last = each.key;
        const name = each.key.slice(prefix.length);
        const text = s3Text({ bucket, key: each.key });
        if ("isTree" in each) yield { is: "tree", name: name.slice(0, -1), location: text };
        else if (each.unreadable) yield unreadable(each.key, text);
        else if (name !== "" && wanted(name))
          yield { is: "file", name, location: text, ...described(each), mark: each.key };
      }
      if (page.next === undefined) return;
      token = page.next;
    }
  }

  async *names(location: string, beginning = ""): AsyncGenerator<ListedName> {
    const { bucket, key } = parseS3(location);
    const prefix = asPrefix(key);
    const own = below(this.#writtenIn(bucket), prefix);
    for await (const objects of this.#toItsEnd(bucket, prefix + beginning)) {
      for (const { key, etag, unreadable } of objects) {
        if (own !== undefined && key.startsWith(own)) continue;
        if (unreadable && this.options.of === "destination") continue; // no sync has written it
        if (unreadable) {
          const why = `its key ${key} is not valid UTF-8`;
          throw new ListingError(location, new TransferError("path", why, { permanent: true }));
        }
        const name = key.slice(prefix.length);
        if (!key.endsWith("/")) yield { name, hides: false, isFile: isOurs(name), stamp: () => etag };
      }
    }
  }

  /** Pages of everything whose key begins with a prefix, in the order of keys. */
  async *#below(bucket: string, prefix: string, startAfter: string): AsyncGenerator<ListedObject[]> {
    yield* listObjects(this.#listPage, bucket, prefix, startAfter, this.options.signal);
  }

  async *#toItsEnd(bucket: string, prefix: string): AsyncGenerator<ListedObject[]> {
    try {
      yield* this.#below(bucket, prefix, "");
    } catch (error) {
      if (!(error instanceof TransferError) || error.class === "cancelled") throw error;
      throw new ListingError(s3Text({ bucket, key: prefix }), error);
    }
  }

  /** The prefix that the run writes to, where it is in a bucket of its sources. */
  #writtenIn(bucket: string): string | undefined {
    const { spec, of } = this.options;
    return of === "sources" ? writtenPrefix(bucket, spec) : undefined;
  }

  async close(): Promise<void> {
    await this.#client?.close();
  }
}

/** What a listing of files says of an object. */
function described(object: ListedObject) {
  const { sizeBytes, mtimeMs, storageClass } = object;
  const version = versionOf(object);
  return { sizeBytes, mtimeMs, version, ...(storageClass === undefined ? {} : { storageClass }) };
}

function unreadable(key: string, location: string): Listed {
  const error = new TransferError("path", `refused key ${key}: it is not valid UTF-8`, { permanent: true });
  return { is: "failed", name: "", location, error };
}

/** Who goes on within a listing knows that a name is a prefix. */
function asPrefix(key: string): string {
  return key === "" || key.endsWith("/") ? key : `${key}/`;
}

function versionOf({ etag, sizeBytes, mtimeMs }: ListedObject): string {
  return s3Version(etag, sizeBytes, mtimeMs);
}

/** Whether a sync may have written an object: others, such as `a/../b`, could lead anywhere on their way. */
function isOurs(name: string): boolean {
  try {
    safeKey(name);
    return true;
  } catch {
    return false;
  }
}

/** The prefix that a run writes to, "" for a whole bucket; undefined where it is another bucket or service. */
function writtenPrefix(bucket: string, { root, s3, s3Destination }: ListedRun): string | undefined {
  if (!/^s3:/i.test(root) || (s3Destination?.endpoint ?? s3?.endpoint) !== s3?.endpoint) return undefined;
  const written = parseS3(root);
  if (written.bucket !== bucket) return undefined;
  return asPrefix(written.key);
}

/** A prefix that is written to, where it lies below another of the same bucket: its objects are no sources. */
function below(written: string | undefined, prefix: string): string | undefined {
  return written !== undefined && written !== prefix && written.startsWith(prefix) ? written : undefined;
}
