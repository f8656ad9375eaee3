import type { Algorithm, FileFacts } from "../leave.js";
import type { Access } from "../permissions.js";

/** A digest that a source gives for the whole file. */
export interface SourceDigest {
  by: "repr-digest" | "content-digest" | "digest" | "content-md5" | "x-amz-checksum" | "etag" | "x-amz-meta";
  algorithm: "sha256" | "sha512" | "sha1" | "md5" | "crc64nvme" | "crc32c" | "crc32";
  base64: string;
}

/** One version of a file at its source, for requests of its ranges. */
export interface VersionRef {
  /** Size in bytes of the whole file as sent; undefined if the source does not tell. */
  sizeBytes: number | undefined;
  /** Comparable with earlier versions; "" if the version cannot be identified. */
  version: string;
  /** Identifies this version in range requests (HTTP: a strong ETag); "" if ranges cannot be trusted. */
  strongEtag: string;
}

/** A range of bytes of a file. */
export interface ByteRange {
  /** The first byte, from 0. */
  startByte: number;
  /** The last byte, inclusive; undefined for the rest of the file. */
  lastByte?: number;
}

/** Metadata of an opened file. */
export interface SourceEntry extends VersionRef {
  mtimeMs: number | undefined;
  /** The modification time in nanoseconds, if the source knows it. */
  mtimeNs?: bigint;
  /** Permission bits of a local file. */
  mode?: number;
  /** Whether the end of the body is distinguishable from a broken connection (a length, or chunked framing). */
  framed: boolean;
  /** Owner and grants of the file, for destinations that keep them. */
  access?: Access;
  /** Whether ranges of the file can be requested. */
  ranges: boolean;
  /** `gzip` or similar if the server encodes although it was asked not to; "" for none. */
  encoding: string;
  digest: SourceDigest | undefined;
  /** Further metadata from its server or service, such as its type, for destinations that can store it. */
  headers?: Record<string, string | undefined>;
}

/** The bytes of a file as they arrive. */
export interface Body {
  /**
   * Returns all buffered chunks, or null at the end.
   * @throws the error that broke it, after all earlier chunks.
   */
  read(): Promise<Buffer[] | null>;
  /** Returns the whole body if it is in memory, without a copy; else undefined. */
  takeIfComplete(): Buffer[] | undefined;
  /**
   * From now on, the result of `read` is valid only until the next `read`, which halves the cost of a large
   * body.
   */
  reuseMemory?(): void;
  abort(error: Error): void;
  /** Whether the reader waits for the source, rather than the source for the reader. */
  readonly starved: boolean;
  readonly receivedBytes: number;
}

/** An object that its service can copy without a download. */
export interface ServerCopy {
  /** `/bucket/key`, encoded. */
  source: string;
  /** Its metadata at the service. */
  headers: Record<string, string | undefined>;
  /** Hexadecimal, if the service knows it or its uploader stored it. */
  sha256: string | undefined;
  /** Whether its metadata is not that of the object, but what `headers` have. */
  replaces?: true;
  /** What a request needs besides to read it, such as the key that it is encrypted with. */
  reading?: Record<string, string> | undefined;
  /** Tags that it gets, encoded as in a query. Default: those that its service keeps. */
  tagging?: string;
  /** Whether an object with the same bytes but other metadata does not count as a copy. */
  exact?: true;
  /** @throws TransferError class `changed` if it is another version by now. */
  confirm(): Promise<void>;
}

export type Opened =
  | { is: "unchanged"; entry: SourceEntry }
  | {
      is: "body";
      entry: SourceEntry;
      body: Body;
      /** Offset in bytes at which the body starts in the file. */
      offset: number;
      /** Path of the file, if it is local, so that it can be read in advance. */
      path?: string;
      /** How its service copies it; then there is no body to read. */
      copy?: ServerCopy;
      /**
       * Called after the last byte and before the entry's digest is read, which may be known only now.
       * @throws TransferError class `changed` if the bytes read are not one version of the file.
       */
      confirm?: () => void;
    };

/** One file to read. */
export interface Source {
  /**
   * @param known version of the copy at the destination, or "": the same version opens as `unchanged`.
   * @throws TransferError
   */
  open(known: string, signal: AbortSignal): Promise<Opened>;

  /**
   * Opens a range of a version. A source that cannot do so returns the whole file; `offset` tells.
   *
   * @param range with a last byte, the version must be the same; without one, another version may be returned
   *   whole.
   * @throws TransferError class `changed` when the source has another version by now.
   */
  openRange(version: VersionRef, range: ByteRange, signal: AbortSignal): Promise<Opened>;

  /**
   * Looks at the file, without opening it. Absent where that cannot be done.
   *
   * @returns undefined if there is none.
   */
  look?(signal: AbortSignal): Promise<SourceEntry | undefined>;

  /**
   * A digest of the file's bytes, hexadecimal, which are read for it. Absent where only a transfer tells.
   *
   * @throws TransferError
   */
  digest?(algorithm: Algorithm): Promise<string>;

  /** Owner and grants of the file's access list. Absent for sources that have none. */
  access?(signal: AbortSignal): Promise<Access>;
}

/** What digests tell of a file, as its facts. */
export function knownDigests(known: readonly SourceDigest[]): Pick<FileFacts, "algorithms" | "digest"> {
  const hex = (algorithm: Algorithm) => {
    const found = known.find((each) => each.algorithm === algorithm);
    return found && Buffer.from(found.base64, "base64").toString("hex");
  };
  return {
    algorithms: (["sha256", "md5"] as const).filter((algorithm) => hex(algorithm) !== undefined),
    digest: async (algorithm) => hex(algorithm) ?? "",
  };
}
