import type { TableForm } from "./list-table.js";

/** Position in a list of sources. */
export interface ListPosition {
  listByte: number;
  /** Number of lines before it; absent where nobody counted. */
  listLine?: number;
  /** What the list's header says, once it is read; absent for a list without one. */
  table?: TableForm;
}

/** Position of an expansion: finished sources of the command line, then the position in the list. */
export interface Cursor extends ListPosition {
  sources: number;
  /** Last finished key or path of the next source; its listing continues after it. */
  after?: string;
}

export const START: Cursor = { sources: 0, listByte: 0 };
