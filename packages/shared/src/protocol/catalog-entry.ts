import { etagOf, MAX_SECONDS, objectVersion, Reader, Writer } from "./packed.js";

/**
 * What the catalog says of a file, and how that is stored: in a few dozen bytes, because there may be a hundred
 * million of them. Where it is stored: catalog.ts.
 */

/** The last committed version of one file of a destination tree. */
export interface CatalogEntry {
  /** The source it came from, see `sourceId`: 12 characters of base64url. */
  source: string;
  /**
   * Version at the source: for HTTP its validators, for an object its ETag, size and time, for a local file a hash of
   * its stat.
   */
  version: string;
  /** SHA-256 of the bytes, hexadecimal; "" where nobody has read them. */
  sha256: string;
  /**
   * Shows that nobody else has touched the destination since the commit: of a local file {@link statStamp}, of an
   * object its ETag.
   */
  stamp: string;
  sizeBytes: number;
  /** Permission bits at the source, where it has any. */
  mode?: number;
  /** Hash of the owner and grants that the copy was given, see `accessHash`: 12 characters of base64url. */
  access?: string;
}

const UNCERTAIN = "uncertain:";

/**
 * The entry of a file that is about to be moved away, removed or replaced. Its version is equal to none, so that the catalog does not
 * vouch for a file that may be gone; who repeats that still knows the file.
 */
export function markUncertain(entry: CatalogEntry): CatalogEntry {
  return { ...entry, version: UNCERTAIN + versionBefore(entry) };
}

export function isUncertain({ version }: CatalogEntry): boolean {
  return version.startsWith(UNCERTAIN);
}

/** The version that an entry had before {@link markUncertain}. */
export function versionBefore(entry: CatalogEntry): string {
  return isUncertain(entry) ? entry.version.slice(UNCERTAIN.length) : entry.version;
}

/** `size:mtime in ns:inode` of a file: changes when somebody else touches it. */
export function statStamp(stat: { size: bigint; mtimeNs: bigint; ino: bigint }): string {
  return `${stat.size}:${stat.mtimeNs}:${stat.ino}`;
}

/** First byte of what is stored. Another one is another format, and its entry counts as none. */
const FORMAT = 1;

// Flags of the second byte. Versions and stamps of the usual kinds are packed, all others are text.
const VERSION_HASH = 1;
const VERSION_OBJECT = 2;
const STAMP_FILE = 4;
const STAMP_ETAG = 8;
const HAS_SHA256 = 16;
const HAS_MODE = 32;
const WHOLE_SECONDS = 64;
/** At the end, where earlier versions do not look. */
const HAS_ACCESS = 128;

/**
 * One entry as bytes: format, flags, SHA-256 (32 bytes), source (9 bytes), size, mode, version, stamp, access. Numbers are
 * LEB128, times 4 bytes of seconds, an ETag that is an MD5 16 bytes.
 *
 * @throws Error where source or sha256 are not what {@link CatalogEntry} says.
 */
export function encodeCatalog(entry: CatalogEntry): Buffer {
  const { source, version, sha256, stamp, sizeBytes, mode, access } = entry;
  const writer = new Writer(120 + version.length * 3 + stamp.length * 3);
  let flags = 0;
  writer.byte(FORMAT);
  writer.byte(0);
  if (sha256 !== "") {
    flags |= HAS_SHA256;
    writer.text(sha256, "hex", 32);
  }
  writer.text(source, "base64url", 9);
  writer.number(sizeBytes);
  if (mode !== undefined) {
    flags |= HAS_MODE;
    writer.number(mode);
  }
  const object = objectVersion(version, sizeBytes);
  if (/^l[\w-]{12}$/.test(version)) {
    flags |= VERSION_HASH;
    writer.text(version.slice(1), "base64url", 9);
  } else if (object) {
    flags |= VERSION_OBJECT;
    writer.etag(object.etag);
    writer.seconds(object.seconds);
  } else writer.any(version);
  const file = fileStamp(stamp, sizeBytes);
  const etag = etagOf(stamp);
  if (file) {
    flags |= STAMP_FILE;
    writer.seconds(file.seconds);
    if (file.nanoseconds === 0) flags |= WHOLE_SECONDS;
    else writer.seconds(file.nanoseconds);
    writer.number(file.inode);
  } else if (etag) {
    flags |= STAMP_ETAG;
    writer.etag(etag);
  } else writer.any(stamp);
  if (access !== undefined) {
    flags |= HAS_ACCESS;
    writer.text(access, "base64url", 9);
  }
  return writer.end(flags);
}

/** Reads what {@link encodeCatalog} wrote. @returns undefined for an empty value and for another format. */
export function decodeCatalog(bytes: Buffer): CatalogEntry | undefined {
  if (bytes[0] !== FORMAT) return undefined;
  const reader = new Reader(bytes);
  const flags = bytes[1] as number;
  const sha256 = flags & HAS_SHA256 ? reader.text("hex", 32) : "";
  const source = reader.text("base64url", 9);
  const sizeBytes = reader.number();
  const mode = flags & HAS_MODE ? reader.number() : undefined;
  let version: string;
  if (flags & VERSION_HASH) version = `l${reader.text("base64url", 9)}`;
  else if (flags & VERSION_OBJECT) version = `s${reader.etag()};${sizeBytes};${reader.seconds()}`;
  else version = reader.any();
  let stamp: string;
  if (flags & STAMP_FILE) {
    const seconds = reader.seconds();
    const nanoseconds = flags & WHOLE_SECONDS ? 0 : reader.seconds();
    stamp = fileText(sizeBytes, seconds, nanoseconds, reader.number());
  } else if (flags & STAMP_ETAG) stamp = reader.etag();
  else stamp = reader.any();
  const entry: CatalogEntry = { source, version, sha256, stamp, sizeBytes };
  if (mode !== undefined) entry.mode = mode;
  if (flags & HAS_ACCESS) entry.access = reader.text("base64url", 9);
  return entry;
}

function fileText(sizeBytes: number, seconds: number, nanoseconds: number, inode: number): string {
  return `${sizeBytes}:${seconds}${String(nanoseconds).padStart(9, "0")}:${inode}`;
}

/** Time and inode of a {@link statStamp}; undefined where it cannot be packed. */
function fileStamp(stamp: string, sizeBytes: number) {
  const [, time = "", inodeText] = stamp.split(":");
  const seconds = Number(time.slice(0, -9));
  const nanoseconds = Number(time.slice(-9));
  const inode = Number(inodeText);
  if (!(seconds > 0 && seconds < MAX_SECONDS) || !Number.isSafeInteger(inode)) return undefined;
  return stamp === fileText(sizeBytes, seconds, nanoseconds, inode)
    ? { seconds, nanoseconds, inode }
    : undefined;
}
