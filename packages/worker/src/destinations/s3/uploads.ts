import { TransferError } from "@drover/shared/errors";
import type { Keys } from "@drover/shared/protocol/keys";
import { S3Bucket } from "@drover/shared/storage/s3/bucket";
import type { S3Client } from "@drover/shared/storage/s3/service/client";
import type { S3Tree } from "@drover/shared/storage/s3/tree";
import type { Redis } from "ioredis";

/** An upload that began so long ago, and that no lease mentions, is abandoned: the record of a lease lasts a day. */
const ABANDONED_MS = 25 * 3_600_000;
/** The clocks of this machine and of the service differ by less: otherwise the service accepts no request. */
const CLOCKS_MS = 15 * 60_000;
/** So many abandoned uploads are handled in one sweep. */
const MOST_SWEPT = 100;

/**
 * Registers the multipart uploads that were begun for objects of a tree, and drops those that were abandoned.
 *
 * Uploads to a backup are registered with the tree that it is a backup of. They are made under the leases of that tree,
 * and later runs write to that tree, while each run may have another backup.
 */
export class S3Uploads {
  constructor(
    private readonly redis: Redis,
    private readonly keys: Keys,
    private readonly client: S3Client,
    private readonly tree: S3Tree,
    /** If `tree` is a backup: the tree that it is a backup of. */
    private readonly backupOf?: S3Tree,
  ) {}

  get #set(): string {
    return this.keys.uploads((this.backupOf ?? this.tree).id);
  }

  /** Name of an object in the set. In a backup its location is added; no name contains the NUL that separates them. */
  #member(name: string): string {
    return this.backupOf ? [name, this.tree.bucket, this.tree.key(name)].join("\0") : name;
  }

  /**
   * To be called before an upload is begun, under the lease. Drops an earlier upload whose id nobody has noted.
   *
   * @throws TransferError
   */
  async beginning(name: string, signal: AbortSignal): Promise<void> {
    const member = this.#member(name);
    const before = await this.redis.zscore(this.#set, member);
    if (before !== null) {
      try {
        await this.#drop(member, Number(before), signal);
      } catch (error) {
        // If uploads cannot be listed, old ones are left to the lifecycle rules of the bucket. No file fails for that.
        if (!(error instanceof TransferError) || !error.permanent) throw error;
      }
    }
    await this.redis.zadd(this.#set, Date.now(), member);
  }

  /** Drops uploads to an object that were begun at about that time. */
  async #drop(member: string, begunMs: number, signal: AbortSignal): Promise<void> {
    const [name = "", bucketName = this.tree.bucket, key = this.tree.key(name)] = member.split("\0");
    const bucket = new S3Bucket(this.client, bucketName);
    for (const { uploadId, startedMs } of await bucket.listUploads(key, signal))
      if (Math.abs(startedMs - begunMs) < CLOCKS_MS) await bucket.abortUpload(key, uploadId, signal);
  }

  /** To be called once the upload to an object is completed or dropped. */
  async ended(name: string): Promise<void> {
    await this.redis.zrem(this.#set, this.#member(name));
  }

  /**
   * Drops the uploads that were begun more than a day ago and whose object has no lease any more, not even the record
   * of one. Uploads of other programs are left alone, unless they are to the same object and from the same minutes.
   *
   * @throws TransferError for one that cannot be dropped, after all others were tried.
   */
  async sweep(signal: AbortSignal): Promise<void> {
    const before = Date.now() - ABANDONED_MS;
    const left = await this.redis.zrangebyscore(this.#set, 0, before, "WITHSCORES", "LIMIT", 0, MOST_SWEPT);
    let trouble: TransferError | undefined;
    for (let at = 0; at < left.length; at += 2) {
      const member = left[at] as string;
      const [name = ""] = member.split("\0");
      if ((await this.redis.exists(this.keys.lease(this.tree.leaseOf(name)))) === 1) continue;
      try {
        await this.#drop(member, Number(left[at + 1]), signal);
      } catch (error) {
        if (!(error instanceof TransferError) || !error.permanent) throw error;
        if (error.class !== "not-found") {
          trouble ??= error;
          continue;
        }
        // The bucket is gone, and so is the upload.
      }
      await this.redis.zrem(this.#set, member);
    }
    if (trouble) throw trouble;
  }
}
