import { TransferError } from "@drover/shared/errors";
import type { ObjectHead } from "@drover/shared/storage/s3/bucket";
import type { Lease } from "../../attempt/leases.js";
import type { WriteAttempt } from "../destination.js";
import type { Base } from "./conditions.js";
import type { S3Target } from "./target.js";

/** The object that an attempt writes: what it was when it was compared, and ways to look at it. */
export class DestinationObject {
  readonly key: string;
  /** Its hash, as leases have it. */
  readonly hash: string;
  /** What it was when it was last looked at; undefined where nothing is known of it. */
  base: Base | undefined;

  /** @param stamp of the object in the catalog. */
  constructor(
    readonly target: S3Target,
    readonly attempt: WriteAttempt,
    stamp?: string,
  ) {
    const { name } = attempt.file;
    this.key = target.tree.key(name);
    this.hash = target.tree.leaseOf(name);
    if (stamp) this.base = { is: "version", etag: stamp };
  }

  get lease(): Lease {
    return this.attempt.lease;
  }

  /** Looks at it: what is published afterwards replaces this version, or nothing. */
  async look(): Promise<ObjectHead | undefined> {
    const head = await this.target.bucket.head(this.key, this.lease.signal);
    this.base = head ? { is: "version", etag: head.etag } : { is: "absent" };
    return head;
  }

  /**
   * Looks at it before anything is sent. Where that is forbidden there may be nothing: without s3:ListBucket that is not
   * told. Then nothing but what is known is replaced.
   */
  async lookAhead(): Promise<ObjectHead | undefined> {
    try {
      return await this.at(() => this.look());
    } catch (error) {
      if (error instanceof TransferError && error.class === "forbidden") return undefined;
      throw error;
    }
  }

  /** Does something with the service; what goes wrong is the destination's. */
  async at<T>(work: () => Promise<T>): Promise<T> {
    try {
      return await work();
    } catch (error) {
      throw this.target.asDestinationError(error, this.attempt.file);
    }
  }
}
