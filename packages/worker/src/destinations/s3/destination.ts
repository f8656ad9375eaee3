import { messageOf, TransferError } from "@drover/shared/errors";
import { failpoint } from "@drover/shared/failpoint";
import { destinationHost } from "@drover/shared/job";
import type { Admitted } from "@drover/shared/protocol/admission";
import { catalogKey } from "@drover/shared/protocol/catalog";
import { decodeCatalog } from "@drover/shared/protocol/catalog-entry";
import type { Keys } from "@drover/shared/protocol/keys";
import type { RunSpec } from "@drover/shared/run";
import { destinationService } from "@drover/shared/storage/open-tree";
import { S3Bucket } from "@drover/shared/storage/s3/bucket";
import type { S3Client } from "@drover/shared/storage/s3/client";
import { S3CopySource } from "@drover/shared/storage/s3/copy-source";
import { readMetadata } from "@drover/shared/storage/s3/metadata";
import type { S3Tree } from "@drover/shared/storage/s3/tree";
import type { Redis } from "ioredis";
import type { Terms } from "../../attempt/context.js";
import type { WorkFile } from "../../attempt/delivery.js";
import type { Lease, Leases } from "../../attempt/leases.js";
import type { ResumeRecord } from "../../attempt/resume-record.js";
import type { BufferPool } from "../../bytes/buffer-pool.js";
import { type Before, changedMeanwhile, type Destination, type Staging, vouchedFor } from "../destination.js";
import { keepObject } from "./backup.js";
import { S3Conditions } from "./conditions.js";
import { S3Staging } from "./staging.js";
import { S3Uploads } from "./uploads.js";

/** A look at a destination may take so long. */
const LOOK_MS = 60_000;
/** Uploads that were left behind are looked for so long. */
const SWEEP_MS = 600_000;

export interface S3DestinationOptions {
  tree: S3Tree;
  spec: RunSpec;
  client: S3Client;
  redis: Redis;
  keys: Keys;
  leases: Leases;
  /** Memory for uploads, of all files of this process. */
  bufferPool: BufferPool;
  /** Larger objects are copied in parts. Defaults to 5 GiB, the most that S3 copies at once. */
  mostCopyBytes?: number;
  /** What is removed is kept there first, by its name. */
  backup?: S3Tree;
  /** The tree that this one keeps what is removed of. */
  backupOf?: S3Tree;
  onError(error: Error): void;
}

/** What is below a prefix of a bucket. */
export class S3Destination implements Destination {
  readonly tree: S3Tree;
  readonly bucket: S3Bucket;
  readonly conditions: S3Conditions;
  readonly uploads: S3Uploads;
  readonly leases: Leases;
  readonly bufferPool: BufferPool;
  readonly mostCopyBytes: number;
  /** Whether uploads carry a checksum that the service keeps. */
  readonly checksums: boolean;
  readonly #backup: S3Destination | undefined;
  readonly #closing = new AbortController();
  #swept = false;

  constructor(private readonly options: S3DestinationOptions) {
    const { tree, client, redis, keys, spec, backup, backupOf } = options;
    this.tree = tree;
    this.leases = options.leases;
    this.bufferPool = options.bufferPool;
    this.mostCopyBytes = options.mostCopyBytes ?? 5 * 2 ** 30;
    this.bucket = new S3Bucket(client, tree.bucket);
    const service = destinationService(spec);
    this.checksums = service.checksums ?? false;
    this.conditions = new S3Conditions(this.bucket, tree, service.endpoint, redis, keys);
    this.uploads = new S3Uploads(redis, keys, client, tree, backupOf);
    if (backup) {
      const { backup: _, ...same } = options;
      this.#backup = new S3Destination({ ...same, tree: backup, backupOf: tree });
    }
  }

  async before(file: WorkFile, expected: string | undefined, admitted: Admitted): Promise<Before> {
    const entry = decodeCatalog(admitted.catalog);
    if (entry && !this.options.spec.checkDestination) return vouchedFor(entry, file, expected);
    const nothing: Before = { entry: undefined, known: "", expected: false };
    if (!entry && expected === undefined) return nothing;
    const head = await this.#head(file);
    if (entry && head?.etag === entry.stamp) return vouchedFor(entry, file, expected);
    if (expected === undefined || !head || readMetadata(head.headers).sha256 !== expected) return nothing;
    const { etag, sizeBytes } = head;
    return {
      entry: { source: "", version: "", sha256: expected, stamp: etag, sizeBytes },
      known: "",
      expected: true,
    };
  }

