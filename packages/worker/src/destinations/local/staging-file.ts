/** The staging file of one attempt, as its writers see it. All methods throw TransferError. */
export interface StagingFile {
  /** Its file descriptor; -1 before it is created. */
  readonly fd: number;
  /** Creates it, empty. @param mode permission bits that it is to be published with. Default 0o666, less the umask. */
  create(mode: number | undefined): void;
  /** Writes a whole small file. */
  writeWhole(chunks: Buffer[], sizeBytes: number): void;
  /** Writes chunks one after the other. @returns offset of the first byte after them. */
  write(chunks: Buffer[], atByte: number): Promise<number>;
}
