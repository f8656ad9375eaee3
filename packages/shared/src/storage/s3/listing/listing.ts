import { TransferError } from "../../../errors.js";
import { compareKeys } from "../../key-order.js";
import { type ListedObject, type ListedPage, objectsOf } from "./page.js";
import type { PageLister } from "./page-requests.js";
import { type KeySpan, Splitter } from "./split.js";
import { TokenCheck, untrusted } from "./token-check.js";

/** Keys on a page, at most: one that is full is seldom the last one. */
const FULL_PAGE = 1_000;
/** Requests at once. */
const FETCHERS = 16;
/** Pages that a range may be ahead of the one whose turn it is. */
const AHEAD_PAGES = 4;
/** Pages that are held before a range, beyond which it waits: what is wanted first must not wait for what is not. */
const MOST_PAGES = 48;
/** Pages that are held in all, where it was found out late that more are to come before them. */
const MOST_HELD = 120;
/** Pages that a range is to have: more of them make fewer guesses, and hold more pages ahead. */
const RANGE_PAGES = 3;
/** Directories that are looked into at once, so as to know how the tree goes down. */
const FIRST_LOOKS = 8;
/** Later, one that is unlike the others is looked into for so many pages. */
const PAGES_PER_LOOK = 16;

/**
 * Guesses that may be open at once: {@link FETCHERS} at first, fewer by so many with each that finds nothing of its own
 * (directories whose names do not go on as they began, say), and more with each that does, and a little with any page.
 */
const MISSED = 4;
const FOUND = 1;
const ANY_PAGE = 0.1;

/** The keys behind `last`, up to and with `end`. Ranges are in order and leave no key out between them. */
interface Range {
  /** Last key that was listed, or where the range starts. */
  last: string;
  /** undefined: to the end of the listing. */
  end: string | undefined;
  token: string | undefined;
  /** Of the pages since it was last asked for without a token. */
  tokens: TokenCheck;
  /** What its last page spanned; undefined before there is one. */
  span: KeySpan | undefined;
  /** No guess was left when it was to be parted, as far as it was listed then. */
  whole: string | undefined;
  /** Pages that wait, with how many of their objects are the range's. */
  pages: { page: ListedPage; count: number }[];
  busy: boolean;
  done: boolean;
  /** Its last page says that nothing is behind it, in the whole listing. */
  final: boolean;
  /** That page could hold no more. */
  full: boolean;
  /** It was done without being asked for, for such a page before it. */
  skipped: boolean;
  /** Last key behind which it was asked for again, since more was likely. */
  doubted: string | undefined;
  error: unknown;
  /** Where it was guessed to start, until that has shown to be right or wrong. */
  guess: string | undefined;
}

/**
 * Lists everything below a prefix in the order of keys, with several requests at once: the range whose turn it is gets
 * parted again and again, and the ranges behind it are listed ahead. Memory is bounded by {@link MOST_HELD}
 * pages, however long the listing is.
 *
 * It ends only when every range has ended, in order and without a gap. A page out of order, a token that comes again
 * or a page that cannot be had makes it fail, after everything before was given. Where a page says that nothing is
 * behind it, and another has keys from there, it is asked for again, and fails if that is said again. A full page is
 * not believed at once, either.
 *
 * @param startAfter key behind which it starts.
 * @throws TransferError
 */