  async #head(file: WorkFile) {
    try {
      return await this.bucket.head(this.tree.key(file.name), AbortSignal.timeout(LOOK_MS));
    } catch (error) {
      throw this.asDestinationError(error, file);
    }
  }

  stage(file: WorkFile, expected: string | undefined, lease: Lease, admitted: Admitted): Staging {
    this.#sweep();
    return new S3Staging(this, file, expected, lease, decodeCatalog(admitted.catalog)?.stamp);
  }

  /** Drops what was left behind long ago, once per process and run; no file waits for it or fails for it. */
  #sweep(): void {
    if (this.#swept) return;
    this.#swept = true;
    const { signal } = this.#closing;
    const within = AbortSignal.any([signal, AbortSignal.timeout(SWEEP_MS)]);
    const sweep = async () => {
      await this.conditions.sweep(within);
      await this.uploads.sweep(within);
    };
    sweep().catch((error) => {
      if (signal.aborted) return; // the next run goes on
      const why = `what was left below ${this.tree.root} cannot be dropped: ${messageOf(error)}`;
      this.options.onError(new Error(why, { cause: error }));
    });
  }

  async remove(
    file: WorkFile,
    stamp: string,
    lease: Lease,
    admitted: Admitted,
    record: ResumeRecord,
    { resume }: Pick<Terms, "resume">,
  ): Promise<void> {
    this.#sweep();
    if (admitted.predecessors.length > 0 && record.upload?.object === undefined) {
      const staging = this.stage(file, undefined, lease, admitted);
      await staging.adopt(admitted.predecessors, record, true, false);
      await staging.discard();
      staging.close();
      delete record.upload;
    }
    const key = this.tree.key(file.name);
    const isThere = async () => {
      const head = await this.bucket.head(key, lease.signal);
      if (head && head.etag !== stamp) throw changedMeanwhile(file.path);
      return head !== undefined;
    };
    const backup = this.#backup;
    if (backup) {
      const from = new S3CopySource(this.options.client, { bucket: this.tree.bucket, key });
      try {
        await keepObject(backup, file, from, stamp, lease, admitted, record, resume);
      } catch (error) {
        // It may have been removed, or replaced, just now.
        const about = error instanceof TransferError && /^(not-found|changed)$/.test(error.class);
        if (about && !(await isThere())) return;
        throw error;
      }
      failpoint("kept");
    } else if (!(await isThere())) return;
    const base = { is: "version", etag: stamp } as const;
    const headers = await this.conditions.headers("remove", base);
    // Keeping it took its time.
    if (backup && !headers && !(await isThere())) return;
    await this.forget(file.name);
    lease.check();
    const removed = await this.bucket.remove(key, lease.signal, headers);
    if (removed.is === "refused") throw changedMeanwhile(file.path);
    failpoint("removed");
  }

  /** What is in the catalog is trusted where nobody looks: an entry without its object would keep a file away for ever. */
  async forget(name: string): Promise<void> {
    const { redis, keys } = this.options;
    await redis.hdel(catalogKey(keys, this.tree.id, name), name);
  }

  close(): void {
    this.#closing.abort();
  }

  /** What went wrong with the destination says nothing of the source's host, whose breaker it must not open. */
  asDestinationError(thrown: unknown, file: WorkFile): unknown {
    if (!(thrown instanceof TransferError) || thrown.class === "locked") return thrown;
    const ours = file.host === destinationHost(this.options.spec);
    return new TransferError(thrown.class, `cannot write to ${this.tree.root}: ${thrown.message}`, {
      permanent: thrown.permanent,
      verdict: ours ? thrown.verdict : "none",
      throttled: ours && thrown.throttled,
      ...(thrown.retryAfterMs === undefined ? {} : { retryAfterMs: thrown.retryAfterMs }),
      cause: thrown,
    });
  }
}
