import { TransferError } from "@drover/shared/errors";
import type { ObjectHead } from "@drover/shared/storage/s3/bucket";
import type { Lease } from "../../attempt/leases.js";
import type { WriteAttempt } from "../destination.js";
import type { Base } from "./conditions.js";
import type { S3Target } from "./target.js";

/** The object that an attempt writes. It knows which version the file was compared with. */
export class DestinationObject {
  readonly key: string;
  /** Hash that its lease is named by. */
  readonly hash: string;
  /** What it was at the last look; undefined if nothing is known about it. */
  base: Base | undefined;

  /**
   * @param stamp ETag of the object in the catalog, if it is there.
   * @param keepFormer keeps the version with this ETag before another replaces it. Default: it is not kept.
   */
  constructor(
    readonly target: S3Target,
    readonly attempt: WriteAttempt,
    stamp?: string,
    readonly keepFormer?: (etag: string) => Promise<void>,
  ) {
    const { name } = attempt.file;
    this.key = target.tree.key(name);
    this.hash = target.tree.leaseOf(name);
    const { must } = attempt;
    if (must) this.base = must.is === "absent" ? must : { is: "version", etag: must.stamp };
    else if (stamp) this.base = { is: "version", etag: stamp };
  }

  get lease(): Lease {
    return this.attempt.lease;
  }

  /**
   * Looks at it. What is published afterwards replaces this version only, unless the attempt says which one it must be.
   *
   * @throws TransferError
   */
  async look(): Promise<ObjectHead | undefined> {
    const head = await this.target.bucket.head(this.key, this.lease.signal);
    if (!this.attempt.must) this.base = head ? { is: "version", etag: head.etag } : { is: "absent" };
    return head;
  }

  /**
   * Looks at it before anything is sent. Without the permission s3:ListBucket, a service answers that it is forbidden
   * if there is no object. Then only the version that is known already is replaced.
   *
   * @throws TransferError
   */
  async lookAhead(): Promise<ObjectHead | undefined> {
    try {
      return await this.at(() => this.look());
    } catch (error) {
      if (error instanceof TransferError && error.class === "forbidden") return undefined;
      throw error;
    }
  }

  /** Does something with the service. @throws TransferError that names the destination. */
  async at<T>(work: () => Promise<T>): Promise<T> {
    try {
      return await work();
    } catch (error) {
      throw this.target.asDestinationError(error, this.attempt.file);
    }
  }
}
