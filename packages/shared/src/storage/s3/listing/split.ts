import { compareKeys } from "../../key-order.js";

/** Every so many keys one is looked at. */
const SAMPLE = 50;
const DIGITS = "0123456789";
/** Characters that are as likely as those of the same class that were seen. */
const CLASSES = ["abcdef", "abcdefghijklmnopqrstuvwxyz", "ABCDEFGHIJKLMNOPQRSTUVWXYZ"];
/** Characters of a name that are kept apart. */
const MOST_POSITIONS = 256;
/** Longer keys there are none. */
const MOST_KEY_BYTES = 1024;

/** A sum of thirds can be a little less than one. */
const ROUNDING = 1e-9;

/** The keys that a page spanned: how far one page goes in this part of the listing. */
export interface KeySpan {
  from: string;
  to: string;
}

/** What was seen of the names at one depth of the tree, whatever directory they are in. */
interface Level {
  /** Characters by their position in the name. */
  positions: Position[];
  /** Some position has digits beside letters from a to f. */
  hexadecimal: boolean;
}

interface Position {
  seen: Set<string>;
  /** Nothing was found from this character on, where it was looked for. */
  emptyFrom: string | undefined;
  /** What there could be; undefined where it is to be thought out anew. */
  choices: Choices | undefined;
}

/** The names of directories, or the characters, that there could be, in order. */
interface Choices {
  are: "names" | "characters";
  all: string[];
}

/** Where in a tree, and in a name, a key is looked at. */
interface KeyCursor {
  /** Characters of the key that are before it. */
  at: number;
  /** Characters of the key that are its directory. */
  dir: number;
  depth: number;
}

/** One decision on the way to a key. */
interface Step extends KeyCursor {
  choices: Choices;
  choice: number;
  /** The part of all keys that is below this place, were each of the choices before as full as the others. */
  share: number;
}

/**
 * Guesses where the keys of a listing can be parted. A key is a number of which each digit is the name of a directory,
 * among those that are known to lie beside it, or else a character, among those that names of this depth had at its
 * position. So it can be told about where one is so many pages on. Directories that were not looked into are taken to
 * be like the last one of their depth that was. A wrong guess costs one request, never a key.
 */
export class Splitter {
  readonly #levels: Level[] = [];
  readonly #directories = new Map<string, Choices>();
  readonly #typical: Choices[] = [];

  /** @param prefix what all keys begin with. */
  constructor(private readonly prefix: string) {}

  /** Learns from keys of the listing. */
  learn(keys: readonly string[]): void {
    for (let at = 0; at < keys.length; at += SAMPLE) this.#learn(keys[at] as string);
    const last = keys.at(-1);
    if (last !== undefined) this.#learn(last);
  }

