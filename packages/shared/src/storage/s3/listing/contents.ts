import { decodeEntities } from "../service/xml.js";

/** The objects of a page, as many values of each kind. It takes a fraction of the memory that as many objects would. */
export interface ListedObjects {
  keys: string[];
  sizesBytes: number[];
  mtimesMs: number[];
  /** With their quotes; "" where the service gives none. */
  etags: string[];
  /** "" where the service gives none. */
  storageClasses: string[];
}

const OPEN = Buffer.from("<Contents>");
const CLOSE = Buffer.from("</Contents>");
const KEY = Buffer.from("Key");
const SIZE = Buffer.from("Size");
const MODIFIED = Buffer.from("LastModified");
const ETAG = Buffer.from("ETag");
const CLASS = Buffer.from("StorageClass");
const TIME = Buffer.from("0000-00-00T00:00:00.000Z");
const [LESS, GREATER, SLASH, SPACE, NEWLINE, ZERO, NINE] = [0x3c, 0x3e, 0x2f, 0x20, 0x0a, 0x30, 0x39];

/** The values of one kind, one per line: one string is made of all of them. */
class Lines {
  #bytes = Buffer.allocUnsafeSlow(64 << 10);
  #length = 0;
  count = 0;

  clear(): void {
    this.#length = 0;
    this.count = 0;
  }

  add(bytes: Buffer, from: number, to: number): void {
    if (this.#length + to - from >= this.#bytes.length) {
      const larger = Buffer.allocUnsafeSlow(2 * (this.#bytes.length + to - from));
      this.#bytes.copy(larger, 0, 0, this.#length);
      this.#bytes = larger;
    }
    const mine = this.#bytes;
    let length = this.#length;
    if (this.count++ > 0) mine[length++] = NEWLINE;
    for (let at = from; at < to; at++) mine[length++] = bytes[at] as number;
    this.#length = length;
  }

  /** undefined where a value had a line break of its own. */
  split(): string[] | undefined {
    const lines = decodeEntities(this.#bytes.toString("utf8", 0, this.#length)).split("\n");
    return lines.length === this.count ? lines : undefined;
  }
}
// Pages are read one after the other, each in one go.
const keys = new Lines();
const etags = new Lines();
const classes = new Lines();

/**
 * Reads all `<Contents>` of a page. They are nearly all of it, and a general parser costs more than the request.
 *
 * @returns the objects with what is left of the page, or undefined where they are not as plain as those of S3.
 */
export function readContents(page: Buffer): { objects: ListedObjects; rest: string } | undefined {
  keys.clear();
  etags.clear();
  classes.clear();
  const objects: ListedObjects = { keys: [], sizesBytes: [], mtimesMs: [], etags: [], storageClasses: [] };
  let rest = "";
  let at = 0;
  for (let open = page.indexOf(OPEN); open >= 0; open = page.indexOf(OPEN, at)) {
    rest += page.toString("utf8", at, open);
    for (at = open; isAt(page, at, OPEN); ) {
      at = readObject(page, at + OPEN.length, objects);
      if (at < 0) return undefined;
    }
  }
  rest += page.toString("utf8", at);
  if (rest.includes("<!")) return undefined; // what was read may have been a comment
  if (keys.count === 0) return { objects, rest };
  const [names, tags, storageClasses] = [keys.split(), etags.split(), classes.split()];
  if (!names || !tags || !storageClasses) return undefined;
  return { objects: { ...objects, keys: names, etags: tags, storageClasses }, rest };
}

/** @returns where it ends, or -1 where it has not each of the four values once, and a storage class at most once. */
function readObject(page: Buffer, start: number, { sizesBytes, mtimesMs }: ListedObjects): number {
  let [hasKey, hasSize, hasTime, hasEtag, hasClass] = [false, false, false, false, false];
  let at = start;
  for (;;) {
    while ((page[at] as number) <= SPACE) at++;
    if (page[at] !== LESS) return -1;
    if (page[at + 1] === SLASH) break;
    const name = at + 1;
    for (at = name; at < page.length && page[at] !== GREATER; ) at++;
    const length = at - name;
    const from = ++at;
    if (page[from - 2] === SLASH) continue; // <This/>
    while (at < page.length && page[at] !== LESS) at++;
    const to = at;
    if (!isClosed(page, at, name, length)) {
      // Others than the four may hold elements.
      at = page.indexOf(`</${page.toString("latin1", name, name + length)}>`, at);
      if (at < 0 || page.toString("latin1", name, at).includes("<!")) return -1;
    } else if (length === KEY.length && isAt(page, name, KEY)) {
      if (hasKey) return -1;
      hasKey = true;
      keys.add(page, from, to);
    } else if (length === SIZE.length && isAt(page, name, SIZE)) {
      const size = numberAt(page, from, to);
      if (size < 0 || hasSize) return -1;
      hasSize = true;
      sizesBytes.push(size);
    } else if (length === MODIFIED.length && isAt(page, name, MODIFIED)) {
      const time = timeAt(page, from, to);
      if (time < 0 || hasTime) return -1;
      hasTime = true;
      mtimesMs.push(time);
    } else if (length === ETAG.length && isAt(page, name, ETAG)) {
      if (hasEtag) return -1;
      hasEtag = true;
      etags.add(page, from, to);
    } else if (length === CLASS.length && isAt(page, name, CLASS)) {
      if (hasClass) return -1;
      hasClass = true;
      classes.add(page, from, to);
    }
    at += length + 3;
  }
  if (!hasClass) classes.add(page, at, at);
  return hasKey && hasSize && hasTime && hasEtag && isAt(page, at, CLOSE) ? at + CLOSE.length : -1;
}

function isClosed(page: Buffer, at: number, name: number, length: number): boolean {
  if (page[at + 1] !== SLASH || page[at + 2 + length] !== GREATER) return false;
  for (let index = 0; index < length; index++) if (page[at + 2 + index] !== page[name + index]) return false;
  return true;
}

function isAt(page: Buffer, at: number, wanted: Buffer): boolean {
  for (let index = 0; index < wanted.length; index++) if (page[at + index] !== wanted[index]) return false;
  return true;
}

/** A number of at most 15 digits, which is exact; -1 for anything else. */
function numberAt(page: Buffer, from: number, to: number): number {
  if (to === from || to - from > 15) return -1;
  let value = 0;
  for (let at = from; at < to; at++) {
    const digit = page[at] as number;
    if (digit < ZERO || digit > NINE) return -1;
    value = value * 10 + digit - ZERO;
  }
  return value;
}

/** `2026-01-02T03:04:05.678Z`, as all services write it, in milliseconds; -1 for anything else. */
function timeAt(page: Buffer, from: number, to: number): number {
  if (to - from !== TIME.length) return -1;
  for (let index = 0; index < TIME.length; index++)
    if (TIME[index] !== ZERO && TIME[index] !== page[from + index]) return -1;
  const year = numberAt(page, from, from + 4);
  const month = numberAt(page, from + 5, from + 7);
  const day = numberAt(page, from + 8, from + 10);
  const hour = numberAt(page, from + 11, from + 13);
  const minute = numberAt(page, from + 14, from + 16);
  const second = numberAt(page, from + 17, from + 19);
  const ms = numberAt(page, from + 20, from + 23);
  // Date.UTC would take more of one for another of the next.
  if (year < 1970 || month < 1 || month > 12 || day < 1 || day > 31 || hour < 0 || hour > 23) return -1;
  if (minute < 0 || minute > 59 || second < 0 || second > 59 || ms < 0) return -1;
  return Date.UTC(year, month - 1, day, hour, minute, second, ms);
}
