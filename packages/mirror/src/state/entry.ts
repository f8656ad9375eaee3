import { objectVersion, Reader, Writer } from "@drover/shared/protocol/packed";

/** The last event of a path. */
export interface LastEvent {
  id: string;
  /** When it happened, as its source says (Unix ms). */
  timeMs: number;
}

/** What is wanted of one path. */
export interface WantedEntry {
  /** Whether nothing is wanted there: kept for a while to tell events that come late. */
  isGone: boolean;
  sizeBytes: number;
  /** When the object was modified (Unix ms, whole seconds). */
  mtimeMs: number;
  /** Version at the source as in the catalog; `u` and the id of an event that told of a version that nobody has seen. */
  version: string;
  /** SHA-256 in hexadecimal where an event tells it; "" where the catalog knows at best. */
  sha256: string;
  /** Permissions that an event asked for. Default: those of the object's metadata. */
  mode?: number;
  owner?: string;
  /** Grants (JSON). */
  grants?: string;
  event?: LastEvent;
  /** Path that it was renamed or moved from by its last event. */
  movedFrom?: string;
  /** Number of the last listing that saw it, or in whose time an event told of it. */
  listing: number;
}

/** First byte of what is stored. Another one is another format, and its entry counts as none. */
const FORMAT = 1;

// Flags of the second byte. Lua reads the first: state/change.lua.ts.
const GONE = 1;
const VERSION_OBJECT = 2;
const HAS_SHA256 = 4;
const HAS_MODE = 8;
const HAS_OWNER = 16;
const HAS_GRANTS = 32;
const HAS_EVENT = 64;
const HAS_MOVED_FROM = 128;

const most = (text: string) => text.length * 3 + 5;

/** An entry as bytes: format, flags, listing, size, time, version, and what is known beside. Numbers are LEB128. */
export function encodeWanted(entry: WantedEntry): Buffer {
  const { isGone, sizeBytes, mtimeMs, version, sha256, mode, owner, grants, event, movedFrom } = entry;
  const texts = [version, owner ?? "", grants ?? "", event?.id ?? "", movedFrom ?? ""];
  const writer = new Writer(120 + texts.reduce((sum, text) => sum + most(text), 0));
  let flags = isGone ? GONE : 0;
  writer.byte(FORMAT);
  writer.byte(0);
  writer.number(entry.listing);
  writer.number(sizeBytes);
  writer.number(Math.max(Math.floor(mtimeMs / 1000), 0));
  const object = objectVersion(version, sizeBytes);
  if (object) {
    flags |= VERSION_OBJECT;
    writer.etag(object.etag);
    writer.seconds(object.seconds);
  } else writer.any(version);
  if (sha256 !== "") {
    flags |= HAS_SHA256;
    writer.text(sha256, "hex", 32);
  }
  if (mode !== undefined) {
    flags |= HAS_MODE;
    writer.number(mode);
  }
  if (owner !== undefined) {
    flags |= HAS_OWNER;
    writer.any(owner);
  }
  if (grants !== undefined) {
    flags |= HAS_GRANTS;
    writer.any(grants);
  }
  if (event !== undefined) {
    flags |= HAS_EVENT;
    writer.any(event.id);
    writer.number(Math.max(event.timeMs, 0));
  }
  if (movedFrom !== undefined) {
    flags |= HAS_MOVED_FROM;
    writer.any(movedFrom);
  }
  return writer.end(flags);
}

/** Reads what {@link encodeWanted} wrote. @returns undefined for no value and for another format. */
export function decodeWanted(bytes: Buffer | null | undefined): WantedEntry | undefined {
  if (!bytes || bytes[0] !== FORMAT) return undefined;
  const reader = new Reader(bytes);
  const flags = bytes[1] as number;
  const listing = reader.number();
  const sizeBytes = reader.number();
  const mtimeMs = reader.number() * 1000;
  const version =
    flags & VERSION_OBJECT ? `s${reader.etag()};${sizeBytes};${reader.seconds()}` : reader.any();
  const entry: WantedEntry = {
    isGone: (flags & GONE) !== 0,
    sizeBytes,
    mtimeMs,
    version,
    sha256: flags & HAS_SHA256 ? reader.text("hex", 32) : "",
    listing,
  };
  if (flags & HAS_MODE) entry.mode = reader.number();
  if (flags & HAS_OWNER) entry.owner = reader.any();
  if (flags & HAS_GRANTS) entry.grants = reader.any();
  if (flags & HAS_EVENT) entry.event = { id: reader.any(), timeMs: reader.number() };
  if (flags & HAS_MOVED_FROM) entry.movedFrom = reader.any();
  return entry;
}

/** Whether a file is wanted. */
export function isLive(entry: WantedEntry | undefined): entry is WantedEntry & { isGone: false } {
  return entry !== undefined && !entry.isGone;
}
