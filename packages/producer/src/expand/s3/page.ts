import { childText, decodeEntities, parseXml } from "@drover/shared/storage/s3/xml";

/** What a listing says of an object. */
export interface ListedObject {
  key: string;
  sizeBytes: number;
  /** With its quotes; "" where the service gives none. */
  etag: string;
  mtimeMs: number;
  /** The key is no UTF-8: what is here of it is good for a message only. */
  unreadable?: true;
}

/** One answer to ListObjectsV2. */
export interface ListedPage {
  objects: ListedObject[];
  /** Common prefixes, where a delimiter was asked for. */
  prefixes: string[];
  /** Token of the next page; undefined on the last one. */
  next: string | undefined;
}

/**
 * Reads an answer to ListObjectsV2 strictly: whatever is missing or does not add up could be files that are not seen.
 *
 * @throws Error saying what is wrong.
 */
export function parsePage(xml: string): ListedPage {
  const objects: ListedObject[] = [];
  // Nearly all of a page are plain <Contents>: what a general parser makes of them costs more than the request.
  const plain = !xml.includes("<!");
  let rest = "";
  let at = 0;
  for (let from = plain ? xml.indexOf(OPEN) : -1; from >= 0; from = xml.indexOf(OPEN, at)) {
    const end = xml.indexOf(CLOSE, from);
    if (end < 0) throw new Error("it ends within <Contents>");
    rest += xml.slice(at, from);
    at = end + CLOSE.length;
    objects.push(readPlain(xml.slice(from + OPEN.length, end)));
  }
  release(objects);
  const root = parseXml(rest + xml.slice(at));
  if (root.name !== "ListBucketResult") throw new Error(`a <${root.name}> instead of a listing`);
  const encoded = childText(root, "EncodingType") === "url";
  const prefixes: string[] = [];
  for (const child of root.children) {
    if (child.name === "CommonPrefixes") {
      const prefix = childText(child, "Prefix");
      if (prefix === undefined) throw new Error("a <CommonPrefixes> without <Prefix>");
      prefixes.push((encoded ? decode(prefix) : prefix) ?? "");
    }
    if (child.name === "Contents") {
      const text = (name: string) => childText(child, name);
      objects.push(objectOf(text("Key"), text("Size"), text("LastModified"), text("ETag")));
    }
  }
  if (encoded) for (const object of objects) decodeKey(object);
  const truncated = childText(root, "IsTruncated");
  if (truncated !== "true" && truncated !== "false") throw new Error(`IsTruncated is ${truncated}`);
  const next = childText(root, "NextContinuationToken");
  if (truncated === "true" && !next) throw new Error("there is more, but no token to ask for it");
  const count = childText(root, "KeyCount");
  if (count !== undefined && Number(count) !== objects.length + prefixes.length)
    throw new Error(`${objects.length + prefixes.length} keys where ${count} are announced`);
  return { objects, prefixes, next: truncated === "true" ? next : undefined };
}

/** Keys are parts of the page's text, and would keep all of it in memory: here they become parts of one with keys alone. */
function release(objects: ListedObject[]): void {
  const keys = objects
    .map(({ key }) => key)
    .join("\0")
    .split("\0");
  if (keys.length !== objects.length) return; // a key with a NUL
  for (const [at, object] of objects.entries()) object.key = keys[at] as string;
}

const OPEN = "<Contents>";
const CLOSE = "</Contents>";

/** An object whose element holds nothing but elements and text. */
function readPlain(xml: string): ListedObject {
  return objectOf(
    plainText(xml, "<Key>", "</Key>"),
    plainText(xml, "<Size>", "</Size>"),
    plainText(xml, "<LastModified>", "</LastModified>"),
    plainText(xml, "<ETag>", "</ETag>"),
  );
}

function plainText(xml: string, open: string, close: string): string | undefined {
  const start = xml.indexOf(open);
  if (start < 0) return undefined;
  const end = xml.indexOf("<", start + open.length);
  if (!xml.startsWith(close, end)) throw new Error(`${open} is not closed`);
  return decodeEntities(xml.slice(start + open.length, end));
}

function objectOf(key?: string, size = "", modified = "", etag = ""): ListedObject {
  if (key === undefined) throw new Error("a <Contents> without <Key>");
  if (!/^\d+$/.test(size)) throw new Error("an object without a size");
  const mtimeMs = Date.parse(modified);
  if (Number.isNaN(mtimeMs)) throw new Error("an object without a modification time");
  return { key, sizeBytes: Number(size), etag, mtimeMs };
}

function decodeKey(object: ListedObject): void {
  if (!/[%+]/.test(object.key)) return;
  const key = decode(object.key);
  if (key === undefined) object.unreadable = true;
  else object.key = key;
}

function decode(text: string): string | undefined {
  try {
    return decodeURIComponent(text.replaceAll("+", "%20"));
  } catch {
    return undefined;
  }
}
