import { Reader, Writer } from "../protocol/packed.js";

/** The version of a path that both sides of a pair held when it was last settled. */
export interface Ancestor {
  /** Hexadecimal. */
  sha256: string;
  sizeBytes: number;
  /** Permission bits of each side, where it shows any. They differ where one of them was written under a umask. */
  mode?: number;
  remoteMode?: number;
  /** The stamp of each side; "" where it is not trusted, so that the file is read. See FileLook.stamp. */
  local: string;
  remote: string;
}

/** First byte of what is stored. It is none of the catalog's entries. */
const FORMAT = 2;
const HAS_MODE = 1;
const HAS_REMOTE_MODE = 2;

/** One ancestor as bytes: format, flags, SHA-256 (32 bytes), size and mode as LEB128, stamps as text. */
export function encodeAncestor({ sha256, sizeBytes, mode, remoteMode, local, remote }: Ancestor): Buffer {
  const writer = new Writer(80 + 3 * (local.length + remote.length));
  writer.byte(FORMAT);
  writer.byte(0);
  writer.text(sha256, "hex", 32);
  writer.number(sizeBytes);
  if (mode !== undefined) writer.number(mode);
  if (remoteMode !== undefined) writer.number(remoteMode);
  writer.any(local);
  writer.any(remote);
  return writer.end((mode === undefined ? 0 : HAS_MODE) | (remoteMode === undefined ? 0 : HAS_REMOTE_MODE));
}

/** Reads what {@link encodeAncestor} wrote. @returns undefined for an empty value and for another format. */
export function decodeAncestor(bytes: Buffer): Ancestor | undefined {
  if (bytes[0] !== FORMAT) return undefined;
  const reader = new Reader(bytes);
  const sha256 = reader.text("hex", 32);
  const sizeBytes = reader.number();
  const flags = bytes[1] as number;
  const mode = flags & HAS_MODE ? { mode: reader.number() } : {};
  const remoteMode = flags & HAS_REMOTE_MODE ? { remoteMode: reader.number() } : {};
  return { sha256, sizeBytes, ...mode, ...remoteMode, local: reader.any(), remote: reader.any() };
}
