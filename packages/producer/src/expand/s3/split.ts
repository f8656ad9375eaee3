import { compareKeys } from "@drover/shared/storage/s3/name";

/** Every so many keys one is looked at. */
const SAMPLE = 50;
/** Characters that are as likely as those of the same class that were seen. */
const CLASSES = ["0123456789", "abcdef", "abcdefghijklmnopqrstuvwxyz", "ABCDEFGHIJKLMNOPQRSTUVWXYZ"];
/** Positions of a key that are kept apart. */
const MOST_POSITIONS = 256;
/** Steps that a number can tell apart. */
const FINEST = 2 ** -50;

/** The keys that a page spanned: how far one page goes in this part of the listing. */
export interface Span {
  from: string;
  to: string;
}

/**
 * Guesses where the keys of a listing can be parted: from prefixes that are known to exist, and from the characters
 * that keys had at each position. Keys are taken for numbers whose digits are these characters, so that it can be told
 * about where one is so many pages on. A wrong guess costs one request, never a key.
 */
export class Splitter {
  readonly #seen: Set<string>[] = [];
  readonly #emptyFrom: (string | undefined)[] = [];
  readonly #digits: (string[] | undefined)[] = [];
  #hints: string[] = [];

  /** @param prefix what all keys begin with. */
  constructor(private readonly prefix: string) {}

  /** Learns from keys of the listing. */
  learn(keys: readonly { key: string }[]): void {
    for (let at = 0; at < keys.length; at += SAMPLE) this.#learn((keys[at] as { key: string }).key);
    const last = keys.at(-1);
    if (last) this.#learn(last.key);
  }

  #learn(key: string): void {
    for (let position = this.prefix.length; position < Math.min(key.length, MOST_POSITIONS); position++) {
      this.#seen[position] ??= new Set();
      const seen = this.#seen[position] as Set<string>;
      const char = key[position] as string;
      if (seen.has(char)) continue;
      seen.add(char);
      this.#digits[position] = undefined;
    }
  }

  /**
   * No key was behind a guess before the next range: what was only likely at a position of it is not guessed again.
   *
   * @param next the key that was seen behind it, or undefined for none.
   */
  miss(guess: string, next: string | undefined): void {
    let position = this.prefix.length;
    while (next !== undefined && position < guess.length && guess[position] === next[position]) position++;
    for (; position < guess.length; position++) {
      const char = guess[position] as string;
      if (this.#seen[position]?.has(char)) continue;
      const before = this.#emptyFrom[position];
      if (before === undefined || compareKeys(char, before) < 0) this.#emptyFrom[position] = char;
      this.#digits[position] = undefined;
      return;
    }
  }

  /** Prefixes that have keys, in order. */
  hint(prefixes: string[]): void {
    this.#hints = prefixes;
    for (const prefix of prefixes) this.#learn(prefix);
  }

  /** About how many pages lie between two keys. @param high undefined for no end. */
  pages(low: string, high: string | undefined, span: Span): number {
    const step = this.#value(span.to) - this.#value(span.from);
    return ((high === undefined ? 1 : this.#value(high)) - this.#value(low)) / Math.max(step, FINEST);
  }

  /**
   * A key about so many pages behind another one, not necessarily one that exists.
   *
   * @param high it comes before this one; undefined for no end.
   * @returns undefined where no guess is left.
   */
  ahead(low: string, high: string | undefined, span: Span, pages: number): string | undefined {
    const step = Math.max(this.#value(span.to) - this.#value(span.from), FINEST);
    let guess = this.#key(this.#value(low) + step * pages, step / 4);
    if (guess === undefined || compareKeys(guess, low) <= 0) guess = undefined;
    // Between two prefixes that are known there is nothing.
    const next = this.#hintAt(guess ?? low);
    if (next !== undefined && (guess === undefined || compareKeys(next, guess) > 0)) guess = next;
    if (guess === undefined || compareKeys(guess, low) <= 0) return undefined;
    return high === undefined || compareKeys(guess, high) < 0 ? guess : undefined;
  }

  /** The first prefix behind a key, unless the key lies below one. */
  #hintAt(key: string): string | undefined {
    let low = 0;
    for (let high = this.#hints.length; low < high; ) {
      const middle = (low + high) >> 1;
      if (compareKeys(this.#hints[middle] as string, key) > 0) high = middle;
      else low = middle + 1;
    }
    const before = this.#hints[low - 1];
    return before !== undefined && key.startsWith(before) && key !== before ? undefined : this.#hints[low];
  }

  /** Where a key stands between the first and the last that there could be, from 0 to 1. */
  #value(key: string): number {
    let value = 0;
    let weight = 1;
    for (let at = this.prefix.length; at < key.length && weight > FINEST; at++) {
      const digits = this.#digitsAt(at);
      if (digits.length === 0) break;
      const char = key[at] as string;
      let digit = digits.findIndex((each) => compareKeys(each, char) >= 0);
      if (digit < 0) digit = digits.length - 1;
      weight /= digits.length;
      value += digit * weight;
    }
    return value;
  }

  /** The key that stands there, as exactly as asked for; undefined behind the last. */
  #key(value: number, exactness: number): string | undefined {
    if (value >= 1) return undefined;
    let text = "";
    let rest = value;
    let weight = 1;
    for (let at = this.prefix.length; weight > exactness && weight > FINEST; at++) {
      const digits = this.#digitsAt(at);
      if (digits.length === 0) break;
      weight /= digits.length;
      const digit = Math.min(Math.floor(rest / weight), digits.length - 1);
      rest -= digit * weight;
      text += digits[digit];
    }
    return text === "" ? undefined : this.prefix + text;
  }

  #digitsAt(position: number): string[] {
    const known = this.#digits[position];
    if (known) return known;
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
    const digits = [...all].filter((char) => char < "\ud800" || char > "\udfff").sort(compareKeys);
    this.#digits[position] = digits;
    return digits;
  }
}