  #learn(key: string): void {
    let depth = 0;
    let start = this.prefix.length;
    for (let at = start; at < key.length; at++) {
      const char = key[at] as string;
      if (at - start < MOST_POSITIONS) this.#see(depth, at - start, char);
      if (char !== "/") continue;
      depth++;
      start = at + 1;
    }
  }

  #see(depth: number, position: number, char: string): void {
    const level = this.#level(depth);
    level.positions[position] ??= { seen: new Set(), emptyFrom: undefined, choices: undefined };
    const here = level.positions[position];
    if (here.seen.has(char)) return;
    here.seen.add(char);
    here.choices = undefined;
    if (level.hexadecimal || countOf(DIGITS, here.seen) === 0 || countOf("abcdef", here.seen) < 2) return;
    level.hexadecimal = true;
    for (const each of level.positions) if (each) each.choices = undefined;
  }

  #level(depth: number): Level {
    this.#levels[depth] ??= { positions: [], hexadecimal: false };
    return this.#levels[depth];
  }

  /**
   * Learns what a directory has.
   *
   * @param prefixes its directories, in order; none where there are too many for one page.
   * @param passed the listing is beyond this key: what is before it is forgotten.
   */
  known(directory: string, prefixes: string[], passed: string): void {
    for (const each of this.#directories.keys())
      if (compareKeys(each, passed) < 0 && !passed.startsWith(each)) this.#directories.delete(each);
    const names: Choices = {
      are: "names",
      all: prefixes
        .filter((each) => each.startsWith(directory) && each !== directory)
        .map((each) => each.slice(directory.length)),
    };
    this.#directories.set(directory, names);
    this.#typical[directory.slice(this.prefix.length).split("/").length - 1] = names;
  }

  /** The directory on the way to a key that is not like the others were, and could be looked into. */
  strange(key: string): string | undefined {
    for (const { at, dir, depth } of this.#path(key)) {
      if (at !== dir) continue;
      const directory = key.slice(0, dir);
      if (this.#directories.has(directory)) continue;
      const end = key.indexOf("/", at);
      if (end >= 0 && !this.#typical[depth]?.all.includes(key.slice(at, end + 1))) return directory;
    }
    return undefined;
  }

  /**
   * No key was behind a guess before the next range: what was only likely at a position of it is not guessed again.
   *
   * @param next the key that was seen behind it, or undefined for none.
   */
  miss(guess: string, next: string | undefined): void {
    for (const { at, dir, depth, choices } of this.#path(guess)) {
      const char = guess[at] as string;
      if (char === next?.[at] || choices.are === "names") continue;
      const position = this.#level(depth).positions[at - dir];
      if (!position || position.seen.has(char)) continue;
      if (position.emptyFrom === undefined || compareKeys(char, position.emptyFrom) < 0)
        position.emptyFrom = char;
      position.choices = undefined;
      return;
    }
  }

  /** About how many pages lie between two keys. @param high undefined for no end. */
  pages(low: string, high: string | undefined, span: KeySpan): number {
    const path = this.#path(low);
    const between = high === undefined ? 1 - fractionOf(path, 0) : distance(path, this.#path(high));
    return between / this.#page(span);
  }

  #page({ from, to }: KeySpan): number {
    return Math.max(distance(this.#path(from), this.#path(to)), Number.MIN_VALUE);
  }

  /**
   * A key about so many pages behind another one, not necessarily one that exists.
   *
   * @returns undefined where no guess is left.
   */
  ahead(low: string, span: KeySpan, pages: number): string | undefined {
    const page = this.#page(span);
    const path = this.#path(low);
    // From the narrowest part of the tree on which it can lie: numbers are exact enough there.
    for (let index = path.length - 1; index >= 0; index--) {
      const step = path[index] as Step;
      const fraction = fractionOf(path, index) + (page * pages) / step.share;
      const before = low.slice(0, step.at);
      if (fraction >= 1 || /[\ud800-\udbff]$/.test(before)) continue; // half a character can be in no request
      const key = this.#key(before, step, fraction, page / 4 / step.share);
      return Buffer.byteLength(key) > MOST_KEY_BYTES ? undefined : key;
    }
    return undefined;
  }

  /** The key that stands there below a place. @param part from 0 to 1. @param exactness as exactly as this. */
  #key(before: string, { dir, depth }: KeyCursor, fraction: number, exactness: number): string {
    let key = before;
    let cursor: KeyCursor = { at: before.length, dir, depth };
    let rest = fraction;
    for (let share = 1; share > exactness; ) {
      const choices = this.#choices(key, cursor);
      if (choices.all.length === 0) break;
      share /= choices.all.length;
      const choice = Math.min(Math.floor(rest / share + ROUNDING), choices.all.length - 1);
      rest = Math.max(rest - choice * share, 0);
      key += choices.all[choice];
      cursor = cursorAfter(key, cursor);
    }
    return key;
  }

  #path(key: string): Step[] {
    const path: Step[] = [];
    let share = 1;
    for (
      let cursor: KeyCursor = { at: this.prefix.length, dir: this.prefix.length, depth: 0 };
      cursor.at < key.length;
    ) {
      const choices = this.#choices(key, cursor);
      const { are, all } = choices;
      if (all.length === 0) break;
      const end = are === "names" ? key.indexOf("/", cursor.at) + 1 || key.length : cursor.at + 1;
      const text = key.slice(cursor.at, end);
      const choice = Math.min(firstFrom(all, text), all.length - 1);
      path.push({ ...cursor, choices, choice, share });
      if (are === "names" && all[choice] !== text) break; // beside all of them
      share /= all.length;
      cursor = cursorAfter(key.slice(0, end), cursor);
    }
    return path;
  }

  /** The names, or the characters, that could be at a place, in order; none where nothing was seen of it. */
  #choices(key: string, { at, dir, depth }: KeyCursor): Choices {
    if (at === dir) {
      const names = this.#directories.get(key.slice(0, dir)) ?? this.#typical[depth];
      if (names && names.all.length > 0) return names;
    }
    const level = this.#levels[depth];
    const position = level?.positions[at - dir];
    if (!position) return { are: "characters", all: [] };
    position.choices ??= { are: "characters", all: likely(position, level.hexadecimal) };
    return position.choices;
  }
}

function cursorAfter(key: string, { dir, depth }: KeyCursor): KeyCursor {
  const at = key.length;
  return key.endsWith("/") ? { at, dir: at, depth: depth + 1 } : { at, dir, depth };
}

/** The characters that were seen, and those that are as likely. */
function likely({ seen, emptyFrom }: Position, hexadecimal: boolean): string[] {
  const all = new Set(seen);
  const add = (chars: string) => {
    for (const char of chars) if (emptyFrom === undefined || compareKeys(char, emptyFrom) < 0) all.add(char);
  };
  if (countOf(DIGITS, seen) > 0) add(hexadecimal ? `${DIGITS}abcdef` : DIGITS);
  for (const chars of CLASSES) if (countOf(chars, seen) > 1) add(chars);
  // Half of a surrogate pair would not be a key.
  return [...all].filter((char) => char < "\ud800" || char > "\udfff").sort(compareKeys);
}

function countOf(chars: string, seen: Set<string>): number {
  let count = 0;
  for (const char of chars) if (seen.has(char)) count++;
  return count;
}

/** Index of the first that is not less, or the length where all are. */
function firstFrom(sorted: string[], text: string): number {
  let low = 0;
  for (let high = sorted.length; low < high; ) {
    const middle = (low + high) >> 1;
    if (compareKeys(sorted[middle] as string, text) < 0) low = middle + 1;
    else high = middle;
  }
  return low;
}

/** Where a key stands below the place of one of its steps, from 0 to 1. */
function fractionOf(path: Step[], from: number): number {
  let fraction = 0;
  let share = 1;
  for (let index = from; index < path.length && share > Number.EPSILON; index++) {
    const { choices, choice } = path[index] as Step;
    share /= choices.all.length;
    fraction += choice * share;
  }
  return fraction;
}

/** The part of all keys that is between two. */
function distance(low: Step[], high: Step[]): number {
  let index = 0;
  while (
    index < low.length &&
    low[index]?.at === high[index]?.at &&
    low[index]?.choice === high[index]?.choice
  )
    index++;
  const step = low[index] ?? high[index];
  return step === undefined ? 0 : (fractionOf(high, index) - fractionOf(low, index)) * step.share;
}
