import type { TransferError } from "@drover/shared/errors";
import type { Cursor } from "./cursor.js";

/** A file that the run is to carry, or something of its sources that it cannot. */
export interface Entry {
  /** URL with its secrets, or absolute path. */
  source: string;
  /** The same without its secrets. */
  redacted: string;
  /** Destination relative to the root; "" where there is none. */
  destination: string;
  /** Expected SHA-256 in hexadecimal. */
  sha256: string | undefined;
  /** At the source, where its listing tells: the same as the catalog's means unchanged. */
  version: string | undefined;
  /** Why it cannot be carried. */
  error: TransferError | undefined;
  /** Where the expansion goes on after this entry. */
  cursor: Cursor;
}
