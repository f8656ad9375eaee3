/** Seconds that the average is of. */
const WINDOW_SECONDS = 30;

/** How many files and bytes go through in a second, on average of the last half minute. */
export class Rate {
  /** Sums of a second each, by the second modulo the window. */
  readonly #seconds = Array.from({ length: WINDOW_SECONDS }, () => ({ at: 0, files: 0, bytes: 0 }));
  readonly #begunMs = performance.now();

  /** A file has ended. @param bytes that were copied. */
  add(bytes: number): void {
    const at = second();
    const sum = this.#seconds[at % WINDOW_SECONDS] as { at: number; files: number; bytes: number };
    if (sum.at !== at) Object.assign(sum, { at, files: 0, bytes: 0 });
    sum.files++;
    sum.bytes += bytes;
  }

  get perSecond(): { files: number; bytes: number } {
    const oldest = second() - WINDOW_SECONDS;
    const age = (performance.now() - this.#begunMs) / 1_000;
    const seconds = Math.min(Math.max(age, 1), WINDOW_SECONDS);
    const recent = this.#seconds.filter(({ at }) => at > oldest);
    return {
      files: recent.reduce((sum, { files }) => sum + files, 0) / seconds,
      bytes: recent.reduce((sum, { bytes }) => sum + bytes, 0) / seconds,
    };
  }
}

function second(): number {
  return Math.floor(performance.now() / 1_000) + WINDOW_SECONDS; // an empty sum is of second 0, which is long ago
}
