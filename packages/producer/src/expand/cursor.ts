/** Position of an expansion: finished sources of the command line, then bytes of the list. */
export interface Cursor {
  sources: number;
  listByte: number;
  /** Last finished key or path of the next source; its listing continues after it. */
  after?: string;
}

export const START: Cursor = { sources: 0, listByte: 0 };
