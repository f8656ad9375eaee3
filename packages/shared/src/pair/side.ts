import type { Source } from "../storage/source.js";
import type { Side } from "./decide.js";

/** A version of a file on one side, as a listing or a look tells it. */
export interface FileLook {
  is: "file";
  /**
   * Differs from the stamp of any other version of this side: of a local file its size, times and inode, of an object its
   * size and ETag. Only ever compared with stamps of the same side.
   */
  stamp: string;
  sizeBytes: number;
  /** When it was edited, as far as that is known without asking (Unix ms); see {@link PairSide.edited}. */
  mtimeMs: number;
  /** Permission bits, where the side shows them at once. */
  mode?: number;
  /**
   * Whether an edit in this moment could leave the stamp as it is: then it is not kept, and the next sync reads the file.
   */
  racy?: true;
}

/** What is at a path: `unknown` where neither a file nor its absence is certain. */
export type Look = FileLook | { is: "absent" } | { is: "unknown"; why: string };

/** An entry of a side's listing. */
export interface ListedPath {
  /** Relative to the side's root, with `/`. Ends in `/` for a directory of which nothing can be told. */
  name: string;
  look: FileLook | { is: "unknown"; why: string };
  /** Whether nothing can be told of the names below it either. */
  hides: boolean;
}

/** When a version was edited. */
export interface EditTime {
  ms: number;
  /** How exact that is, in milliseconds. */
  toleranceMs: number;
}

/** The versions that a storage keeps by itself. All methods throw TransferError. */
export interface KeptVersions {
  /** Whether it keeps them. */
  areKept(signal: AbortSignal): Promise<boolean>;
  /** The id of a version that is the latest one. @throws TransferError class `changed` if another one is. */
  idOf(name: string, look: FileLook, signal: AbortSignal): Promise<string>;
  /** A version to be read. */
  source(name: string, id: string): Source;
}

export type DigestKind = "sha256" | "md5" | "noted";

/** One of the two trees of a pair, to be looked at. All methods throw TransferError. */
export interface PairSide {
  readonly root: string;
  /** Of a side whose storage may keep what is replaced or removed by itself. */
  readonly versions?: KeptVersions;
  /** The location of a path, as a source of a job has it. */
  location(name: string): string;
  /** @throws TransferError class `path` where no file of this side can have that name. */
  checkName(name: string): void;
  /**
   * Lists all paths in the byte order of their names.
   *
   * @throws TransferError, ListingError if that is not complete.
   */
  list(signal: AbortSignal): AsyncGenerator<ListedPath>;
  /** Looks at one path. */
  look(name: string, signal: AbortSignal): Promise<Look>;
  /**
   * A digest of a version, hexadecimal, without a transfer where possible.
   *
   * @param which `noted` is the SHA-256 that whoever wrote the version has noted with it: tools that replace an object may
   *   keep the note of the former one.
   * @returns undefined if only {@link read} tells.
   */
  digest(name: string, look: FileLook, which: DigestKind, signal: AbortSignal): Promise<string | undefined>;
  /** The SHA-256 of a version, hexadecimal: reads all of it. @throws TransferError class `changed` for another version. */
  read(name: string, look: FileLook, signal: AbortSignal): Promise<string>;
  /**
   * The bytes of a small version.
   *
   * @param stamp of the version.
   * @throws TransferError class `changed` for another version.
   */
  bytes(name: string, stamp: string, signal: AbortSignal): Promise<Buffer>;
  /**
   * When a version was edited.
   *
   * @param unless a time (Unix ms) that a tool may have kept although the bytes are others: it is not believed.
   */
  edited(name: string, look: FileLook, unless: number | undefined, signal: AbortSignal): Promise<EditTime>;
  /** A small file of Drover's own at the root; undefined if it is not there. */
  readOwn(name: string, signal: AbortSignal): Promise<string | undefined>;
  writeOwn(name: string, text: string, signal: AbortSignal): Promise<void>;
  removeOwn(name: string, signal: AbortSignal): Promise<void>;
  /**
   * Removes a version that a run has kept, and directories of that run that are empty then.
   *
   * @param location that the run noted. Its last components are the id of the run and the name.
   */
  removeKept(location: string, runId: string, signal: AbortSignal): Promise<void>;
  /** How far the clock of its service is ahead of this machine's, in milliseconds, as far as answers told; 0 for none. */
  clockOffsetMs(): number;
  close(): Promise<void>;
}

export type PairSides = Record<Side, PairSide>;

/** Names that belong to Drover itself, and are never synced. */
export function isOwnName(name: string): boolean {
  return /^\.drover-(pair-|backups\/)/.test(name);
}
