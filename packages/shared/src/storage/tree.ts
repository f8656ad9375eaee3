/** `special` is a device, pipe or socket. */
export type EntryKind = "nothing" | "file" | "directory" | "special" | "unknown";

/** The names in a destination tree. It need not be there, and nothing of it is opened. */
export interface TreeNames {
  /** Absolute path, or `s3://bucket/prefix`. */
  readonly root: string;
  /** Id of this tree in the catalog. */
  readonly id: string;
  /** Location of a name: an absolute path, or `s3://bucket/key`. */
  path(name: string): string;
  /** Hash of the destination, equal for everyone who writes there. Names its lease. */
  leaseOf(name: string): string;
}

/** A destination tree, as far as it is known without asking a service. */
export interface Tree extends TreeNames {
  /** Whether a destination is as the commit with this stamp left it, as far as that is known here. */
  isAsLeft(name: string, stamp: string): boolean;
  /**
   * What is at a name now; `unknown` if that cannot be told here.
   *
   * @throws TransferError if no file can have that name.
   */
  look(name: string): EntryKind;
  close(): void;
}
