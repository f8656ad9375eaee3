import type { TransferError } from "../../errors.js";
import type { Permissions } from "../../permissions.js";
import type { Headers, HttpAnswer } from "../http/client.js";

/** What a server is known to do. */
export interface ServerNature {
  /** Whether it takes staged files, and moves them to their names. Else a file is sent to its name at once. */
  stages: boolean;
  /** Whether a PUT replaces a file in one step, so that one that breaks off changes nothing. */
  putIsWhole: boolean;
  /** Whether a PUT can be bound to the version that it replaces, or to there being none. */
  putIsConditional: boolean;
  /** Whether a move over a file replaces that in one step. Else readers miss it for a moment. */
  moveReplacesWhole: boolean;
  /** Whether a move over a file can be bound to the version that it replaces. */
  moveIsConditional: boolean;
  /** Whether a removal can be bound to the version that is removed. */
  removeIsConditional: boolean;
  /** Whether modes, grants and owners are kept. */
  keepsPermissions: boolean;
}

/** What a server says of one of its files. */
export interface RemoteHead {
  sizeBytes: number;
  /** Its ETag without a mark of weakness: the stamp of the catalog. */
  etag: string;
  /** Hexadecimal; undefined where the server does not tell. */
  sha256: string | undefined;
  /** Permission bits; undefined where the server keeps none. */
  mode: number | undefined;
}

/** A file in a listing. */
export interface RemoteFile {
  /** Relative to the root of the server. */
  name: string;
  sizeBytes: number;
  etag: string;
}

/** What a request may replace or remove: nothing, or one version. */
export type RemoteBase = { is: "absent" } | { is: "version"; etag: string };

/** What a request is bound to. */
export interface Bound {
  /** Undefined for whatever is there. */
  base: RemoteBase | undefined;
  /** Number of the lease: a server that knows fences refuses requests under an older one. */
  fence?: string;
  /** ETag of the only version that is to be renamed, where the server takes such a condition. Default: any. */
  from?: string;
}

/** The bytes of a file on their way to a server. */
export interface Upload {
  body: Uint8Array | AsyncIterable<Uint8Array>;
  /** Undefined where only the end of the stream tells. */
  sizeBytes: number | undefined;
  /** Hexadecimal; undefined where it is not known before the bytes are sent. */
  sha256: string | undefined;
  /** Version of the file at its source. */
  sourceVersion?: string;
  permissions?: Permissions;
}

/** How the setting of permissions ended. */
export type PermissionsSet =
  /** @property etag of the file then, where the server tells. */
  | { is: "set"; etag?: string }
  /** There is no such file; the server may keep them until it comes. */
  | { is: "absent" }
  /** The server keeps none. */
  | { is: "unsupported" };

/** How a request ended. `refused`: its condition did not hold. */
export type Written = { is: "done"; head: RemoteHead } | { is: "refused" };

/** How a move ended. `gone`: there is nothing to move. */
export type Moved = Written | { is: "gone" };

/** The end of a removal. A file that is not there is removed. */
export type Removed = "removed" | "refused";

/**
 * A server that keeps files below a root and is reached over HTTP. Names are relative to that root. Every call may be
 * repeated. All methods throw TransferError.
 */
export interface FileServer {
  /** Finds out, once, what the server does. It may write a file of its own to do so, and removes it. */
  nature(): Promise<ServerNature>;
  /** Undefined if there is no such file. */
  head(name: string, signal: AbortSignal): Promise<RemoteHead | undefined>;
  /** Writes a file and makes the directories that it needs. Answers with what the server stored. */
  put(name: string, upload: Upload, bound: Bound, signal: AbortSignal): Promise<Written>;
  /** Renames a file. The base of `bound` is about the target. */
  move(from: string, to: string, bound: Bound, signal: AbortSignal): Promise<Moved>;
  /** Removes a file. */
  remove(name: string, bound: Bound, signal: AbortSignal): Promise<Removed>;
  /** Asks for a file with further headers, such as a range. @returns any answer but a refusal of the credentials. */
  get(name: string, headers: Headers, signal: AbortSignal): Promise<HttpAnswer>;
  /** The bytes of a file; undefined if there is none. */
  read(name: string, signal: AbortSignal): Promise<AsyncIterable<Uint8Array> | undefined>;
  /** Sets permissions. */
  setPermissions(name: string, permissions: Permissions, signal: AbortSignal): Promise<PermissionsSet>;
  /** All files in the order of their keys, staged ones too, a batch at a time. */
  list(signal: AbortSignal): AsyncGenerator<RemoteFile[]>;
  /** Whether there is such a directory; where a server knows none, whether it has files there. */
  exists(signal: AbortSignal): Promise<boolean>;
  /** Why nothing can be written there, if that is certain. */
  refusal(signal: AbortSignal): Promise<TransferError | undefined>;
}
