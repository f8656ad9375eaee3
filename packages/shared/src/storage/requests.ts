/** Kinds of requests, as services bill them. */
export const REQUEST_KINDS = ["list", "head", "get", "put", "post", "copy", "delete"] as const;
export type RequestKind = (typeof REQUEST_KINDS)[number];

/** How many requests of each kind; none of those that are absent. */
export type Requests = Partial<Record<RequestKind, number>>;

/** A file that a run would write. */
export interface WrittenFile {
  /** In bytes; undefined where nobody knows. */
  sizeBytes: number | undefined;
  /** Whether something may be at its destination. */
  isThere: boolean;
}

/**
 * How many requests a run makes at a storage, as an estimate: what is tried again, and what is asked once for all files,
 * is left out.
 */
export interface RequestEstimate {
  /** Files that one page of a listing tells of; undefined where nothing can be listed. */
  readonly filesPerList?: number;
  /** Requests that read one file. */
  readonly read: Requests;
  /** Requests that write one file. Absent where nothing can be written. */
  write?(file: WrittenFile): Requests;
  /** Requests that have the service copy one of its own files. Absent where it cannot. */
  copy?(file: WrittenFile): Requests;
}
