import type { TransferError } from "@drover/shared/errors";
import type { Cursor } from "./cursor.js";
import type { Asked } from "./list-line.js";

/** A file that the run carries, or an item of its sources that it cannot carry. */
export interface Entry {
  /** URL including its secrets, or absolute path. */
  source: string;
  /** The source without its secrets. */
  redacted: string;
  /** Relative to the destination's root; "" if there is none. */
  destination: string;
  /** Whether its server may name it: it has the name of its URL, and the run asks for that. Default false. */
  isUnnamed?: boolean;
  /** Expected SHA-256 in hexadecimal. */
  sha256: string | undefined;
  /** What is asked of the copy. Default: nothing. */
  asks?: Asked | undefined;
  /** Version at the source if its listing tells; equal to the catalog's if unchanged. */
  version: string | undefined;
  /** In bytes, if its listing tells. */
  sizeBytes?: number | undefined;
  /** Why the item cannot be carried. */
  error: TransferError | undefined;
  /** Where the expansion continues after this entry. */
  cursor: Cursor;
}
