import { TransferError } from "@drover/shared/errors";
import type { Keys } from "@drover/shared/protocol/keys";
import { S3Bucket } from "@drover/shared/storage/s3/bucket";
import type { S3Client } from "@drover/shared/storage/s3/client";
import type { S3Tree } from "@drover/shared/storage/s3/tree";
import type { Redis } from "ioredis";

/** An upload that was begun so long ago, and that no lease tells of, belongs to nobody: a lease's record lasts a day. */
const ABANDONED_MS = 25 * 3_600_000;
/** What the clocks of this machine and of the service may differ by: more, and no request is accepted. */
const CLOCKS_MS = 15 * 60_000;
/** Abandoned uploads that are looked at in one go. */
const MOST_SWEPT = 100;

/**
 * Knows for which objects of a tree multipart uploads of ours were begun, and drops those that were left behind.
 *
 * A backup's are noted with those of the tree that it is a backup of: it is that one's leases that they are made under,
 * and that one that a later run writes to, while every run may have a backup of its own.
 */
export class S3Uploads {
  constructor(
    private readonly redis: Redis,
    private readonly keys: Keys,
    private readonly client: S3Client,
    private readonly tree: S3Tree,
    /** The tree that it is a backup of. */
    private readonly backupOf?: S3Tree,
  ) {}

  get #set(): string {
    return this.keys.uploads((this.backupOf ?? this.tree).id);
  }

  /** What an object is called in the set: its name, and of a backup (NUL is in no name) where it is. */
  #member(name: string): string {
    return this.backupOf ? [name, this.tree.bucket, this.tree.key(name)].join("\0") : name;
  }

  /**
   * To be called before an upload is begun, by who holds the lease. One that was begun before, and that nobody noted
   * the id of, is dropped.
   */
  async beginning(name: string, signal: AbortSignal): Promise<void> {
    const member = this.#member(name);
    const before = await this.redis.zscore(this.#set, member);
    if (before !== null) {
      try {
        await this.#drop(member, Number(before), signal);
      } catch (error) {
        // Where uploads cannot be listed, what was left is the bucket's own rules' business: no file fails for it.
        if (!(error instanceof TransferError) || !error.permanent) throw error;
      }
    }
    await this.redis.zadd(this.#set, Date.now(), member);
  }

  /** Drops the upload to an object that was begun then, as far as anybody can tell. */
  async #drop(member: string, begunMs: number, signal: AbortSignal): Promise<void> {
    const [name = "", bucketName = this.tree.bucket, key = this.tree.key(name)] = member.split("\0");
    const bucket = new S3Bucket(this.client, bucketName);
    for (const { uploadId, startedMs } of await bucket.listUploads(key, signal))
      if (Math.abs(startedMs - begunMs) < CLOCKS_MS) await bucket.abortUpload(key, uploadId, signal);
  }

  async ended(name: string): Promise<void> {
    await this.redis.zrem(this.#set, this.#member(name));
  }

  /**
   * Aborts the uploads that were begun more than a day ago and whose destination has no lease any more, not even the
   * record of one. Uploads of others are left alone, unless they are to the same object and of the same minutes.
   *
   * @throws TransferError for one that cannot be dropped; it holds up no others.
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
        // Its bucket is gone, and the upload with it.
      }
      await this.redis.zrem(this.#set, member);
    }
    if (trouble) throw trouble;
  }
}
