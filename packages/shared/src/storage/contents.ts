import { TransferError } from "../errors.js";
import type { Opened, Source, SourceDigest, SourceEntry } from "./source.js";

/** A checksum of a whole file. */
export interface KnownDigest {
  algorithm: SourceDigest["algorithm"];
  /** Hexadecimal, in lower case. */
  hex: string;
  /** Whether only the uploader noted it: a tool that replaces the file may have kept the note. */
  isNoted?: true;
}

/** A version of a file, as a listing or a look tells of it. */
export interface FileVersion {
  /** Relative to the root that was listed; "" for a location that is the file itself. */
  name: string;
  location: string;
  /** Undefined where only its bytes tell. */
  sizeBytes: number | undefined;
  /** Unix ms; undefined where it is not known. */
  mtimeMs: number | undefined;
  /** Differs from that of other versions of the same location; undefined where it is not known. */
  version: string | undefined;
  /** The checksums that came along. Default: {@link Contents.digests} asks. */
  digests?: KnownDigest[];
}

/** What the files of a storage hold. Nothing is ever written. All methods throw TransferError. */
export interface Contents {
  /** Whether reading a file transfers nothing, so that any checksum of it can be computed. */
  readonly isLocal: boolean;
  /** @returns undefined if there is no such file. */
  look(name: string, location: string, signal: AbortSignal): Promise<FileVersion | undefined>;
  /** A text of a listed version that no other bytes have, such as the ETag of an object; undefined if there is none. */
  mark(file: FileVersion): string | undefined;
  /** The stamp of a listed version in the catalog's form, see `CatalogEntry`; undefined where a listing does not tell. */
  stamp(file: FileVersion): string | undefined;
  /**
   * The checksums that are known without a transfer, the most trustworthy first.
   *
   * @throws TransferError class `changed` for another version.
   */
  digests(file: FileVersion, signal: AbortSignal): Promise<KnownDigest[]>;
  /** A file to be read from any place on. */
  source(name: string, location: string): Source;
  /** Reads a version. @throws TransferError class `changed` for another one, at the end at the latest. */
  read(file: FileVersion, signal: AbortSignal): AsyncGenerator<Uint8Array>;
  close(): Promise<void>;
}

/**
 * The bytes of an opened file.
 *
 * @param isVersion whether what was opened is the version that is meant.
 * @throws TransferError class `changed` if it is not, or changed meanwhile; `truncated` if bytes are missing.
 */
export async function* chunksOf(
  opened: Opened,
  location: string,
  isVersion: (entry: SourceEntry) => boolean,
): AsyncGenerator<Uint8Array> {
  if (opened.is !== "body") throw new Error("a file without a known version is opened");
  const { entry, body, confirm } = opened;
  try {
    refuseEncoding(entry, location);
    if (!isVersion(entry)) throw changedSince(location);
    let read = 0;
    const whole = body.takeIfComplete(); // of a small file, without memory for a large one
    for (let chunks = whole ?? (await body.read()); chunks; chunks = whole ? null : await body.read())
      for (const chunk of chunks) {
        read += chunk.length;
        yield chunk;
      }
    confirm?.();
    if (entry.sizeBytes !== undefined && read !== entry.sizeBytes)
      throw new TransferError("truncated", `got ${read} of ${entry.sizeBytes} bytes of ${location}`);
  } finally {
    body.abort(new Error("no more of it is wanted"));
  }
}

/** @throws TransferError for a file that its server encodes, so that its size and checksums are those of other bytes. */
export function refuseEncoding({ encoding }: SourceEntry, location: string): void {
  if (encoding === "") return;
  const why = `the server encodes ${location} (${encoding}) although it was asked not to`;
  throw new TransferError("encoding", why, { permanent: true });
}

export function changedSince(location: string): TransferError {
  return new TransferError("changed", `${location} changed since it was listed`, { permanent: true });
}

export function goneSince(location: string): TransferError {
  return new TransferError("not-found", `${location} is gone since it was listed`, { permanent: true });
}

export function knownDigest({ algorithm, base64, by }: SourceDigest): KnownDigest {
  const hex = Buffer.from(base64, "base64").toString("hex");
  return { algorithm, hex, ...(by === "x-amz-meta" ? { isNoted: true } : {}) };
}
