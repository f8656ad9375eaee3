/** Files per run and host that are in BullMQ at once, where nothing says less. */
export const WINDOW_FILES = 1_000;
/** Files of a host that may bounce off a breaker which has just closed, or is half-open. */
const PROBE_FILES = 4;
/** Files of a host that go into BullMQ at first, while nobody knows whether it is up. */
const FIRST_FILES = 64;
/** Where a host's limit is low: as many at least, so that the next file is there when a slot is. */
const LEAST_FILES = 4;

/**
 * How many files of one run and host may be in BullMQ at once: all that the window holds while the host lets files
 * through; a few while it recovers from being blocked, then twice as many with each sign that it does.
 */
export class Window {
  #allowed: number;

  /**
   * @param files what it holds.
   * @param unknown nobody knows yet whether the host is up: it begins with {@link FIRST_FILES}. Default false.
   */
  constructor(
    private files: number,
    unknown = false,
  ) {
    this.#allowed = unknown ? FIRST_FILES : files;
  }

  /** How many more may be added beside those that are there; below 1 for none. */
  room(inQueue: number): number {
    return Math.min(this.files, this.#allowed) - inQueue;
  }

  /** Files that are in BullMQ are few enough to add more. */
  isLow(inQueue: number): boolean {
    return inQueue <= this.files / 2;
  }

  /** Holds twice as many files as the host takes at once: its limit; undefined for no limit. */
  limitTo(filesAtOnce: number | undefined): void {
    this.files = filesAtOnce === undefined ? WINDOW_FILES : Math.max(2 * Math.ceil(filesAtOnce), LEAST_FILES);
  }

  /** The host is blocked, or was and has let nothing through since. */
  probe(): void {
    this.#allowed = PROBE_FILES;
  }

  /** The host has let files through: twice as many may follow. */
  grow(): void {
    this.#allowed = Math.min(this.#allowed * 2, this.files);
  }

  /** Nothing is known against the host. */
  open(): void {
    this.#allowed = this.files;
  }
}
