/** Where an expansion stands: sources of the command line that are finished, then bytes of the list. */
export interface Cursor {
  sources: number;
  listByte: number;
  /** Last key or path of the source that comes next that is done with: its listing goes on behind it. */
  after?: string;
}

export const START: Cursor = { sources: 0, listByte: 0 };
