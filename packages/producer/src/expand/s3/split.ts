import { compareKeys } from "@drover/shared/storage/s3/name";

/** Every so many keys one is looked at. */
const SAMPLE = 50;
/** Characters that are as likely as those of the same class that were seen. */
const CLASSES = ["0123456789", "abcdef", "abcdefghijklmnopqrstuvwxyz", "ABCDEFGHIJKLMNOPQRSTUVWXYZ"];
/** Positions of a key that are kept apart. */
const MOST_POSITIONS = 256;

/**
 * Guesses where the keys of a listing can be parted: from prefixes that are known to exist, and from the characters
 * that keys had at each position. A wrong guess costs one request, never a key.
 */
export class Splitter {
  readonly #seen: Set<string>[] = [];
  readonly #emptyFrom: (string | undefined)[] = [];
  #hints: string[] = [];

  /** @param prefixLength characters that all keys begin with. */
  constructor(private readonly prefixLength: number) {}

  /** Learns from keys of the listing. */
  learn(keys: readonly { key: string }[]): void {
    for (let at = 0; at < keys.length; at += SAMPLE) {
      const { key } = keys[at] as { key: string };
      for (let position = this.prefixLength; position < Math.min(key.length, MOST_POSITIONS); position++) {
        this.#seen[position] ??= new Set();
        (this.#seen[position] as Set<string>).add(key[position] as string);
      }
    }
  }

  /** No key was behind a guess: what was only likely from there on at its last position is not guessed again. */
  miss(guess: string): void {
    const position = guess.length - 1;
    const char = guess[position] as string;
    const before = this.#emptyFrom[position];
    if (before === undefined || compareKeys(char, before) < 0) this.#emptyFrom[position] = char;
  }

  /** Prefixes that have keys, in order. */
  hint(prefixes: string[]): void {
    this.#hints = prefixes;
  }

  /**
   * A key between two others, not necessarily one that exists.
   *
   * @param high undefined for no end.
   * @returns undefined where no guess is left.
   */
  between(low: string, high: string | undefined): string | undefined {
    const inside = this.#hints.filter(
      (hint) => compareKeys(low, hint) < 0 && (high === undefined || compareKeys(hint, high) < 0),
    );
    const hint = inside[inside.length >> 1];
    if (hint !== undefined) return hint;
    let tied = high !== undefined && low.slice(0, this.prefixLength) === high.slice(0, this.prefixLength);
    for (let at = this.prefixLength; at < low.length; at++) {
      const lowest = low[at] as string;
      if (/[\udc00-\udfff]/.test(lowest)) continue; // within a character
      const top = tied ? (high as string)[at] : undefined;
      const chars = this.#charsAt(at).filter(
        (char) => compareKeys(char, lowest) > 0 && (top === undefined || compareKeys(char, top) < 0),
      );
      if (chars.length > 0) return low.slice(0, at) + chars[chars.length >> 1];
      if (top !== lowest) tied = false;
    }
    return undefined;
  }

  #charsAt(position: number): string[] {
    const seen = this.#seen[position];
    if (!seen) return [];
    const all = new Set(seen);
    const empty = this.#emptyFrom[position];
    for (const chars of CLASSES) {
      const some = [...chars].filter((char) => seen.has(char)).length;
      if (chars === CLASSES[0] ? some > 0 : some > 1)
        for (const char of chars) if (empty === undefined || compareKeys(char, empty) < 0) all.add(char);
    }
    // Half of a surrogate pair would not be a key.
    return [...all].filter((char) => char < "\ud800" || char > "\udfff").sort(compareKeys);
  }
}
