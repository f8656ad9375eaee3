/** Default window: files in BullMQ at once per run and host. */
export const WINDOW_FILES = 1_000;
/** Window in files of a host whose breaker is half-open or has just closed; these may fail. */
const PROBE_FILES = 4;
/** First window in files of a host of unknown health. */
const FIRST_FILES = 64;
/** Smallest window in files of a host with a low limit, so that a free slot finds its next file waiting. */
const LEAST_FILES = 4;

/**
 * Limits the files of one run and host in BullMQ. A healthy host gets the whole window. A host that recovers
 * from being blocked gets a few files, then twice as many with each sign of recovery.
 */
export class Window {
  #allowed: number;

  /**
   * @param files size of the whole window.
   * @param unknown whether the host's health is unknown, which starts the window at {@link FIRST_FILES}.
   *   Default false.
   */
  constructor(
    private files: number,
    unknown = false,
  ) {
    this.#allowed = unknown ? FIRST_FILES : files;
  }

  /** Number of files that may be added; below 1 for none. */
  room(inQueue: number): number {
    return Math.min(this.files, this.#allowed) - inQueue;
  }

  /** Whether few enough files are in BullMQ to add more. */
  isLow(inQueue: number): boolean {
    return inQueue <= this.files / 2;
  }

  /** Sets the window to twice the host's limit of files at once; undefined for no limit. */
  limitTo(filesAtOnce: number | undefined): void {
    this.files = filesAtOnce === undefined ? WINDOW_FILES : Math.max(2 * Math.ceil(filesAtOnce), LEAST_FILES);
  }

  /** The host is blocked, or nothing has succeeded since it was. */
  probe(): void {
    this.#allowed = PROBE_FILES;
  }

  /** The host has served files: doubles the allowance. */
  grow(): void {
    this.#allowed = Math.min(this.#allowed * 2, this.files);
  }

  /** Nothing is known against the host: allows the whole window. */
  open(): void {
    this.#allowed = this.files;
  }
}