export async function* listObjects(
  list: PageLister,
  bucket: string,
  prefix: string,
  startAfter: string,
  outer: AbortSignal,
): AsyncGenerator<ListedObject[]> {
  const ended = new AbortController();
  const signal = AbortSignal.any([outer, ended.signal]);
  const splitter = new Splitter(prefix);
  const ranges: Range[] = [newRange(startAfter, undefined)];
  const looked = new Set<string>();
  let looking = false;
  let mayLook = true;
  let fetched = 0;
  let guesses = FETCHERS;
  /** Greatest key that was seen. */
  let greatest = startAfter;
  let wake: (() => void) | undefined;

  /** Nothing is between a range and the key that was seen behind it (undefined: the end): it need not be asked for. */
  const skipEmpty = (range: Range, seen: string | undefined) => {
    for (const next of ranges.slice(ranges.indexOf(range) + 1)) {
      if (seen !== undefined && (next.end === undefined || compareKeys(next.end, seen) >= 0)) return;
      if (next.busy || next.span !== undefined || next.done) continue;
      next.done = true;
      next.skipped = seen === undefined;
    }
  };

  /** Goes on behind pages that say they were the last ones, and were not. */
  const doubt = () => {
    for (const range of ranges) {
      const wrong = compareKeys(range.last, greatest) < 0;
      const again = range.doubted === range.last;
      if (!range.final || range.last === range.end || !(wrong || (range.full && !again))) continue;
      range.final = false;
      if (again) {
        const why = `nothing is said to come behind ${JSON.stringify(range.last)}, and ${JSON.stringify(greatest)} does`;
        range.error = untrusted(why);
        continue;
      }
      range.doubted = range.last;
      range.whole = range.last; // no guess is worth a request
      range.token = undefined;
      range.done = false;
      if (wrong) unskip();
    }
  };

  const unskip = () => {
    for (const each of ranges) if (each.skipped) each.done = each.skipped = false;
  };

  const fetch = async (range: Range): Promise<void> => {
    range.busy = true;
    try {
      const { token } = range;
      const start = token === undefined ? { startAfter: range.last } : { token };
      const doubted = range.doubted === range.last;
      const page = await list({ bucket, prefix, ...start }, signal);
      const { keys } = page.objects;
      if (doubted && keys.length > 0) unskip();
      const readable = page.unreadable.size === 0 ? keys : keys.filter((_, at) => !page.unreadable.has(at));
      checkOrder(readable, prefix, range.last);
      if (token === undefined) range.tokens = new TokenCheck();
      range.tokens.check(page, token);
      splitter.learn(readable);
      fetched++;
      const { end } = range; // it may have come nearer while the page was on its way
      const [first, final] = [readable[0], readable.at(-1)];
      const beyond =
        end !== undefined && final !== undefined && compareKeys(final, end) > 0
          ? readable.find((key) => compareKeys(key, end) > 0)
          : undefined;
      const count = beyond === undefined ? keys.length : keys.indexOf(beyond);
      if (first !== undefined && final !== undefined && page.next !== undefined)
        range.span = { from: first, to: final };
      range.last =
        readable.findLast((key) => beyond === undefined || compareKeys(key, beyond) < 0) ?? range.last;
      range.token = page.next;
      if (count > 0) range.pages.push({ page, count });
      else if (range.guess !== undefined) splitter.miss(range.guess, first);
      const change = range.guess === undefined ? 0 : count > 0 ? FOUND : -MISSED;
      guesses = Math.min(Math.max(guesses + change, 0) + ANY_PAGE, FETCHERS);
      range.guess = undefined;
      range.final = beyond === undefined && page.next === undefined;
      range.full = keys.length >= FULL_PAGE;
      range.done = beyond !== undefined || range.final || range.last === end;
      if (final !== undefined && compareKeys(final, greatest) > 0) greatest = final;
      if (beyond !== undefined || range.final) skipEmpty(range, beyond);
      doubt();
      if (page.next !== undefined && final !== undefined) look(splitter.strange(final), final);
    } catch (error) {
      range.error = error;
      range.done = true;
    } finally {
      range.busy = false;
      wake?.();
    }
  };

  /** Looks into a directory, and then into the one in it on the way to a key. It only helps, so no error counts. */
  const look = (directory: string | undefined, key: string): void => {
    if (directory === undefined || looking || !mayLook || looked.has(directory)) return;
    if (looked.size > FIRST_LOOKS + fetched / PAGES_PER_LOOK) return;
    looked.add(directory);
    looking = true;
    list({ bucket, prefix: directory, delimiter: "/" }, signal).then(
      ({ prefixes, next }) => {
        looking = false;
        splitter.known(directory, next === undefined ? prefixes : [], ranges[0]?.last ?? key);
        look(splitter.strange(key), key);
        wake?.();
      },
      () => {
        looking = false;
        mayLook = false; // what is wrong with the service shows in the listing itself
      },
    );
  };

  const held = (some: Range[]) =>
    some.reduce((sum, range) => sum + range.pages.length + (range.busy ? 1 : 0), 0);

  /** Parts the first range that is worth it: its keys are wanted first. @returns what is behind, undefined for none. */
  const splitRange = (): Range | undefined => {
    let span: KeySpan | undefined;
    let before = 0;
    for (const [at, range] of ranges.entries()) {
      if (before >= MOST_PAGES || range.final) return undefined;
      before += held([range]);
      span = range.span ?? span;
      if (range.done || span === undefined || range.whole === range.last) continue;
      if (splitter.pages(range.last, range.end, span) < RANGE_PAGES * 1.5) continue;
      const guess = splitter.ahead(range.last, span, RANGE_PAGES);
      if (guess === undefined || !isBetween(guess, range.last, range.end)) {
        range.whole = range.last;
        continue;
      }
      const behind = newRange(guess, range.end);
      behind.guess = guess;
      range.end = guess;
      ranges.splice(at + 1, 0, behind);
      return behind;
    }
    return undefined;
  };

  const pump = () => {
    let busy = ranges.filter((range) => range.busy).length + (looking ? 1 : 0);
    let before = 0;
    for (const [at, range] of ranges.entries()) {
      if (busy >= FETCHERS) return;
      if (at > 0 && (before >= MOST_PAGES || held(ranges) >= MOST_HELD)) break;
      if (!range.busy && !range.done && range.pages.length < AHEAD_PAGES) {
        void fetch(range);
        busy++;
      }
      before += held([range]);
    }
    let open = ranges.filter(({ guess }) => guess !== undefined).length;
    for (; busy < FETCHERS && open + 1 <= guesses && held(ranges) < MOST_HELD; busy++, open++) {
      const behind = splitRange();
      if (!behind) return;
      void fetch(behind);
    }
  };

  try {
    for (;;) {
      const head = ranges[0];
      if (!head) return;
      const listed = head.pages.shift();
      if (listed) {
        pump();
        yield objectsOf(listed.page, listed.count);
        continue;
      }
      if (head.error !== undefined) throw head.error;
      // What is on its way may show that the listing does not end here.
      if (head.done && !(head.final && ranges.some(({ busy }) => busy))) {
        ranges.shift();
        continue;
      }
      const woken = new Promise<void>((resolve) => {
        wake = resolve;
      });
      pump();
      await woken;
    }
  } finally {
    ended.abort(new TransferError("cancelled", "the listing is not wanted any more"));
  }
}

