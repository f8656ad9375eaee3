export type Standing = "nothing" | "file" | "directory" | "unknown";

/** A tree of destinations, as far as it is known without asking a service. */
export interface Tree {
  /** Where it is: an absolute path, or `s3://bucket/prefix`. */
  readonly root: string;
  /** Names this tree in the catalog. */
  readonly id: string;
  /** Where a name leads: an absolute path, or `s3://bucket/key`. */
  path(name: string): string;
  /** Hash of the destination itself, the same for whoever writes there: what its lease is called. */
  leaseOf(name: string): string;
  /** Whether a destination is as the commit left it that wrote `stamp` to the catalog, as far as it can be told here. */
  isAsLeft(name: string, stamp: string): boolean;
  /**
   * What is at a name now; `unknown` where that cannot be told here.
   *
   * @throws TransferError where no file can be at that name.
   */
  look(name: string): Standing;
  close(): void;
}
