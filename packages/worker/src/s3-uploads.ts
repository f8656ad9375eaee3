import { TransferError } from "@drover/shared/errors";
import type { Keys } from "@drover/shared/redis/keys";
import type { S3Bucket } from "@drover/shared/storage/s3/bucket";
import type { S3Tree } from "@drover/shared/storage/s3/tree";
import type { Redis } from "ioredis";

/** An upload that was begun so long ago, and that no lease tells of, belongs to nobody: a lease's record lasts a day. */
const ABANDONED_MS = 25 * 3_600_000;
/** What the clocks of this machine and of the service may differ by: more, and no request is accepted. */
const CLOCKS_MS = 15 * 60_000;
/** Abandoned uploads that are looked at in one go. */
const MOST_SWEPT = 100;

/** Knows for which objects of a tree multipart uploads of ours were begun, and drops those that were left behind. */
export class S3Uploads {
  constructor(
    private readonly redis: Redis,
    private readonly keys: Keys,
    private readonly bucket: S3Bucket,
    private readonly tree: S3Tree,
  ) {}

  /**
   * To be called before an upload is begun, by who holds the lease. One that was begun before, and that nobody noted
   * the id of, is dropped.
   */
  async beginning(name: string, signal: AbortSignal): Promise<void> {
    const before = await this.redis.zscore(this.keys.uploads(this.tree.id), name);
    if (before !== null) {
      try {
        await this.#drop(name, Number(before), signal);
      } catch (error) {
        // Where uploads cannot be listed, what was left is the bucket's own rules' business: no file fails for it.
        if (!(error instanceof TransferError) || !error.permanent) throw error;
      }
    }
    await this.redis.zadd(this.keys.uploads(this.tree.id), Date.now(), name);
  }

  /** Drops the upload to an object that was begun then, as far as anybody can tell. */
  async #drop(name: string, begunMs: number, signal: AbortSignal): Promise<void> {
    const key = this.tree.key(name);
    for (const { uploadId, startedMs } of await this.bucket.listUploads(key, signal))
      if (Math.abs(startedMs - begunMs) < CLOCKS_MS) await this.bucket.abortUpload(key, uploadId, signal);
  }

  async ended(name: string): Promise<void> {
    await this.redis.zrem(this.keys.uploads(this.tree.id), name);
  }

  /**
   * Aborts the uploads that were begun more than a day ago and whose destination has no lease any more, not even the
   * record of one. Uploads of others are left alone, unless they are to the same object and of the same minutes.
   *
   * @throws TransferError
   */
  async sweep(signal: AbortSignal): Promise<void> {
    const key = this.keys.uploads(this.tree.id);
    const before = Date.now() - ABANDONED_MS;
    const left = await this.redis.zrangebyscore(key, 0, before, "WITHSCORES", "LIMIT", 0, MOST_SWEPT);
    for (let at = 0; at < left.length; at += 2) {
      const name = left[at] as string;
      if ((await this.redis.exists(this.keys.lease(this.tree.leaseOf(name)))) === 1) continue;
      await this.#drop(name, Number(left[at + 1]), signal);
      await this.redis.zrem(key, name);
    }
  }
}
