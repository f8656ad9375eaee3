import { catalogKey } from "@drover/shared/protocol/catalog";
import { type CatalogEntry, encodeCatalog, markUncertain } from "@drover/shared/protocol/catalog-entry";
import type { Keys } from "@drover/shared/protocol/keys";
import type { RunSpec } from "@drover/shared/run";
import type { Headers } from "@drover/shared/storage/http/client";
import { S3Bucket } from "@drover/shared/storage/s3/bucket";
import { MOST_COPY_BYTES } from "@drover/shared/storage/s3/object/limits";
import { metadataHeaders } from "@drover/shared/storage/s3/object/metadata";
import { objectHeadersOf } from "@drover/shared/storage/s3/object/object-options";
import type { S3Client } from "@drover/shared/storage/s3/service/client";
import { destinationService } from "@drover/shared/storage/s3/service/service";
import type { S3Tree } from "@drover/shared/storage/s3/tree";
import type { ServerCopy, SourceEntry } from "@drover/shared/storage/source";
import type { Redis } from "ioredis";
import type { WorkFile } from "../../attempt/delivery.js";
import type { Leases } from "../../attempt/leases.js";
import type { BufferPool } from "../../bytes/buffer-pool.js";
import { destinationError } from "../destination-error.js";
import { S3Conditions } from "./conditions.js";
import { S3Uploads } from "./uploads.js";

/** An uploaded part is held in memory, and hashed in one go, which works up to 2 GiB. */
const MOST_HELD_BYTES = 2 ** 30;

export interface S3TargetOptions {
  tree: S3Tree;
  spec: RunSpec;
  client: S3Client;
  redis: Redis;
  keys: Keys;
  leases: Leases;
  /** Memory for uploads, shared by all files of this process. */
  bufferPool: BufferPool;
  /** Objects over this size are copied in parts. Defaults to 5 GiB, the most that S3 copies in one request. */
  mostCopyBytes?: number;
  /** If this tree is a backup: the tree whose objects it keeps. */
  backupOf?: S3Tree;
}

/** A prefix of a bucket that objects are written to, and what is known about its service. */
export class S3Target {
  readonly tree: S3Tree;
  readonly bucket: S3Bucket;
  readonly conditions: S3Conditions;
  readonly uploads: S3Uploads;
  readonly leases: Leases;
  readonly bufferPool: BufferPool;
  readonly mostCopyBytes: number;
  /** Whether uploads carry a checksum that the service keeps. */
  readonly checksums: boolean;
  /** Whether its objects are encrypted with a key of the user: their ETags are no MD5s then. */
  readonly hasOwnKey: boolean;
  /** What an upload must have been begun with to be continued, besides its headers. Empty by default. */
  readonly begunWith: readonly unknown[];
  /** Sizes in bytes of uploaded and of copied parts that the run asks for; undefined if it does not. */
  readonly partBytes: number | undefined;
  readonly copiedPartBytes: number | undefined;
  /** Headers of the run's own objects in place of their sources', with their tags. Undefined for none. */
  readonly #content: Headers | undefined;
  readonly #tagging: string | undefined;

  constructor(private readonly options: S3TargetOptions) {
    const { tree, client, redis, keys, spec } = options;
    this.tree = tree;
    this.leases = options.leases;
    this.bufferPool = options.bufferPool;
    this.mostCopyBytes = options.mostCopyBytes ?? MOST_COPY_BYTES;
    const { place, content, tagging } = objectHeadersOf(spec.s3Objects);
    const key = spec.s3Keys?.destination;
    this.hasOwnKey = key !== undefined;
    this.begunWith = place || key ? [place, key?.id] : [];
    this.copiedPartBytes = spec.s3Objects?.partBytes;
    this.partBytes = this.copiedPartBytes && Math.min(this.copiedPartBytes, MOST_HELD_BYTES);
    this.#content = content;
    this.#tagging = tagging;
    this.bucket = new S3Bucket(client, tree.bucket, place);
    const service = destinationService(spec);
    this.checksums = service.checksums ?? false;
    this.conditions = new S3Conditions(this.bucket, tree, service.endpoint, redis, keys);
    this.uploads = new S3Uploads(redis, keys, client, tree, options.backupOf);
  }

  /**
   * The headers of the object that a file becomes: see {@link metadataHeaders}. What the run asks for comes before what the
   * source has.
   *
   * @param key of the object.
   */
  headersOf(entry: SourceEntry, sha256: string | undefined, key: string): Headers {
    const headers = metadataHeaders(entry, sha256, key);
    if (this.#content) Object.assign(headers, this.#content);
    if (this.#tagging !== undefined) headers["x-amz-tagging"] = this.#tagging;
    return headers;
  }

  /** A copy by the service that has what the run asks for. */
  asAsked(copy: ServerCopy): ServerCopy {
    const tagging = this.#tagging;
    if (!this.#content && tagging === undefined) return copy;
    return {
      ...copy,
      ...(this.#content ? { headers: { ...copy.headers, ...this.#content }, replaces: true } : {}),
      ...(tagging === undefined ? {} : { tagging }),
    };
  }

  /**
   * Removes a file from the catalog. The catalog is trusted without a look, so an entry without its object would
   * prevent that the file is ever copied again.
   */
  async forget(name: string): Promise<void> {
    const { redis, keys } = this.options;
    const known = this.tree.catalogName(name);
    await redis.hdel(catalogKey(keys, this.tree.id, known), known);
  }

  /** Has the catalog not vouch any more for a file that is about to be moved, removed or replaced. */
  async markUncertain(name: string, entry: CatalogEntry | undefined): Promise<void> {
    if (!entry) return;
    const { redis, keys } = this.options;
    const known = this.tree.catalogName(name);
    await redis.hset(catalogKey(keys, this.tree.id, known), known, encodeCatalog(markUncertain(entry)));
  }

  /** @see destinationError */
  asDestinationError(thrown: unknown, file: WorkFile): unknown {
    return destinationError(thrown, file, this.options.spec, this.tree.root);
  }
}
