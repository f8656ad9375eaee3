import { TransferError } from "@drover/shared/errors";
import { compareKeys } from "@drover/shared/storage/s3/name";
import type { Lister } from "./lister.js";
import type { ListedObject } from "./page.js";
import { Splitter } from "./split.js";

/** Requests at once. */
const FETCHERS = 8;
/** Pages that a range may be ahead of the one whose turn it is: with all fetchers 32,000 objects wait at most. */
const AHEAD_PAGES = 4;
/** A range that has given so many pages, and has more, is worth being parted. */
const LONG_PAGES = 1;
/** Levels that discovery goes down while there is a single prefix on each. */
const MOST_LEVELS = 8;

/** The keys behind `last`, up to and with `end`. Ranges are in order and leave no key out between them. */
interface Range {
  /** Last key that was listed, or where the range starts. */
  last: string;
  /** undefined: to the end of the listing. */
  end: string | undefined;
  token: string | undefined;
  /** Pages that were listed, since the range began or was parted. */
  listed: number;
  pages: ListedObject[][];
  busy: boolean;
  done: boolean;
  error: unknown;
  /** Where it was guessed to start, until that has shown to be right or wrong. */
  guess: string | undefined;
}

/**
 * Lists everything below a prefix in the order of keys, with several requests at once: the range whose turn it is gets
 * parted again and again, and the ranges behind it are listed ahead. Memory is bounded by {@link FETCHERS} ×
 * {@link AHEAD_PAGES} pages, however long the listing is.
 *
 * It ends only when every range has ended, in order and without a gap. A page out of order, a token that comes again
 * or a page that cannot be had makes it fail, after everything before was given.
 *
 * @param startAfter key behind which it starts.
 * @throws TransferError
 */
export async function* listObjects(
  list: Lister,
  bucket: string,
  prefix: string,
  startAfter: string,
  outer: AbortSignal,
): AsyncGenerator<ListedObject[]> {
  const ended = new AbortController();
  const signal = AbortSignal.any([outer, ended.signal]);
  const splitter = new Splitter(prefix.length);
  const ranges: Range[] = [newRange(startAfter, undefined)];
  let discovered = false;
  let wake: (() => void) | undefined;

  const fetch = async (range: Range): Promise<void> => {
    range.busy = true;
    try {
      const { token } = range;
      const start = token === undefined ? { startAfter: range.last } : { token };
      const page = await list({ bucket, prefix, ...start }, signal);
      checkOrder(page.objects, prefix, range.last);
      if (page.next !== undefined && page.next === token) throw unusable("the token of a page came again");
      splitter.learn(page.objects);
      const { end } = range; // it may have come nearer while the page was on its way
      const cut =
        end === undefined
          ? -1
          : page.objects.findIndex(({ key, unreadable }) => !unreadable && compareKeys(key, end) > 0);
      const past = cut >= 0;
      const objects = past ? page.objects.slice(0, cut) : page.objects;
      range.last = objects.findLast(({ unreadable }) => !unreadable)?.key ?? range.last;
      range.token = page.next;
      range.listed++;
      if (objects.length > 0) range.pages.push(objects);
      else if (range.guess !== undefined) splitter.miss(range.guess);
      range.guess = undefined;
      range.done = past || page.next === undefined || range.last === end;
      if (page.next !== undefined && !discovered) {
        discovered = true;
        discover(list, bucket, prefix, range.last, signal).then(
          (prefixes) => splitter.hint(prefixes),
          () => {}, // only a help: what is wrong with the service shows in the listing itself
        );
      }
    } catch (error) {
      range.error = error;
      range.done = true;
    } finally {
      range.busy = false;
      wake?.();
    }
  };

  const pump = () => {
    let busy = 0;
    const near = ranges.slice(0, FETCHERS);
    for (const range of near) {
      if (!range.busy && !range.done && range.pages.length < AHEAD_PAGES) void fetch(range);
      if (range.busy) busy++;
    }
    // The earliest long range is parted: its keys are wanted first.
    while (busy < FETCHERS) {
      const at = near.findIndex(
        (range) => !range.done && range.listed >= LONG_PAGES && range.error === undefined,
      );
      const range = near[at];
      if (!range) return;
      const guess = splitter.between(range.last, range.end);
      const middle = guess !== undefined && isBetween(guess, range.last, range.end) ? guess : undefined;
      range.listed = 0; // not again before it has shown that it is still long
      if (middle === undefined) continue;
      const behind = newRange(middle, range.end);
      behind.guess = middle;
      range.end = middle;
      ranges.splice(at + 1, 0, behind);
      near.splice(at + 1, 0, behind);
      if (at + 1 < FETCHERS) {
        void fetch(behind);
        busy++;
      }
    }
  };

  try {
    for (;;) {
      const head = ranges[0];
      if (!head) return;
      const page = head.pages.shift();
      if (page) {
        pump();
        yield page;
        continue;
      }
      if (head.error !== undefined) throw head.error;
      if (head.done) {
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
    listed: 0,
    pages: [],
    busy: false,
    done: false,
    error: undefined,
    guess: undefined,
  };
}

/** A range that is parted anywhere else would leave keys out, or give them twice. */
function isBetween(key: string, low: string, high: string | undefined): boolean {
  return compareKeys(low, key) < 0 && (high === undefined || compareKeys(key, high) < 0);
}

function unusable(why: string): TransferError {
  return new TransferError("protocol", `the listing cannot be trusted: ${why}`, { permanent: true });
}

function checkOrder(objects: ListedObject[], prefix: string, last: string): void {
  let before = last;
  for (const { key, unreadable } of objects) {
    if (unreadable) continue; // its place in the order cannot be known
    if (!key.startsWith(prefix)) throw unusable(`the key ${JSON.stringify(key)} is not below ${prefix}`);
    if (compareKeys(key, before) <= 0)
      throw unusable(`the key ${JSON.stringify(key)} comes after ${JSON.stringify(before)}`);
    before = key;
  }
}

/** Prefixes up to the next `/` that are behind a key: the first level that has more than one. */
async function discover(
  list: Lister,
  bucket: string,
  prefix: string,
  behind: string,
  signal: AbortSignal,
): Promise<string[]> {
  let at = prefix;
  for (let level = 0; level < MOST_LEVELS; level++) {
    const page = await list({ bucket, prefix: at, delimiter: "/" }, signal);
    const [only] = page.prefixes;
    if (only === undefined || page.prefixes.length > 1 || page.objects.length > 0 || page.next !== undefined)
      return page.prefixes.filter((each) => compareKeys(each, behind) > 0);
    at = only;
  }
  return [];
}
