/** A digest that a source gives for the whole file. */
export interface SourceDigest {
  by: "repr-digest" | "content-digest" | "digest" | "content-md5" | "x-amz-checksum" | "etag" | "x-amz-meta";
  algorithm: "sha256" | "sha512" | "sha1" | "md5" | "crc64nvme" | "crc32c" | "crc32";
  base64: string;
}

/** One version of a file at its source, of which a part can be asked for. */
export interface VersionRef {
  /** Size in bytes of the whole file as it is sent, undefined where the source does not say. */
  sizeBytes: number | undefined;
  /** Comparable with what was seen earlier; "" where nothing identifies the version. */
  version: string;
  /** Identifies this version for a range of it (HTTP: a strong ETag); "" where ranges cannot be trusted. */
  strongEtag: string;
}

/** Bytes of a file that are asked for. */
export interface ByteRange {
  /** The first byte, from 0. */
  startByte: number;
  /** The last byte; undefined for the rest of the file. */
  lastByte?: number;
}

/** What a source says of the file that it opens. */
export interface SourceEntry extends VersionRef {
  mtimeMs: number | undefined;
  /** The same to the nanosecond, where the source knows it so. */
  mtimeNs?: bigint;
  /** Permission bits, of a local file. */
  mode?: number;
  /** Whether the end of the body can be told from a broken connection (a length, or chunked framing). */
  framed: boolean;
  /** Whether parts of the file can be asked for. */
  ranges: boolean;
  /** `gzip` and the like, where the server encodes although it was asked not to; "" for none. */
  encoding: string;
  digest: SourceDigest | undefined;
  /** What its service or server says of it beyond that, such as its type, for a destination that can keep it. */
  headers?: Record<string, string | undefined>;
}

/** The bytes of a file as they come in. */
export interface Body {
  /** Everything that is there, or null at the end. Throws what broke it, after what came before. */
  read(): Promise<Buffer[] | null>;
  /** The whole body where it is already in memory, at no cost; else undefined. */
  takeIfComplete(): Buffer[] | undefined;
  /** From here on, what `read` gave is good only until the next `read`: a large body then comes at half the cost. */
  reuseMemory?(): void;
  abort(error: Error): void;
  /** Whether the reader waits for the source, rather than the source for the reader. */
  readonly starved: boolean;
  readonly receivedBytes: number;
}

/** An object that can be copied where it is. */
export interface ServerCopy {
  /** `/bucket/key`, encoded. */
  source: string;
  /** What the service says of it. */
  headers: Record<string, string | undefined>;
  /** Hexadecimal, where the service knows it or its uploader noted it. */
  sha256: string | undefined;
  /** What has the same bytes is no copy of it where its metadata are others. */
  exact?: true;
  /** Throws (class `changed`) when it is another version by now. */
  confirm(): Promise<void>;
}

export type Opened =
  | { is: "unchanged"; entry: SourceEntry }
  | {
      is: "body";
      entry: SourceEntry;
      body: Body;
      /** Where the body starts in the file. */
      offset: number;
      /** The file itself, where it is local: it can be read beforehand. */
      path?: string;
      /** How its own service copies it; then there are no bytes to be read. */
      copy?: ServerCopy;
      /**
       * After the last byte, before the entry's digest is looked at, which may be known only now. Throws (class
       * `changed`) when what was read is not one version of the file.
       */
      confirm?: () => void;
    };

/** One file, to be read. */
export interface Source {
  /**
   * @param known version of the copy that is already at the destination, or "": the same version opens as `unchanged`.
   * @throws TransferError
   */
  open(known: string, signal: AbortSignal): Promise<Opened>;

  /**
   * Opens a part of a version. A source that cannot gives the whole file; `offset` says so.
   *
   * @param range where it names a last byte, the version must be the same; where it does not, another one may be given
   *   whole.
   * @throws TransferError class `changed` when the source has another version by now.
   */
  openRange(version: VersionRef, range: ByteRange, signal: AbortSignal): Promise<Opened>;
}
