/** The staging file of one attempt, as those see it who fill it. */
export interface StagingFile {
  /** Its descriptor, once it is made. */
  readonly fd: number;
  /** Makes it, empty. */
  create(mode: number | undefined): void;
  /** A whole small file at once. */
  writeWhole(chunks: Buffer[], sizeBytes: number): void;
  /** @returns the first byte behind what was written. */
  write(chunks: Buffer[], atByte: number): Promise<number>;
}