function newRange(last: string, end: string | undefined): Range {
  return {
    last,
    end,
    token: undefined,
    tokens: new TokenCheck(),
    span: undefined,
    whole: undefined,
    pages: [],
    busy: false,
    done: false,
    final: false,
    full: false,
    skipped: false,
    doubted: undefined,
    error: undefined,
    guess: undefined,
  };
}

/** A range that is parted anywhere else would leave keys out, or give them twice. */
function isBetween(key: string, low: string, high: string | undefined): boolean {
  return compareKeys(low, key) < 0 && (high === undefined || compareKeys(key, high) < 0);
}

/** @param keys those whose place in the order can be known. */
function checkOrder(keys: string[], prefix: string, last: string): void {
  // JavaScript's own order costs a fifth, and is the same where no character is above U+D7FF.
  const isLess = /[\ud800-\uffff]/.test(keys.join(""))
    ? (a: string, b: string) => compareKeys(a, b) < 0
    : (a: string, b: string) => a < b;
  let before = last;
  for (const key of keys) {
    if (!key.startsWith(prefix)) throw untrusted(`the key ${JSON.stringify(key)} is not below ${prefix}`);
    if (!isLess(before, key))
      throw untrusted(`the key ${JSON.stringify(key)} comes after ${JSON.stringify(before)}`);
    before = key;
  }
}
